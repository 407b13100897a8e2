"""Judge an installation and what it stands on: one check, one sentence, one cure each. Pure.

The facts are gathered by `lbctl doctor`, each for itself, because the one that is missing is often
the finding. What could not be learned is `Unknown` with its why and leads to the answer `unknown`,
never to `ok`: a check that was not made is not a check that was passed. What a Service or a pool
lacks by itself is for `lbctl explain`; here is what is wrong with the cluster.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lbctl.model.address import Address, Range
from lbctl.model.learned import Learned, Unknown
from lbctl.model.names import NodeName, ObjectKey, ServiceKey
from lbctl.model.pool import Pool

SLACK_S: Final = 5.0
"""How much older than its duration a Lease may be: clocks differ, and a renewal is on its way."""
_NAMED: Final = 3
"""How many findings one sentence names."""


class Level(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Hold the answer to one question; `cure` is empty where there is nothing to do."""

    name: str
    level: Level
    detail: str
    cure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Hold one CustomResourceDefinition: `versions` are those that are served."""

    name: str
    group: str
    versions: tuple[str, ...]
    established: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Hold a Deployment or DaemonSet: how many Pods it wants and how many are ready."""

    name: str
    wanted: int
    ready: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFacts:
    """Hold the controller's Lease; `age_s` is by the clock of the machine that asks."""

    name: str
    holder: str
    age_s: float
    duration_s: float
    seen_moving: bool
    """It was renewed while we watched, whatever the clocks say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeProxy:
    """Hold what kube-proxy's configuration says; an empty mode is its default."""

    mode: str
    strict_arp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNetwork:
    """Hold a Node's own addresses and the ranges of its Pods."""

    node: NodeName
    addresses: tuple[Address, ...]
    pod_ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Hold everything that the checks look at."""

    version: Learned[str]
    definitions: Learned[tuple[Definition, ...]]
    wanted_definitions: tuple[tuple[str, str], ...]
    """Name and version of each CRD that this setting of --api-group uses."""
    controllers: Learned[tuple[Workload, ...]]
    leases: Learned[tuple[LeaseFacts, ...]]
    speakers: Learned[tuple[Workload, ...]]
    reports: Learned[Mapping[NodeName, tuple[Range, ...]]]
    """The nodes with a SpeakerStatus, and the subnets of their interfaces."""
    nodes: Learned[tuple[NodeNetwork, ...]]
    kube_proxy: Learned[KubeProxy]
    pools: Learned[tuple[Pool, ...]]
    """The pools in effect."""
    service_ranges: Learned[tuple[Range, ...]]
    cluster_ips: Learned[Mapping[ServiceKey, tuple[Address, ...]]]
    metallb_controllers: Learned[tuple[Workload, ...]]
    strays: Learned[tuple[ObjectKey, ...]]
    """Pools and advertisements in namespaces where lbctl does not read them."""
    lbctl_namespace: str
    api_group: str
    load_balancer_class: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Hold all checks, in the order in which one would repair."""

    checks: tuple[Check, ...]

    @property
    def fine(self) -> bool:
        """Return whether no check failed; warnings and unknowns are for people to weigh."""
        return all(check.level is not Level.FAILED for check in self.checks)


def diagnose(facts: Facts) -> Diagnosis:
    """Return the answer to every question."""
    return Diagnosis(
        checks=(
            _api(facts),
            _definitions(facts),
            _strays(facts),
            _controller(facts),
            _lease(facts),
            _speakers(facts),
            _reports(facts),
            _kube_proxy(facts),
            _node_addresses(facts),
            _pod_ranges(facts),
            _service_ranges(facts),
            _subnets(facts),
            _metallb(facts),
        )
    )


def unreachable(why: str) -> Diagnosis:
    """Return the diagnosis when the API server does not answer: nothing else can be known."""
    cure = "Correct --kubeconfig or --context, or bring the API server back."
    return Diagnosis(checks=(Check(name="API server", level=Level.FAILED, detail=why, cure=cure),))


def _api(facts: Facts) -> Check:
    name = "API server"
    if isinstance(facts.version, Unknown):
        return _unknown(name, facts.version)
    return _ok(name, f"it answers and is {facts.version}")


def _definitions(facts: Facts) -> Check:
    name = "CRDs"
    if isinstance(facts.definitions, Unknown):
        return _unknown(name, facts.definitions)
    found = {one.name: one for one in facts.definitions}
    wrong = []
    for wanted, version in facts.wanted_definitions:
        one = found.get(wanted)
        if one is None:
            wrong.append(f"{wanted} is missing")
        elif version not in one.versions:
            wrong.append(f"{wanted} serves {', '.join(one.versions) or 'nothing'}, not {version}")
        elif not one.established:
            wrong.append(f"{wanted} is not established")
    if wrong:
        cure = "Install the CRDs: helm upgrade --install lbctl deploy/helm/lbctl."
        return _failed(name, _some(wrong), cure)
    versions = ", ".join(sorted({version for _, version in facts.wanted_definitions}))
    return _ok(name, f"all {len(facts.wanted_definitions)} are established and serve {versions}")


def _strays(facts: Facts) -> Check:
    name = "pools and advertisements"
    if isinstance(facts.strays, Unknown):
        return _unknown(name, facts.strays)
    if facts.strays:
        detail = f"not read, because of their namespace: {_some(map(str, sorted(facts.strays)))}"
        cure = (
            f"Move them to namespace {facts.lbctl_namespace}, unless another installation reads "
            "them."
        )
        return _warning(name, detail, cure)
    return _ok(name, f"all are in namespace {facts.lbctl_namespace}, where lbctl reads them")


def _controller(facts: Facts) -> Check:
    cure = (
        f"See kubectl -n {facts.lbctl_namespace} describe pods -l "
        "app.kubernetes.io/component=controller."
    )
    return _workloads("controller", "Deployment", facts.controllers, facts, cure)


def _speakers(facts: Facts) -> Check:
    cure = (
        f"See kubectl -n {facts.lbctl_namespace} describe pods -l "
        "app.kubernetes.io/component=speaker."
    )
    return _workloads("speakers", "DaemonSet", facts.speakers, facts, cure)


def _workloads(
    name: str, kind: str, found: Learned[tuple[Workload, ...]], facts: Facts, cure: str
) -> Check:
    if isinstance(found, Unknown):
        return _unknown(name, found)
    if not found:
        detail = f"namespace {facts.lbctl_namespace} has no {kind} of the {name}"
        return _failed(name, detail, "Install lbctl, or name its namespace: --lbctl-namespace.")
    said = [f"{one.name}: {one.ready} of {one.wanted} Pods ready" for one in found]
    if any(one.ready == 0 for one in found):
        return _failed(name, "; ".join(said), cure)
    if any(one.ready < one.wanted for one in found):
        return _warning(name, "; ".join(said), cure)
    return _ok(name, "; ".join(said))


def _lease(facts: Facts) -> Check:
    name = "controller's Lease"
    if isinstance(facts.leases, Unknown):
        return _unknown(name, facts.leases)
    if not facts.leases:
        why = f"no Lease in namespace {facts.lbctl_namespace}: the controller never led, or runs "
        return _unknown(name, Unknown(why=f"{why}with --leader-elect=false"))
    one = min(facts.leases, key=lambda lease: lease.age_s)
    if not one.holder:
        cure = "Start a controller: nobody allocates addresses."
        return _failed(name, f"{one.name} is held by nobody", cure)
    if one.seen_moving or one.age_s <= one.duration_s + SLACK_S:
        return _ok(name, f"{one.holder} holds {one.name} and renews it")
    detail = f"{one.holder} has not renewed {one.name} for {one.age_s:.0f} s"
    cure = f"The controller is down or cut off: kubectl -n {facts.lbctl_namespace} get pods."
    return _failed(name, detail, cure)


def _reports(facts: Facts) -> Check:
    name = "SpeakerStatus of each node"
    if isinstance(facts.reports, Unknown):
        return _unknown(name, facts.reports)
    if isinstance(facts.nodes, Unknown):
        return _unknown(name, facts.nodes)
    missing = [one.node for one in facts.nodes if one.node not in facts.reports]
    if not facts.nodes or len(missing) < len(facts.nodes):
        if missing:
            cure = "Nothing, if these nodes shall not announce; else see their speaker Pods."
            return _warning(name, f"none from {_some(sorted(missing))}", cure)
        return _ok(name, f"all {len(facts.nodes)} nodes report")
    cure = "No node can announce: see the speaker Pods and their right to write SpeakerStatus."
    return _failed(name, "no node reports", cure)


def _kube_proxy(facts: Facts) -> Check:
    name = "kube-proxy"
    if isinstance(facts.kube_proxy, Unknown):
        return _unknown(name, facts.kube_proxy)
    mode = facts.kube_proxy.mode or "the default mode"
    if facts.kube_proxy.mode != "ipvs":
        return _ok(name, f"{mode}, which needs nothing")
    if facts.kube_proxy.strict_arp:
        return _ok(name, "ipvs with strictARP")
    detail = "ipvs without strictARP: every node answers ARP for every external IP"
    cure = "Set ipvs.strictARP: true in ConfigMap kube-system/kube-proxy and restart its Pods."
    return _failed(name, detail, cure)


def _node_addresses(facts: Facts) -> Check:
    name = "pools and node addresses"
    if isinstance(facts.pools, Unknown):
        return _unknown(name, facts.pools)
    if isinstance(facts.nodes, Unknown):
        return _unknown(name, facts.nodes)
    hits = [
        f"pool {pool.name} holds {address} of node {node.node}"
        for pool in facts.pools
        for node in facts.nodes
        for address in node.addresses
        if address in pool
    ]
    if hits:
        cure = "Take the nodes' addresses out of the pool: a Service would get one of them."
        return _failed(name, _some(hits), cure)
    return _ok(name, "no pool holds an address of a node")


def _pod_ranges(facts: Facts) -> Check:
    name = "pools and pod CIDRs"
    if isinstance(facts.nodes, Unknown):
        return _unknown(name, facts.nodes)
    if not any(node.pod_ranges for node in facts.nodes):
        return _unknown(
            name, Unknown(why="no Node has spec.podCIDRs: the network plugin knows them")
        )
    named = ((f"node {node.node}", node.pod_ranges) for node in facts.nodes)
    return _apart(name, facts.pools, named, "the Pods")


def _service_ranges(facts: Facts) -> Check:
    name = "pools and Service CIDRs"
    if not isinstance(facts.service_ranges, Unknown):
        return _apart(name, facts.pools, [("the cluster", facts.service_ranges)], "the cluster IPs")
    if isinstance(facts.pools, Unknown):
        return _unknown(name, facts.pools)
    if isinstance(facts.cluster_ips, Unknown):
        return _unknown(name, facts.service_ranges)
    hits = [
        f"pool {pool.name} holds {address}, the cluster IP of {key}"
        for pool in facts.pools
        for key, addresses in facts.cluster_ips.items()
        for address in addresses
        if address in pool
    ]
    if hits:
        return _failed(name, _some(hits), "Give the pool other addresses than the cluster IPs.")
    return _unknown(name, facts.service_ranges)


def _apart(
    name: str,
    pools: Learned[tuple[Pool, ...]],
    others: Iterable[tuple[str, tuple[Range, ...]]],
    whose: str,
) -> Check:
    if isinstance(pools, Unknown):
        return _unknown(name, pools)
    hits = [
        f"{block} of pool {pool.name} overlaps {theirs} of {owner}"
        for owner, ranges in others
        for theirs in ranges
        for pool in pools
        for block in pool.ranges
        if block.overlaps(theirs)
    ]
    if hits:
        return _failed(name, _some(hits), f"Give the pool other addresses than those of {whose}.")
    return _ok(name, "they have no address in common")


def _subnets(facts: Facts) -> Check:
    name = "pools and node subnets"
    if isinstance(facts.pools, Unknown):
        return _unknown(name, facts.pools)
    if isinstance(facts.reports, Unknown):
        return _unknown(name, facts.reports)
    subnets = [block for blocks in facts.reports.values() for block in blocks]
    if not subnets:
        return _unknown(name, Unknown(why="no speaker has reported the subnet of an interface"))
    outside = [
        f"{block} of pool {pool.name}"
        for pool in facts.pools
        for block in pool.ranges
        if not any(block.first in one and block.last in one for one in subnets)
    ]
    if outside:
        detail = f"{_some(outside)} lies not wholly in a subnet of a node's interface"
        cure = (
            "Use addresses of the nodes' subnet, or give the router a route: its neighbors do not "
            "ask by ARP or NDP for an address outside their subnet."
        )
        return _warning(name, detail, cure)
    return _ok(name, "every range lies in a subnet of a node")


def _metallb(facts: Facts) -> Check:
    name = "another load balancer"
    controllers = facts.metallb_controllers
    if not isinstance(controllers, Unknown) and any(one.wanted for one in controllers):
        detail = "a MetalLB controller is wanted in namespace metallb-system"
        if facts.load_balancer_class is not None:
            return _warning(
                name,
                f"{detail}; lbctl serves class {facts.load_balancer_class} only",
                "Nothing, if MetalLB serves another class and its pools are others.",
            )
        cure = "Scale MetalLB down, or give each of the two its own --load-balancer-class."
        return _failed(name, f"{detail}: both serve the same Services", cure)
    definitions = facts.definitions
    if isinstance(definitions, Unknown):
        return _unknown(name, definitions)
    left = [one.name for one in definitions if one.group == "metallb.io"]
    if left and facts.api_group != "metallb.io":
        detail = f"there are CRDs of MetalLB ({_some(sorted(left))}) that lbctl does not read"
        cure = "Read them with --api-group metallb.io, or delete them if MetalLB is gone."
        return _warning(name, detail, cure)
    if isinstance(controllers, Unknown):
        return _unknown(name, controllers)
    return _ok(name, "no MetalLB runs beside lbctl")


def _some(items: Iterable[str]) -> str:
    return "; ".join(_shortened(list(items)))


def _shortened(items: list[str]) -> Iterator[str]:
    yield from items[:_NAMED]
    if len(items) > _NAMED:
        yield f"and {len(items) - _NAMED} more"


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, level=Level.OK, detail=detail)


def _warning(name: str, detail: str, cure: str) -> Check:
    return Check(name=name, level=Level.WARNING, detail=detail, cure=cure)


def _failed(name: str, detail: str, cure: str) -> Check:
    return Check(name=name, level=Level.FAILED, detail=detail, cure=cure)


def _unknown(name: str, unknown: Unknown) -> Check:
    return Check(name=name, level=Level.UNKNOWN, detail=unknown.why)
