"""Judge who else serves Services of type LoadBalancer, and what they have left. Pure.

Only what is certain counts: a workload of a known label that wants Pods. Two load balancers in one
cluster are no fault by themselves: classes keep them apart, and then each has its own Services.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from lbctl.model.learned import Learned, Unknown
from lbctl.model.names import ServiceKey
from lbctl.plan.doctor_checks import Check, failed, ok, some, unknown, warning

LBCTL: Final = "lbctl"
METALLB: Final = "MetalLB"
KUBE_VIP: Final = "kube-vip"
K3S: Final = "ServiceLB of k3s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """Hold one workload of a load balancer; of another lbctl, also the class that it serves."""

    product: str
    """One of the names above."""
    namespace: str
    workload: str
    load_balancer_class: str | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.product, self.namespace


def judge_neighbors(
    name: str,
    neighbors: Learned[tuple[Neighbor, ...]],
    left: Learned[list[str]],
    load_balancer_class: str | None,
) -> Check:
    """Return the check. `left` are CRDs of MetalLB that this lbctl does not read."""
    if isinstance(neighbors, Unknown):
        return unknown(name, neighbors)
    twins = [one for one in neighbors if _twin(one, load_balancer_class)]
    others = [one for one in neighbors if one.product != LBCTL]
    if twins or (others and load_balancer_class is None):
        cure = (
            "Leave the Services to one of them: take the other away, or give each its own "
            "--load-balancer-class."
        )
        rivals = [*twins, *(others if load_balancer_class is None else ())]
        return failed(
            name, f"{some(_named(rivals))}; it and this lbctl serve the same Services", cure
        )
    if others:
        cure = "Nothing, if it serves another class and its addresses are others."
        detail = f"{some(_named(others))}; lbctl serves class {load_balancer_class} only"
        return warning(name, detail, cure)
    if isinstance(left, Unknown):
        return unknown(name, left)
    if left:
        detail = f"there are CRDs of MetalLB ({some(sorted(left))}) that lbctl does not read"
        cure = "Read them with --api-group metallb.io, or delete them if MetalLB is gone."
        return warning(name, detail, cure)
    if neighbors:
        return ok(name, f"{some(_named(neighbors))}; its class keeps it apart")
    return ok(name, f"none of {METALLB}, {KUBE_VIP}, {K3S} and a second lbctl runs")


def judge_foreign(name: str, foreign: Mapping[ServiceKey, str]) -> Check:
    """Return the check on Services that somebody else has given an address."""
    if not foreign:
        return ok(name, "no Service that lbctl would serve has an address of somebody else")
    named = (f"{key} ({detail})" for key, detail in sorted(foreign.items()))
    cure = (
        "Nothing, if another load balancer serves them; else let it release them, or empty their "
        "status.loadBalancer. lbctl does not touch them."
    )
    return warning(name, f"{len(foreign)} not served by lbctl: {some(named)}", cure)


def _twin(one: Neighbor, load_balancer_class: str | None) -> bool:
    """Return whether it is an lbctl with our Services, which takes our marks for its own."""
    return one.product == LBCTL and one.load_balancer_class == load_balancer_class


def _named(found: Collection[Neighbor]) -> Iterator[str]:
    for (product, namespace), group in groupby(sorted(found, key=_order), key=_place):
        members = list(group)
        workloads = ", ".join(one.workload for one in members)
        served = {one.load_balancer_class for one in members if one.load_balancer_class}
        classes = f" for class {', '.join(sorted(served))}" if served else ""
        yield f"{product} runs in namespace {namespace} ({workloads}){classes}"


def _place(one: Neighbor) -> tuple[str, str]:
    return one.place


def _order(one: Neighbor) -> tuple[str, str, str]:
    return (*one.place, one.workload)
