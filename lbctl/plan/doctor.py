"""Judge an installation and what it stands on: one check, one sentence, one cure each. Pure.

The facts are gathered by `lbctl doctor`, each for itself, because the one that is missing is often
the finding. What could not be learned is `Unknown` with its why and leads to the answer `unknown`,
never to `ok`: a check that was not made is not a check that was passed. What a Service or a pool
lacks by itself is for `lbctl explain`; here is what is wrong with the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lbctl.model.address import Address, Range
from lbctl.model.learned import Learned, Unknown
from lbctl.model.names import NodeName, ObjectKey, ServiceKey
from lbctl.model.pool import Pool
from lbctl.plan.doctor_checks import Check, Level, failed, ok, some, unknown, warning
from lbctl.plan.doctor_neighbors import Neighbor, judge_foreign, judge_neighbors
from lbctl.plan.doctor_rights import Rights, judge_rights

SLACK_S: Final = 5.0
"""How much older than its duration a Lease may be: clocks differ, and a renewal is on its way."""


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
    rights: Learned[Rights]
    neighbors: Learned[tuple[Neighbor, ...]]
    """Other load balancers of the cluster."""
    foreign: Learned[Mapping[ServiceKey, str]]
    """Services that we would serve, and the address of somebody else in their status."""
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
            _rights(facts),
            _neighbors(facts),
            _foreign(facts),
        )
    )


def unreachable(why: str) -> Diagnosis:
    """Return the diagnosis when the API server does not answer: nothing else can be known."""
    cure = "Correct --kubeconfig or --context, or bring the API server back."
    return Diagnosis(checks=(Check(name="API server", level=Level.FAILED, detail=why, cure=cure),))


def _api(facts: Facts) -> Check:
    name = "API server"
    if isinstance(facts.version, Unknown):
        return unknown(name, facts.version)
    return ok(name, f"it answers and is {facts.version}")


def _definitions(facts: Facts) -> Check:
    name = "CRDs"
    if isinstance(facts.definitions, Unknown):
        return unknown(name, facts.definitions)
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
        return failed(name, some(wrong), cure)
    versions = ", ".join(sorted({version for _, version in facts.wanted_definitions}))
    return ok(name, f"all {len(facts.wanted_definitions)} are established and serve {versions}")


def _strays(facts: Facts) -> Check:
    name = "pools and advertisements"
    if isinstance(facts.strays, Unknown):
        return unknown(name, facts.strays)
    if facts.strays:
        detail = f"not read, because of their namespace: {some(map(str, sorted(facts.strays)))}"
        cure = (
            f"Move them to namespace {facts.lbctl_namespace}, unless another installation reads "
            "them."
        )
        return warning(name, detail, cure)
    return ok(name, f"all are in namespace {facts.lbctl_namespace}, where lbctl reads them")


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
        return unknown(name, found)
    if not found:
        detail = f"namespace {facts.lbctl_namespace} has no {kind} of the {name}"
        return failed(name, detail, "Install lbctl, or name its namespace: --lbctl-namespace.")
    said = [f"{one.name}: {one.ready} of {one.wanted} Pods ready" for one in found]
    if any(one.ready == 0 for one in found):
        return failed(name, "; ".join(said), cure)
    if any(one.ready < one.wanted for one in found):
        return warning(name, "; ".join(said), cure)
    return ok(name, "; ".join(said))


def _lease(facts: Facts) -> Check:
    name = "controller's Lease"
    if isinstance(facts.leases, Unknown):
        return unknown(name, facts.leases)
    if not facts.leases:
        why = f"no Lease in namespace {facts.lbctl_namespace}: the controller never led, or runs "
        return unknown(name, Unknown(why=f"{why}with --leader-elect=false"))
    one = min(facts.leases, key=lambda lease: lease.age_s)
    if not one.holder:
        cure = "Start a controller: nobody allocates addresses."
        return failed(name, f"{one.name} is held by nobody", cure)
    if one.seen_moving or one.age_s <= one.duration_s + SLACK_S:
        return ok(name, f"{one.holder} holds {one.name} and renews it")
    detail = f"{one.holder} has not renewed {one.name} for {one.age_s:.0f} s"
    cure = f"The controller is down or cut off: kubectl -n {facts.lbctl_namespace} get pods."
    return failed(name, detail, cure)


def _reports(facts: Facts) -> Check:
    name = "SpeakerStatus of each node"
    if isinstance(facts.reports, Unknown):
        return unknown(name, facts.reports)
    if isinstance(facts.nodes, Unknown):
        return unknown(name, facts.nodes)
    missing = [one.node for one in facts.nodes if one.node not in facts.reports]
    if not facts.nodes or len(missing) < len(facts.nodes):
        if missing:
            cure = "Nothing, if these nodes shall not announce; else see their speaker Pods."
            return warning(name, f"none from {some(sorted(missing))}", cure)
        return ok(name, f"all {len(facts.nodes)} nodes report")
    cure = "No node can announce: see the speaker Pods and their right to write SpeakerStatus."
    return failed(name, "no node reports", cure)


def _kube_proxy(facts: Facts) -> Check:
    name = "kube-proxy"
    if isinstance(facts.kube_proxy, Unknown):
        return unknown(name, facts.kube_proxy)
    mode = facts.kube_proxy.mode or "the default mode"
    if facts.kube_proxy.mode != "ipvs":
        return ok(name, f"{mode}, which needs nothing")
    if facts.kube_proxy.strict_arp:
        return ok(name, "ipvs with strictARP")
    detail = "ipvs without strictARP: every node answers ARP for every external IP"
    cure = "Set ipvs.strictARP: true in ConfigMap kube-system/kube-proxy and restart its Pods."
    return failed(name, detail, cure)


def _node_addresses(facts: Facts) -> Check:
    name = "pools and node addresses"
    if isinstance(facts.pools, Unknown):
        return unknown(name, facts.pools)
    if isinstance(facts.nodes, Unknown):
        return unknown(name, facts.nodes)
    hits = [
        f"pool {pool.name} holds {address} of node {node.node}"
        for pool in facts.pools
        for node in facts.nodes
        for address in node.addresses
        if address in pool
    ]
    if hits:
        cure = "Take the nodes' addresses out of the pool: a Service would get one of them."
        return failed(name, some(hits), cure)
    return ok(name, "no pool holds an address of a node")


def _pod_ranges(facts: Facts) -> Check:
    name = "pools and pod CIDRs"
    if isinstance(facts.nodes, Unknown):
        return unknown(name, facts.nodes)
    if not any(node.pod_ranges for node in facts.nodes):
        return unknown(
            name, Unknown(why="no Node has spec.podCIDRs: the network plugin knows them")
        )
    named = ((f"node {node.node}", node.pod_ranges) for node in facts.nodes)
    return _apart(name, facts.pools, named, "the Pods")


def _service_ranges(facts: Facts) -> Check:
    name = "pools and Service CIDRs"
    if not isinstance(facts.service_ranges, Unknown):
        return _apart(name, facts.pools, [("the cluster", facts.service_ranges)], "the cluster IPs")
    if isinstance(facts.pools, Unknown):
        return unknown(name, facts.pools)
    if isinstance(facts.cluster_ips, Unknown):
        return unknown(name, facts.service_ranges)
    hits = [
        f"pool {pool.name} holds {address}, the cluster IP of {key}"
        for pool in facts.pools
        for key, addresses in facts.cluster_ips.items()
        for address in addresses
        if address in pool
    ]
    if hits:
        return failed(name, some(hits), "Give the pool other addresses than the cluster IPs.")
    return unknown(name, facts.service_ranges)


def _apart(
    name: str,
    pools: Learned[tuple[Pool, ...]],
    others: Iterable[tuple[str, tuple[Range, ...]]],
    whose: str,
) -> Check:
    if isinstance(pools, Unknown):
        return unknown(name, pools)
    hits = [
        f"{block} of pool {pool.name} overlaps {theirs} of {owner}"
        for owner, ranges in others
        for theirs in ranges
        for pool in pools
        for block in pool.ranges
        if block.overlaps(theirs)
    ]
    if hits:
        return failed(name, some(hits), f"Give the pool other addresses than those of {whose}.")
    return ok(name, "they have no address in common")


def _subnets(facts: Facts) -> Check:
    name = "pools and node subnets"
    if isinstance(facts.pools, Unknown):
        return unknown(name, facts.pools)
    if isinstance(facts.reports, Unknown):
        return unknown(name, facts.reports)
    subnets = [block for blocks in facts.reports.values() for block in blocks]
    if not subnets:
        return unknown(name, Unknown(why="no speaker has reported the subnet of an interface"))
    outside = [
        f"{block} of pool {pool.name}"
        for pool in facts.pools
        for block in pool.ranges
        if not any(block.first in one and block.last in one for one in subnets)
    ]
    if outside:
        detail = f"{some(outside)} lies not wholly in a subnet of a node's interface"
        cure = (
            "Use addresses of the nodes' subnet, or give the router a route: its neighbors do not "
            "ask by ARP or NDP for an address outside their subnet."
        )
        return warning(name, detail, cure)
    return ok(name, "every range lies in a subnet of a node")


def _rights(facts: Facts) -> Check:
    name = "rights"
    if isinstance(facts.rights, Unknown):
        return unknown(name, facts.rights)
    return judge_rights(name, facts.rights)


def _neighbors(facts: Facts) -> Check:
    name = "another load balancer"
    left: Learned[list[str]] = (
        facts.definitions
        if isinstance(facts.definitions, Unknown)
        else [one.name for one in facts.definitions if one.group == "metallb.io"]
        if facts.api_group != "metallb.io"
        else []
    )
    return judge_neighbors(name, facts.neighbors, left, facts.load_balancer_class)


def _foreign(facts: Facts) -> Check:
    name = "addresses of others"
    if isinstance(facts.foreign, Unknown):
        return unknown(name, facts.foreign)
    return judge_foreign(name, facts.foreign)
