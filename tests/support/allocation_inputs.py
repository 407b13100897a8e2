"""What a cluster may hold, drawn at random: small worlds, so that everything meets everything.

Pools are tiny and overlap on purpose, besides a few vast ones; requests come in every spelling, in
contradiction and as rubbish. Used by `tests.support.allocation_machine`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lbctl.model.names import ServiceKey
from tests.support.allocation_world import cluster_ips

Body = dict[str, Any]

RANGES = [
    "192.0.2.0/31",
    "192.0.2.1-192.0.2.3",
    "192.0.2.4/30",
    "192.0.2.254-192.0.3.1",
    "198.51.100.8/32",
    "198.18.0.0/15",
    "2001:db8::/127",
    "2001:db8::2-2001:db8::4",
    "2001:db8::9/128",
    "2001:db8:0:7::/64",
    "2001:db8:8000::/33",
]
"""Edges, ranges over boundaries, a pool of 2^64 and one of more than can be counted."""

IPV4 = ["192.0.2.0", "192.0.2.1", "192.0.2.4", "192.0.2.255", "198.51.100.8", "203.0.113.9"]
IPV6 = ["2001:db8::", "2001:db8::2", "2001:db8::9", "2001:db8:0:7::"]
"""What is asked for, and what somebody writes into a status; 203.0.113.9 is in no pool."""

NAMESPACES = ["red", "blue"]
NAMES = ["a", "b", "c", "d", "e"]
POOLS = ["p", "q", "r"]
OWN_CLASS = "example.com/ours"
FOREIGN_CLASS = "example.com/theirs"
PREFIXES = ["lbctl.io/", "metallb.io/", "metallb.universe.tf/"]

KEYS = st.builds(ServiceKey, st.sampled_from(NAMESPACES), st.sampled_from(NAMES))
LABELS = st.sampled_from([{}, {"tier": "gold"}, {"tier": "tin"}])
SELECTORS = st.sampled_from(
    [
        {},
        {"matchLabels": {"tier": "gold"}},
        {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gold"]}]},
        {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
    ]
)
ALLOCATIONS = st.fixed_dictionaries(
    {
        "priority": st.integers(0, 2),
        "namespaces": st.lists(st.sampled_from(NAMESPACES), max_size=1),
        "namespaceSelectors": st.lists(SELECTORS, max_size=1),
        "serviceSelectors": st.lists(SELECTORS, max_size=1),
    }
)
RANGE_LISTS = st.lists(st.sampled_from(RANGES), min_size=1, max_size=3, unique=True)


@st.composite
def pool_specs(draw: st.DrawFn) -> Body:
    spec: Body = {
        "addresses": draw(RANGE_LISTS),
        "autoAssign": draw(st.sampled_from([True, True, False])),
        "avoidBuggyIPs": draw(st.booleans()),
    }
    if draw(st.sampled_from(["general", "general", "pinned"])) == "pinned":
        spec["serviceAllocation"] = draw(ALLOCATIONS)
    return spec


ASKED = st.sampled_from(
    [
        *IPV4[:3] * 3,
        *IPV4[3:],
        *IPV6,
        *(f"{six},{four}" for four in IPV4[:2] for six in IPV6[:2]),
        " 192.0.2.1 , 2001:db8::2 ",
        "",
        " ",
        "192.0.2.0,192.0.2.1",
        "192.0.2.0/31",
        "nonsense",
    ]
)
WANTED_POOLS = st.sampled_from([*POOLS, *POOLS, " p ", "", "nowhere"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[Body, Body]:
    """Return annotations and the field of the spec; most Services ask for nothing."""
    annotations: Body = {}
    spec: Body = {}
    kind = draw(st.sampled_from(["nothing"] * 6 + ["spec", "address", "pool", "both", "twice"]))
    if kind in ("address", "both", "twice"):
        _spell(draw, annotations, "loadBalancerIPs", ASKED)
    if kind in ("pool", "both"):
        _spell(draw, annotations, "address-pool", WANTED_POOLS)
    if kind in ("spec", "twice"):
        spec["loadBalancerIP"] = draw(st.sampled_from([*IPV4, *IPV6, "nonsense"]))
    return annotations, spec


def _spell(draw: st.DrawFn, into: Body, name: str, values: st.SearchStrategy[str]) -> None:
    """Say it in one spelling, or in two that may differ: then the first counts."""
    spelled = st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=2, unique=True)
    for prefix in draw(spelled):
        into[prefix + name] = draw(values)


FAMILIES = st.sampled_from(
    [
        (["IPv4"], "SingleStack"),
        (["IPv4"], "SingleStack"),
        (["IPv4"], "SingleStack"),
        (["IPv4"], "SingleStack"),
        (["IPv4"], "PreferDualStack"),
        (["IPv6"], "SingleStack"),
        (["IPv4", "IPv6"], "PreferDualStack"),
        (["IPv6", "IPv4"], "PreferDualStack"),
        (["IPv4", "IPv6"], "RequireDualStack"),
        (["IPv6", "IPv4"], "RequireDualStack"),
    ]
)


def families(drawn: tuple[list[str], str]) -> Body:
    return {**cluster_ips(drawn[0]), "ipFamilyPolicy": drawn[1]}


TERMS = st.sampled_from(
    [
        ("", [("TCP", 80)], "Cluster"),
        ("", [("TCP", 80)], "Cluster"),
        ("k", [("TCP", 80)], "Cluster"),
        ("k", [("TCP", 80)], "Cluster"),
        ("k", [("TCP", 81)], "Cluster"),
        ("k", [("UDP", 80)], "Cluster"),
        ("k", [("TCP", 80), ("TCP", 81)], "Cluster"),
        ("k", [("TCP", 81)], "Local"),
        ("k", [("TCP", 82)], "Local"),
        ("l", [("TCP", 81)], "Cluster"),
    ]
)
"""Sharing key, ports and policy."""
BACKENDS = st.sampled_from([{"app": "x"}, {"app": "x"}, {"app": "y"}, None])
"""Selectors of Services; None has its endpoints written by hand."""


@st.composite
def sharing(draw: st.DrawFn) -> tuple[Body, Body]:
    """Return annotations and fields of the spec that decide who shares with whom."""
    key, ports, policy = draw(TERMS)
    annotations = {draw(st.sampled_from(PREFIXES)) + "allow-shared-ip": key} if key else {}
    return annotations, {
        "ports": [{"protocol": protocol, "port": port} for protocol, port in ports],
        "externalTrafficPolicy": policy,
        "selector": draw(BACKENDS),
        "allocateLoadBalancerNodePorts": draw(st.booleans()),
    }


KINDS = st.sampled_from(
    ["ours"] * 5 + ["theirs", "classless", "ClusterIP", "NodePort", "ExternalName", "headless"]
)
BORN = st.sampled_from(["ours"] * 12 + ["theirs", "classless", "ClusterIP", "headless"])


def turned_into(kind: str, spec: Body, own_class: str | None) -> Body:
    """Return the spec as another kind of Service, with the fields that the API server fills in."""
    kept = {
        name: value
        for name, value in spec.items()
        if name not in ("loadBalancerClass", "clusterIP", "clusterIPs")
    }
    kept["type"] = kind if kind in ("ClusterIP", "NodePort", "ExternalName") else "LoadBalancer"
    classes = {"theirs": FOREIGN_CLASS, "classless": None}
    chosen = classes.get(kind, own_class)
    if kept["type"] == "LoadBalancer" and chosen is not None:
        kept["loadBalancerClass"] = chosen
    if kind == "ExternalName":
        return kept
    if kind == "headless":
        return {**kept, "clusterIP": "None", "clusterIPs": ["None"]}
    return {**kept, **cluster_ips(spec["ipFamilies"])}


@st.composite
def ingresses(draw: st.DrawFn) -> list[Body]:
    """Return a status that somebody wrote: addresses, perhaps a host name or another mode."""
    held = draw(st.lists(st.sampled_from([*IPV4, *IPV6]), max_size=2, unique=True))
    mode = draw(st.sampled_from([None, None, "VIP", "Proxy"]))
    entries: list[Body] = [{"ip": text, **({"ipMode": mode} if mode else {})} for text in held]
    if draw(st.integers(0, 7)) == 0:
        entries.append({"hostname": "lb.example.com"})
    return entries


MARKS = st.sampled_from(
    [
        {},
        {},
        {"metallb.io/ip-allocated-from-pool": "p"},
        {"metallb.io/ip-allocated-from-pool": None},
        {"lbctl.io/ip-allocated-from-pool": None},
        {"lbctl.io/ip-allocated-from-pool": "q"},
    ]
)
