"""The kind ServiceBGPStatus: to how many BGP sessions a Service is announced. Pure.

One object per announced Service, with a name that follows from it, written by the controller from
what it plans and what sessions report. It counts; which session has which route is told by the
speakers themselves.

Deviation: MetalLB makes one object for each Service and node, with the node in `status.node`; that
is Services times nodes. Ours has no node, and its `peers` are those of all nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lbctl.kube.crds.conditions import INT64_MAX
from lbctl.kube.crds.service_l2_status import fixed
from lbctl.kube.crds.table import Column, Field, Integer, Kind, ListOf, Struct, Text
from lbctl.kube.loose import mapping, metadata_of, number, text, texts
from lbctl.kube.naming import object_name
from lbctl.model.address import Address, parse_address
from lbctl.model.names import PeerName, ServiceKey

PEERS_MAX = 1_000

_COUNT = Integer(minimum=0, maximum=INT64_MAX, wide=True)

KIND = Kind(
    kind="ServiceBGPStatus",
    plural="servicebgpstatuses",
    singular="servicebgpstatus",
    description="ServiceBGPStatus says to whom the addresses of a Service are announced by BGP. It "
    "is written by the controller.",
    spec=Struct(fields=()),
    status=Struct(
        fields=(
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
                name="peers",
                type=ListOf(item=Text(max_length=253), max_items=PEERS_MAX),
                description="The BGPPeers that some node is to tell, sorted.",
            ),
            Field(
                name="addresses",
                type=ListOf(item=Text(max_length=64), max_items=16),
                description="The addresses that are announced.",
            ),
            Field(
                name="nodes",
                type=_COUNT,
                description="How many nodes are to announce.",
            ),
            Field(
                name="sessions",
                type=Struct(
                    fields=(
                        Field(
                            name="wanted",
                            type=_COUNT,
                            required=True,
                            description="Sessions of those nodes that are to carry a route.",
                        ),
                        Field(
                            name="established",
                            type=_COUNT,
                            required=True,
                            description="Those of them that stand.",
                        ),
                        Field(
                            name="sent",
                            type=_COUNT,
                            required=True,
                            description="Those over which every wanted route has been sent.",
                        ),
                        Field(
                            name="acknowledged",
                            type=_COUNT,
                            required=True,
                            description="Those whose peer's TCP has confirmed it.",
                        ),
                    )
                ),
                description="How many sessions, from intent to what was observed.",
            ),
        )
    ),
    columns=(
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
        Column(name="Peers", type="string", path=".status.peers", description="Who is told"),
        Column(
            name="Nodes",
            type="integer",
            path=".status.nodes",
            description="How many nodes are to announce",
        ),
        Column(
            name="Wanted",
            type="integer",
            path=".status.sessions.wanted",
            description="Sessions that are to carry it",
        ),
        Column(
            name="Acknowledged",
            type="integer",
            path=".status.sessions.acknowledged",
            description="Sessions that have carried it",
        ),
    ),
    selectable=(".status.serviceName", ".status.serviceNamespace"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBGPStatus:
    """Hold what the controller says of one Service; the counts are of sessions."""

    service: ServiceKey
    peers: tuple[PeerName, ...]
    addresses: tuple[Address, ...] = ()
    nodes: int = 0
    wanted: int = 0
    established: int = 0
    sent: int = 0
    acknowledged: int = 0
    name: str = ""
    """metadata.name as found; MetalLB's own objects have names of another form."""
    resource_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBGPStatusFound:
    """Hold an object of ours as it is; `said` is None while it was only created."""

    service: ServiceKey
    resource_version: str
    said: ServiceBGPStatus | None


def find_service_bgp_status(body: Any, group: str) -> ServiceBGPStatusFound | None:
    """Return the object if it is ours: its name follows from the Service that it speaks of.

    Between creation and the first status the labels say which Service that is.
    """
    metadata = metadata_of(body)
    if metadata is None:
        return None
    said = parse_service_bgp_status(body)
    names = [metadata.labels.get(f"{group}/service-{part}", "") for part in ("namespace", "name")]
    service = ServiceKey(*names) if said is None else said.service
    if service_status_name(service) != metadata.name:
        return None
    return ServiceBGPStatusFound(
        service=service, resource_version=metadata.resource_version, said=said
    )


def service_status_name(service: ServiceKey) -> str:
    """Return the name of the object that speaks of the Service; a namespace has no dot."""
    return object_name(f"{service.namespace}.{service.name}")


def parse_service_bgp_status(body: Any) -> ServiceBGPStatus | None:
    """Return what the object says, or None when it does not name its Service yet."""
    metadata = metadata_of(body)
    status = mapping(mapping(body).get("status"))
    name, namespace = text(status.get("serviceName")), text(status.get("serviceNamespace"))
    if metadata is None or not name or not namespace:
        return None
    sessions = mapping(status.get("sessions"))
    addresses = [parse_address(item) for item in texts(status.get("addresses"))]
    return ServiceBGPStatus(
        service=ServiceKey(namespace, name),
        peers=tuple(PeerName(item) for item in texts(status.get("peers"))),
        addresses=tuple(address for address in addresses if address is not None),
        nodes=number(status.get("nodes")),
        wanted=number(sessions.get("wanted")),
        established=number(sessions.get("established")),
        sent=number(sessions.get("sent")),
        acknowledged=number(sessions.get("acknowledged")),
        name=metadata.name,
        resource_version=metadata.resource_version,
    )


def render_service_bgp_status(
    wanted: ServiceBGPStatus, *, own_schema: bool = True
) -> dict[str, Any]:
    """Return the `status` of the object; without our schema only the fields MetalLB has."""
    status: dict[str, Any] = {
        "serviceName": wanted.service.name,
        "serviceNamespace": wanted.service.namespace,
        "peers": sorted(wanted.peers)[:PEERS_MAX],
    }
    if own_schema:
        status["addresses"] = [str(address) for address in wanted.addresses]
        status["nodes"] = wanted.nodes
        status["sessions"] = {
            "wanted": wanted.wanted,
            "established": wanted.established,
            "sent": wanted.sent,
            "acknowledged": wanted.acknowledged,
        }
    return status
