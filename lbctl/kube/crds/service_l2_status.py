"""The kind ServiceL2Status: who announces the addresses of one Service on the LAN. Pure.

One object per announced Service and address family, with a name that follows from them, so that
owners replace each other's word instead of leaving their own behind. The present owner writes it, under
resourceVersion; `epoch` is the number of the view that made it the owner.

Deviation: MetalLB's `status.node` is immutable, because it makes a new object for every owner;
ours changes with the owner (held by tests/cluster/test_crds.py). In MetalLB's own group an object
of another node is therefore deleted and created again (lbctl.kube.patches).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lbctl.kube.crds.conditions import INT64_MAX
from lbctl.kube.crds.table import Column, Field, Integer, Kind, ListOf, Rule, Struct, Text
from lbctl.kube.loose import mapping, metadata_of, number, objects, text, texts
from lbctl.kube.naming import object_name
from lbctl.model.address import Address, Family, parse_address
from lbctl.model.membership import ViewNumber
from lbctl.model.names import LinkName, NodeName, ServiceKey
from lbctl.plan.announced import Sent


def fixed(what: str) -> tuple[Rule, ...]:
    """Return the rule that a field, once written, stays as it is."""
    return (
        Rule(
            cel="self == oldSelf",
            message=f"{what} cannot be changed; delete the object",
            holds=lambda _: True,
            on_update=True,
        ),
    )


KIND = Kind(
    kind="ServiceL2Status",
    plural="servicel2statuses",
    singular="servicel2status",
    description="ServiceL2Status says which node announces the addresses of a Service by ARP and "
    "NDP. It is written by that node's speaker.",
    spec=Struct(fields=()),
    status=Struct(
        fields=(
            Field(
                name="node",
                type=Text(max_length=253),
                description="The node that announces.",
            ),
            Field(
                name="serviceName",
                type=Text(max_length=253, rules=fixed("serviceName")),
                description="The Service's name.",
            ),
            Field(
                name="serviceNamespace",
                type=Text(max_length=253, rules=fixed("serviceNamespace")),
                description="The Service's namespace.",
            ),
            Field(
                name="interfaces",
                type=ListOf(
                    item=Struct(
                        fields=(
                            Field(
                                name="name",
                                type=Text(max_length=64),
                                description="The interface's name.",
                            ),
                        )
                    ),
                    max_items=4_096,
                ),
                description="The interfaces on which the node announces.",
            ),
            Field(
                name="addresses",
                type=ListOf(item=Text(max_length=64), max_items=16),
                description="The addresses that the node announces.",
            ),
            Field(
                name="epoch",
                type=Struct(
                    fields=(
                        Field(
                            name="generation",
                            type=Integer(minimum=0, maximum=INT64_MAX, wide=True),
                            required=True,
                            description="How often the membership has begun anew.",
                        ),
                        Field(
                            name="number",
                            type=Integer(minimum=0, maximum=INT64_MAX, wide=True),
                            required=True,
                            description="The view within that generation.",
                        ),
                    )
                ),
                description="The view that made the node the owner.",
            ),
        )
    ),
    columns=(
        Column(
            name="Allocated Node",
            type="string",
            path=".status.node",
            description="The node that announces",
        ),
        Column(
            name="Service Name",
            type="string",
            path=".status.serviceName",
            description="The Service's name",
        ),
        Column(
            name="Service Namespace",
            type="string",
            path=".status.serviceNamespace",
            description="The Service's namespace",
        ),
        Column(
            name="Addresses",
            type="string",
            path=".status.addresses",
            description="What is announced",
        ),
    ),
    selectable=(".status.node", ".status.serviceName", ".status.serviceNamespace"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceL2Status:
    """Hold what one node says it announces for one Service."""

    service: ServiceKey
    node: NodeName
    interfaces: tuple[LinkName, ...]
    addresses: tuple[Address, ...]
    epoch: ViewNumber
    name: str = ""
    """metadata.name as found; MetalLB's own objects have names of another form."""
    resource_version: str = ""


def status_name(service: ServiceKey, family: Family) -> str:
    """Return the name of the object that speaks of `service` in `family`.

    The two addresses of a dual-stack Service may have different owners, and an object has one
    writer; hence the family. A dot is in no namespace (RFC 1123 label), so the plain name is
    unambiguous as long as it fits; a longer one is cut and carries a digest of the whole.
    """
    return object_name(f"{service.namespace}.{service.name}", f".{family.lower()}")


def family_spoken_of(status: ServiceL2Status) -> Family | None:
    """Return the family that the object's name speaks of, None if the object is not ours."""
    for family in Family:
        if status_name(status.service, family) == status.name:
            return family
    return None


def sent_of(status: ServiceL2Status) -> Sent:
    """Return what the object says to whoever asks who announces."""
    return Sent(
        node=status.node,
        interfaces=status.interfaces,
        addresses=status.addresses,
        family=family_spoken_of(status),
    )


def parse_service_l2_status(body: Any) -> ServiceL2Status | None:
    """Return what the object says, or None when it does not name its Service yet."""
    metadata = metadata_of(body)
    status = mapping(mapping(body).get("status"))
    name, namespace = text(status.get("serviceName")), text(status.get("serviceNamespace"))
    if metadata is None or not name or not namespace:
        return None
    epoch = mapping(status.get("epoch"))
    addresses = [parse_address(item) for item in texts(status.get("addresses"))]
    return ServiceL2Status(
        service=ServiceKey(namespace, name),
        node=NodeName(text(status.get("node"))),
        interfaces=tuple(
            LinkName(text(item.get("name"))) for item in objects(status.get("interfaces"))
        ),
        addresses=tuple(address for address in addresses if address is not None),
        epoch=ViewNumber(
            generation=number(epoch.get("generation")), number=number(epoch.get("number"))
        ),
        name=metadata.name,
        resource_version=metadata.resource_version,
    )


def render_service_l2_status(wanted: ServiceL2Status, *, own_schema: bool = True) -> dict[str, Any]:
    """Return the `status` of the object; without our schema only the fields MetalLB has."""
    status: dict[str, Any] = {
        "node": wanted.node,
        "serviceName": wanted.service.name,
        "serviceNamespace": wanted.service.namespace,
        "interfaces": [{"name": name} for name in wanted.interfaces],
    }
    if own_schema:
        status["addresses"] = [str(address) for address in wanted.addresses]
        status["epoch"] = {"generation": wanted.epoch.generation, "number": wanted.epoch.number}
    return status
