"""Read a Service: the projection that the product works on. Never raises. Pure.

What cannot be read of a request is a `Problem` inside the value. The controller, which writes,
holds a `WrittenService`, a model Service with what only a patch needs; everybody else, and every
decision, holds the Service alone (half a kilobyte less of each, on every node).

The code reads ten thousand Services at a start, so the plain case goes first everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lbctl.kube import annotations as spelling
from lbctl.kube.crds.addresses import strict_address
from lbctl.kube.crds.conditions import NO_CONDITIONS, keep
from lbctl.kube.crds.reading import shown
from lbctl.kube.loose import (
    Metadata,
    labels,
    mapping,
    metadata_of,
    number,
    objects,
    text,
    texts,
    word,
)
from lbctl.model.address import Address, Family, family_of, parse_address
from lbctl.model.names import PoolName, ServiceKey
from lbctl.model.outcome import Problem
from lbctl.model.service import (
    FamilyPolicy,
    ObservedCondition,
    Request,
    Service,
    ServicePort,
    TrafficPolicy,
)

REQUESTED_MAX = 2
OBJECT_NAME_MAX = 253
VIP = "VIP"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenService(Service):
    """Hold a Service with its conditions and marks as found, for the patches alone."""

    written_conditions: str = field(default=NO_CONDITIONS, compare=False)
    """Every condition, of others as well, opaque (see crds/conditions). A change of another's
    condition is no news, so it does not take part in comparison."""
    own_mark: str | None = None
    metallb_mark: str | None = None


def read_service(body: Any) -> Service | None:
    """Return the Service as decisions need it, or None when it has no name."""
    metadata = metadata_of(body)
    if metadata is None:
        return None
    return Service(**_fields(metadata, mapping(body.get("spec")), mapping(body.get("status"))))


def parse_service(body: Any) -> WrittenService | None:
    """Return the Service with what is needed to write it, or None when it has no name."""
    metadata = metadata_of(body)
    if metadata is None:
        return None
    status = mapping(body.get("status"))
    return WrittenService(
        **_fields(metadata, mapping(body.get("spec")), status),
        written_conditions=keep(status.get("conditions")),
        own_mark=_annotation(metadata.annotations, spelling.OWN_MARK),
        metallb_mark=_annotation(metadata.annotations, spelling.METALLB_MARK),
    )


def _fields(
    metadata: Metadata, spec: Mapping[str, Any], status: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields of a Service."""
    cluster_ips = _cluster_ips(spec)
    addresses, hostnames, vip_mode = _ingress(mapping(status.get("loadBalancer")))
    annotations = spelling.ours(metadata.annotations)
    sharing = spelling.spoken(annotations, spelling.SHARING_KEY)
    return {
        "key": ServiceKey(metadata.namespace, metadata.name),
        "uid": metadata.uid,
        "created": metadata.created,
        "generation": metadata.generation,
        "resource_version": metadata.resource_version,
        "labels": metadata.labels,
        "type": word(spec.get("type")) or "ClusterIP",
        "load_balancer_class": text(spec.get("loadBalancerClass")) or None,
        "cluster_ips": cluster_ips,
        "families": _families(spec, cluster_ips),
        "family_policy": _FAMILY_POLICIES.get(
            text(spec.get("ipFamilyPolicy")), FamilyPolicy.SINGLE_STACK
        ),
        "traffic_policy": _TRAFFIC_POLICIES.get(
            text(spec.get("externalTrafficPolicy")), TrafficPolicy.CLUSTER
        ),
        "ports": tuple([_port(item) for item in objects(spec.get("ports"))]),
        "selector": labels(spec.get("selector")),
        "health_check_node_port": number(spec.get("healthCheckNodePort")),
        "request": _request(annotations, spec),
        "sharing_key": sharing[1] if sharing else "",
        "uses_deprecated_annotations": _deprecated(annotations),
        "mark": sys.intern(spelling.mark_of(annotations)),
        "addresses": addresses,
        "hostnames": hostnames,
        "vip_mode": vip_mode,
        "conditions": _own_conditions(status),
    }


def _annotation(annotations: Mapping[str, Any], key: str) -> str | None:
    value = annotations.get(key)
    return value if isinstance(value, str) else None


_FAMILY_POLICIES: Final = {policy.value: policy for policy in FamilyPolicy}
_TRAFFIC_POLICIES: Final = {policy.value: policy for policy in TrafficPolicy}
_FAMILIES: Final = {family.value: family for family in Family}


def _cluster_ips(spec: Mapping[str, Any]) -> tuple[Address, ...]:
    spelled = texts(spec.get("clusterIPs")) or [text(spec.get("clusterIP"))]
    parsed = [parse_address(item) for item in spelled]
    return tuple([address for address in parsed if address is not None])


def _families(spec: Mapping[str, Any], cluster_ips: tuple[Address, ...]) -> tuple[Family, ...]:
    named = [_FAMILIES[item] for item in texts(spec.get("ipFamilies")) if item in _FAMILIES]
    return tuple(named) or tuple([family_of(address) for address in cluster_ips])


def _port(item: Mapping[str, Any]) -> ServicePort:
    target = item.get("targetPort")
    return ServicePort(
        protocol=word(item.get("protocol")) or "TCP",
        port=number(item.get("port")),
        name=word(item.get("name")),
        target_port=word(target) if isinstance(target, str) else str(number(target) or ""),
    )


def _ingress(load_balancer: Mapping[str, Any]) -> tuple[tuple[Address, ...], tuple[str, ...], bool]:
    """Return addresses, host names, and whether every entry has the mode VIP (also unsaid)."""
    addresses: list[Address] = []
    hostnames: list[str] = []
    vip_mode = True
    for entry in objects(load_balancer.get("ingress")):
        spelled = text(entry.get("ip"))
        address = parse_address(spelled)
        if address is not None:
            addresses.append(address)
        elif spelled:
            # Not an address: nobody could have got it from us, so it counts as a foreign name.
            hostnames.append(spelled)
        if text(entry.get("hostname")):
            hostnames.append(text(entry.get("hostname")))
        vip_mode = vip_mode and entry.get("ipMode") in (None, VIP)
    return tuple(addresses), tuple(hostnames), vip_mode


def _own_conditions(status: Mapping[str, Any]) -> tuple[ObservedCondition, ...]:
    found = objects(status.get("conditions"))
    return tuple(
        [
            ObservedCondition(
                type=word(item.get("type")),
                status=word(item.get("status")),
                reason=word(item.get("reason")),
                message=text(item.get("message")),
                observed_generation=number(item.get("observedGeneration")),
            )
            for item in found
            if text(item.get("type")).startswith(spelling.OWN_PREFIX)
        ]
    )


def _deprecated(annotations: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of the oldest spelling that are in effect."""
    if not any(key.startswith(spelling.DEPRECATED_PREFIX) for key in annotations):
        return ()
    found = (
        spelling.spoken(annotations, name)
        for name in (spelling.ADDRESSES, spelling.POOL, spelling.SHARING_KEY)
    )
    return tuple(
        sorted(item[0] for item in found if item and item[0].startswith(spelling.DEPRECATED_PREFIX))
    )


_NO_REQUEST: Final = Request()


def _request(annotations: Mapping[str, Any], spec: Mapping[str, Any]) -> Request:
    pool = _pool(spelling.spoken(annotations, spelling.POOL))
    if isinstance(pool, Problem):
        return Request(problem=pool)
    annotated = spelling.spoken(annotations, spelling.ADDRESSES)
    addresses: tuple[Address, ...] = ()
    path = "spec.loadBalancerIP"
    if annotated and annotated[1].strip():
        path = f"metadata.annotations[{annotated[0]}]"
        parsed = _addresses(annotated[1], path)
        if isinstance(parsed, Problem):
            return Request(problem=parsed)
        addresses = parsed
    in_spec = text(spec.get("loadBalancerIP")).strip()
    if not (addresses or pool or in_spec):
        return _NO_REQUEST
    if in_spec:
        address = strict_address(in_spec, "spec.loadBalancerIP")
        if isinstance(address, Problem):
            return Request(problem=address)
        if addresses and addresses != (address,):
            wanted = ", ".join(str(item) for item in addresses)
            return Request(
                problem=Problem(
                    path=path,
                    message=f"asks for {wanted}, but spec.loadBalancerIP asks for {address}; "
                    "remove one of the two",
                )
            )
        addresses = (address,)
    return Request(addresses=addresses, pool=pool)


def _pool(wanted: tuple[str, str] | None) -> PoolName | Problem | None:
    """Return the requested pool; what can be no object's name is not looked for."""
    name = wanted[1].strip() if wanted else ""
    if wanted and len(name) > OBJECT_NAME_MAX:
        return Problem(
            path=f"metadata.annotations[{wanted[0]}]",
            message=f"{shown(name)} has {len(name):,} characters and is no pool's name; "
            "name a pool, or remove the annotation",
        )
    return PoolName(name) if name else None


def _addresses(spelled: str, path: str) -> tuple[Address, ...] | Problem:
    """Return the requested addresses in their order, or why they make no request."""
    items = spelled.split(",")
    if len(items) > REQUESTED_MAX:
        return Problem(
            path=path,
            message=f"has {len(items):,} addresses; ask for one, or for one of each family",
        )
    addresses: list[Address] = []
    for item in items:
        address = strict_address(item.strip(), path)
        if isinstance(address, Problem):
            return address
        addresses.append(address)
    if len({address.version for address in addresses}) < len(addresses):
        return Problem(
            path=path,
            message=f"{shown(spelled)} has two addresses of one family; "
            "ask for one, or for one of each family",
        )
    return tuple(addresses)
