"""Build model values for tests: valid by default, override what matters.

Every builder takes the plain spellings that an operator would write (`"192.0.2.0/24"`,
`"web/shop"`, `"tcp/80"`) and returns the parsed value, so that a test reads like a manifest.
Keyword arguments that a builder does not name go straight to the dataclass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

from lbctl.model.address import Address, Family, Range, family_of, parse_range
from lbctl.model.advertisement import L2Advertisement, NodePreference
from lbctl.model.configuration import Configured
from lbctl.model.endpoints import Endpoint, EndpointSlice, EndpointState
from lbctl.model.names import Incarnation, LinkName, NodeName, ObjectKey, PoolName, ServiceKey
from lbctl.model.node import Link, Node, SpeakerReport
from lbctl.model.outcome import Problem
from lbctl.model.pool import Pool, ServiceAllocation
from lbctl.model.selector import Operator, Requirement, Selector
from lbctl.model.service import FamilyPolicy, Request, Service, ServicePort, TrafficPolicy
from lbctl.model.snapshot import Snapshot

NAMESPACE = "lbctl-system"
"""Where the product's own objects live in tests."""

CREATED = "2026-01-01T00:00:00Z"
"""The creation time of an object that does not say otherwise."""

_CLUSTER_IPS = {
    Family.IPV4: ip_address("198.18.0.10"),
    Family.IPV6: ip_address("2001:db8:ffff::10"),
}


def created_at(second: int) -> str:
    """Return a creation timestamp `second` seconds after CREATED (less than a day)."""
    return f"2026-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(ip_address(text) for text in texts)


def service_key(text: str) -> ServiceKey:
    """Return the key that `namespace/name`, or a bare name in `default`, spells."""
    namespace, slash, name = text.rpartition("/")
    return ServiceKey(namespace if slash else "default", name)


def make_selector(labels: Mapping[str, str] | None = None, *expressions: Requirement) -> Selector:
    """Return a selector with matchLabels `labels` and the given matchExpressions."""
    pairs = (
        Requirement(key=key, operator=Operator.IN, values=frozenset({value}))
        for key, value in (labels or {}).items()
    )
    return Selector(requirements=(*pairs, *expressions))


def make_port(text: str) -> ServicePort:
    """Return the port that `tcp/80`, `80` or `80=web` (with its targetPort) spells."""
    left, _, target = text.partition("=")
    protocol, _, number = left.rpartition("/")
    return ServicePort(protocol=(protocol or "tcp").upper(), port=int(number), target_port=target)


def make_service(
    key: str | ServiceKey = "default/shop",
    *,
    created: str | int = CREATED,
    families: Iterable[Family | str] = (Family.IPV4,),
    family_policy: FamilyPolicy | str | None = None,
    traffic_policy: TrafficPolicy | str = TrafficPolicy.CLUSTER,
    ports: Iterable[str] = ("tcp/80",),
    status: Iterable[str] = (),
    request: Iterable[str] = (),
    pool: str | None = None,
    problem: str | None = None,
    **fields: Any,
) -> Service:
    """Return a LoadBalancer Service; `status` are its ingress addresses, `created` may be seconds.

    `family_policy` follows `families` unless given: two families mean RequireDualStack.
    """
    name = key if isinstance(key, ServiceKey) else service_key(key)
    wanted = tuple(Family(family) for family in families)
    policy = FamilyPolicy.REQUIRE_DUAL_STACK if len(wanted) > 1 else FamilyPolicy.SINGLE_STACK
    values: dict[str, Any] = {
        "key": name,
        "uid": f"uid-{name}",
        "created": created_at(created) if isinstance(created, int) else created,
        "generation": 1,
        "resource_version": "1",
        "labels": {},
        "type": "LoadBalancer",
        "load_balancer_class": None,
        "cluster_ips": tuple(_CLUSTER_IPS[family] for family in wanted),
        "families": wanted,
        "family_policy": FamilyPolicy(family_policy) if family_policy else policy,
        "traffic_policy": TrafficPolicy(traffic_policy),
        "ports": tuple(make_port(port) for port in ports),
        "selector": {"app": name.name},
        "health_check_node_port": 0,
        "request": Request(
            addresses=addresses(*request),
            pool=PoolName(pool) if pool is not None else None,
            problem=Problem(path="metadata.annotations", message=problem) if problem else None,
        ),
        "sharing_key": "",
        "uses_deprecated_annotations": (),
        "mark": "",
        "addresses": addresses(*status),
        "hostnames": (),
        "vip_mode": True,
        "conditions": (),
    }
    return Service(**(values | fields))


def make_ranges(*texts: str) -> tuple[Range, ...]:
    """Return the ranges that `192.0.2.0/24` or `192.0.2.1-192.0.2.9` spell; wrong ones raise."""
    ranges = []
    for text in texts:
        block = parse_range(text, "spec.addresses[0]")
        assert isinstance(block, Range), block
        ranges.append(block)
    return tuple(ranges)


def make_pool(
    name: str = "pool",
    *ranges: str,
    created: str | int = CREATED,
    allocation: ServiceAllocation | None = None,
    priority: int | None = None,
    namespaces: Iterable[str] = (),
    **fields: Any,
) -> Pool:
    """Return a pool of 192.0.2.0/24 or of `ranges`; `priority` and `namespaces` pin it."""
    if allocation is None and (priority is not None or namespaces):
        allocation = ServiceAllocation(priority=priority or 0, namespaces=frozenset(namespaces))
    values: dict[str, Any] = {
        "name": PoolName(name),
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "created": created_at(created) if isinstance(created, int) else created,
        "generation": 1,
        "labels": {},
        "ranges": make_ranges(*(ranges or ("192.0.2.0/24",))),
        "allocation": allocation,
    }
    return Pool(**(values | fields))


def configured(pool: Pool, **fields: Any) -> Configured[Pool]:
    """Return the pool as the API server holds it."""
    values: dict[str, Any] = {
        "key": ObjectKey("IPAddressPool", pool.namespace, str(pool.name)),
        "uid": pool.uid,
        "created": pool.created,
        "generation": pool.generation,
        "resource_version": "1",
        "spec": pool,
        "problems": (),
        "accepted": None,
    }
    return Configured(**(values | fields))


def rejected_pool(
    name: str = "pool", *messages: str, created: str | int = CREATED, generation: int = 2
) -> Configured[Pool]:
    """Return a pool that the parser refused, by default one that was edited into nonsense."""
    problems = tuple(
        Problem(path=f"spec.addresses[{index}]", message=message)
        for index, message in enumerate(messages or ("'nonsense' is neither CIDR nor range",))
    )
    pool = make_pool(name, created=created, generation=generation)
    return configured(pool, spec=None, problems=problems)


def make_advertisement(name: str = "all", **fields: Any) -> L2Advertisement:
    """Return an L2Advertisement of every pool on every node; `pools` may be plain names."""
    values: dict[str, Any] = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "generation": 1,
    }
    for field in ("pools", "interfaces"):
        if field in fields:
            values[field] = frozenset(fields.pop(field))
    if "preferred_nodes" in fields:
        values["preferred_nodes"] = tuple(
            entry
            if isinstance(entry, NodePreference)
            else NodePreference(weight=entry[0], preference=make_selector(entry[1]))
            for entry in fields.pop("preferred_nodes")
        )
    return L2Advertisement(**(values | fields))


def configured_advertisement(
    advertisement: L2Advertisement, **fields: Any
) -> Configured[L2Advertisement]:
    """Return the advertisement as the API server holds it."""
    values: dict[str, Any] = {
        "key": ObjectKey("L2Advertisement", advertisement.namespace, advertisement.name),
        "uid": advertisement.uid,
        "created": CREATED,
        "generation": advertisement.generation,
        "resource_version": "1",
        "spec": advertisement,
        "problems": (),
        "accepted": None,
    }
    return Configured(**(values | fields))


def make_node(name: str = "node1", **fields: Any) -> Node:
    values: dict[str, Any] = {
        "name": NodeName(name),
        "labels": {"kubernetes.io/hostname": name},
        "ready": True,
        "network_unavailable": False,
        "out_of_service": False,
        "drain_requested": False,
    }
    return Node(**(values | fields))


def make_link(name: str = "eth0", *subnets: str, index: int = 2, **fields: Any) -> Link:
    """Return a link that is up, has carrier and the given interface addresses (`192.0.2.201/24`)."""
    values: dict[str, Any] = {
        "name": LinkName(name),
        "index": index,
        "mac": f"02:00:00:00:00:{index:02x}",
        "up": True,
        "carrier": True,
        "subnets": tuple(ip_interface(text) for text in subnets),
        "has_link_local": True,
    }
    return Link(**(values | fields))


def make_speaker(node: str = "node1", **fields: Any) -> SpeakerReport:
    """Return the report of a healthy speaker with one link, eth0."""
    values: dict[str, Any] = {
        "node": NodeName(node),
        "incarnation": Incarnation(f"{node}-1"),
        "draining": False,
        "links": (make_link(),),
        "faults": (),
        "fastpath_connected": True,
    }
    return SpeakerReport(**(values | fields))


def make_endpoint(
    address: str = "198.18.128.10",
    *,
    node: str | None = "node1",
    state: EndpointState | str = EndpointState.READY,
) -> Endpoint:
    return Endpoint(
        address=address, state=EndpointState(state), node=NodeName(node) if node else None
    )


def make_slice(
    service: str | ServiceKey = "default/shop",
    *endpoints: Endpoint,
    name: str = "",
    family: Family | str | None = Family.IPV4,
) -> EndpointSlice:
    """Return a slice of the Service with the given endpoints, or with one ready one on node1."""
    key = service if isinstance(service, ServiceKey) else service_key(service)
    return EndpointSlice(
        namespace=key.namespace,
        name=name or f"{key.name}-1",
        service=key,
        family=Family(family) if family else None,
        endpoints=endpoints or (make_endpoint(),),
    )


def make_snapshot(
    *,
    services: Iterable[Service] = (),
    pools: Iterable[Pool | Configured[Pool]] = (),
    advertisements: Iterable[L2Advertisement | Configured[L2Advertisement]] = (),
    namespaces: Mapping[str, Mapping[str, str]] | None = None,
    slices: Iterable[EndpointSlice] = (),
    nodes: Iterable[Node] = (),
    speakers: Iterable[SpeakerReport] = (),
) -> Snapshot:
    """Return the snapshot that holds these objects; namespaces of Services exist unlabelled."""
    by_key = {service.key: service for service in services}
    objects = [entry if isinstance(entry, Configured) else configured(entry) for entry in pools]
    adverts = [
        entry if isinstance(entry, Configured) else configured_advertisement(entry)
        for entry in advertisements
    ]
    grouped: dict[ServiceKey, dict[str, EndpointSlice]] = {}
    for piece in slices:
        grouped.setdefault(piece.service, {})[piece.name] = piece
    return Snapshot(
        services=by_key,
        pools={entry.key: entry for entry in objects},
        advertisements={entry.key: entry for entry in adverts},
        namespaces={key.namespace: {} for key in by_key} | dict(namespaces or {}),
        slices=grouped,
        nodes={node.name: node for node in nodes},
        speakers={speaker.node: speaker for speaker in speakers},
    )


def with_status(service: Service, *texts: str, mark: str | None = None) -> Service:
    """Return the Service after a status write of the given addresses and, if any, our mark."""
    held = addresses(*texts)
    return replace(service, addresses=held, mark=service.mark if mark is None else mark)


def families_of(texts: Iterable[str]) -> tuple[Family, ...]:
    return tuple(family_of(ip_address(text)) for text in texts)
