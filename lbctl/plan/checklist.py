"""Walk the operator's checklist for one Service, and say which step fails first. Pure.

The order is that of the way a packet's address comes about: is the Service ours, which pool, which
address, who is told, which nodes may, and is there anybody to answer. Every step is judged from
what the plans decided already, so that the list cannot contradict the conditions. A step that
an earlier failure leaves without a subject (no address, no advertisement to look for) says so
instead of guessing. Each step has the command that shows the same to a person. Rendered by
`lbctl explain`.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lbctl.model.endpoints import EndpointSlice
from lbctl.model.names import NodeName
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.model.service import Service, TrafficPolicy
from lbctl.plan.announcement import AddressPlan, Announcement, Part
from lbctl.plan.explain import ServiceExplanation

NO_POOL: Final = frozenset(
    {
        Reason.NO_POOL_MATCHES,
        Reason.UNKNOWN_POOL,
        Reason.POOL_NOT_ALLOWED,
        Reason.AUTO_ASSIGN_OFF,
        Reason.NO_SUCH_FAMILY,
    }
)
"""Refusals that come before any address is looked at."""


_NAMED: Final = 5
"""Nodes that one step names; the explanation of each address lists them all."""


class Answer(enum.StrEnum):
    OK = "ok"
    FAILED = "failed"
    NOTE = "note"
    """Nothing to repair, but good to know."""
    NOT_REACHED = "not reached"
    """An earlier step leaves nothing to judge here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Hold one step: what was found, and the command that confirms it."""

    name: str
    answer: Answer
    detail: str
    confirm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """Hold every step in the order in which an operator would go."""

    steps: tuple[Step, ...]

    @property
    def fails_first(self) -> Step | None:
        return next((step for step in self.steps if step.answer is Answer.FAILED), None)


def checklist(
    service: Service,
    explanation: ServiceExplanation,
    announcement: Announcement,
    slices: Mapping[str, EndpointSlice],
    *,
    lbctl_namespace: str,
) -> Checklist:
    """Return the checklist of a Service; for one that is not ours only the steps that say so."""
    commands = _Commands(service, lbctl_namespace)
    if not explanation.ours:
        return Checklist(steps=tuple(_not_ours(service, explanation, commands)))
    plans = [
        plan
        for address in explanation.shown
        if (plan := announcement.addresses.get(address)) is not None
        and address not in announcement.unlawful.get(service.key, {})
    ]
    return Checklist(
        steps=(
            *_ours(service, commands),
            _pool(explanation, commands),
            _address(explanation, commands),
            _advertisement(service, plans, announcement, commands),
            _nodes(service, plans, commands),
            _selector(service, slices, commands),
            _ready(service, slices, plans, commands),
            _local(service, plans, commands),
            _announced(explanation, plans, commands),
            _source(service, commands),
        )
    )


class _Commands:
    """Spell the commands that confirm, ready to be typed."""

    def __init__(self, service: Service, lbctl_namespace: str) -> None:
        key = service.key
        inside = f"kubectl -n {key.namespace}"
        self.service = f"{inside} get service {key.name} -o yaml"
        self.type = (
            f"{inside} get service {key.name} "
            "-o jsonpath='{.spec.type} {.spec.loadBalancerClass}{\"\\n\"}'"
        )
        self.pools = f"lbctl get pools --lbctl-namespace {lbctl_namespace}"
        self.pool = f"lbctl explain pool {{}} --lbctl-namespace {lbctl_namespace}"
        self.status = f"{inside} get service {key.name}"
        self.nodes = f"lbctl explain service {key} --lbctl-namespace {lbctl_namespace}"
        self.slices = f"{inside} get endpointslices -l kubernetes.io/service-name={key.name}"
        labels = ",".join(f"{name}={value}" for name, value in sorted(service.selector.items()))
        self.selected = f"{inside} get pods -o wide -l {shlex.quote(labels)}"
        self.sent = f"kubectl -n {lbctl_namespace} get servicel2statuses"
        self.policy = f"{inside} get service {key.name} -o jsonpath='{{.spec.externalTrafficPolicy}}{{\"\\n\"}}'"


def _not_ours(
    service: Service, explanation: ServiceExplanation, commands: _Commands
) -> Iterator[Step]:
    if explanation.reason is Reason.NOT_LOAD_BALANCER:
        yield _step("type", Answer.NOTE, _nothing_to_do(service.type), commands.type)
        return
    yield _step("type", Answer.OK, "LoadBalancer", commands.type)
    if explanation.reason is Reason.FOREIGN_CLASS:
        detail = f"nothing to do, because another load balancer serves it: {explanation.detail}"
        yield _step("class", Answer.NOTE, detail, commands.type)
        return
    yield _step("class", Answer.OK, _class(service), commands.type)
    detail = f"nothing to do, because it is somebody else's: {explanation.detail}"
    yield _step("address", Answer.NOTE, detail, commands.status)


def _nothing_to_do(kind: str) -> str:
    why = {
        "ClusterIP": "it is reached inside the cluster only",
        "NodePort": "it is reached at a port of every node, without an address of its own",
        "ExternalName": "it is a name in DNS, without an address or a proxy",
    }.get(kind, "its type asks for none")
    return f"{kind}: nothing to do, because {why}; an external IP needs type LoadBalancer"


def _ours(service: Service, commands: _Commands) -> Iterator[Step]:
    yield _step("type", Answer.OK, "LoadBalancer", commands.type)
    yield _step("class", Answer.OK, _class(service), commands.type)


def _class(service: Service) -> str:
    return service.load_balancer_class or "none, which this installation serves"


def _pool(explanation: ServiceExplanation, commands: _Commands) -> Step:
    refused = explanation.reason in NO_POOL
    if refused and not explanation.allocated:
        detail = f"{explanation.reason}: {explanation.detail}"
        return _step("pool", Answer.FAILED, detail, commands.pools)
    pools = dict.fromkeys(one.pool for one in explanation.addresses if one.pool)
    tried = dict.fromkeys(one.pool for one in explanation.trace if one.reason is None)
    names = ", ".join(pools or tried)
    if names:
        first = next(iter(pools or tried))
        return _step("pool", Answer.OK, names, commands.pool.format(first))
    return _step("pool", Answer.OK, "see the address", commands.pools)


def _address(explanation: ServiceExplanation, commands: _Commands) -> Step:
    name = "address"
    if explanation.reason in NO_POOL and not explanation.allocated:
        return _step(name, Answer.NOT_REACHED, "no pool serves the Service", commands.status)
    unlawful = [
        f"{one.address}: {one.refused.reason}: {one.refused.detail}"
        for one in explanation.addresses
        if one.pool is None and one.refused is not None
    ]
    if explanation.reason is not Reason.ALLOCATED:
        detail = f"{explanation.reason}: {explanation.detail}"
        return _step(name, Answer.FAILED, detail, commands.service)
    if unlawful:
        return _step(name, Answer.FAILED, "; ".join(unlawful), commands.service)
    given = ", ".join(map(str, explanation.allocated))
    if explanation.allocated != explanation.shown:
        detail = f"{given}, which the status does not show yet; the controller writes it"
        return _step(name, Answer.NOTE, detail, commands.status)
    return _step(name, Answer.OK, given, commands.status)


def _advertisement(
    service: Service, plans: list[AddressPlan], announcement: Announcement, commands: _Commands
) -> Step:
    name = "advertisement"
    if not plans:
        return _nothing_shown(name, commands.pools)
    names: dict[str, None] = {}
    for plan in plans:
        uncovered = announcement.reaches.uncovered(service, plan.pool)
        if uncovered is not None:
            detail = f"{uncovered.reason}: {uncovered.detail}"
            return _step(name, Answer.FAILED, detail, commands.pool.format(plan.pool))
        matching = announcement.reaches.matching(service, plan.pool)
        names |= dict.fromkeys(one.name for one in matching)
    return _step(name, Answer.OK, ", ".join(names), commands.pool.format(plans[0].pool))


def _nodes(service: Service, plans: list[AddressPlan], commands: _Commands) -> Step:
    name = "eligible nodes"
    if not plans:
        return _nothing_shown(name, commands.nodes)
    able: dict[NodeName, None] = {}
    for plan in plans:
        part = _part(plan, service)
        if not part.reach.able:
            reasons = {refused.reason for refused in part.reach.unable.values()}
            if reasons == {Reason.NO_ADVERTISEMENT}:
                return _step(
                    name, Answer.NOT_REACHED, "no advertisement names nodes", commands.nodes
                )
            detail = (
                f"{plan.refused.reason}: {plan.refused.detail}"
                if plan.refused is not None
                else f"no node may announce {plan.address} for this Service"
            )
            return _step(name, Answer.FAILED, detail, commands.nodes)
        able |= dict.fromkeys(part.reach.able)
    return _step(name, Answer.OK, _names(able), commands.nodes)


def _selector(service: Service, slices: Mapping[str, EndpointSlice], commands: _Commands) -> Step:
    name = "selector"
    found = sum(len(one.endpoints) for one in slices.values())
    if not service.selector:
        if found:
            detail = "none: somebody else makes the EndpointSlices"
            return _step(name, Answer.OK, detail, commands.slices)
        detail = "none, and nobody has made an EndpointSlice with an endpoint"
        return _step(name, Answer.FAILED, detail, commands.slices)
    labels = ", ".join(f"{key}={value}" for key, value in sorted(service.selector.items()))
    if found:
        return _step(name, Answer.OK, labels, commands.selected)
    detail = f"{labels} matches no Pod: no EndpointSlice of the Service has an endpoint"
    return _step(name, Answer.FAILED, detail, commands.selected)


def _ready(
    service: Service,
    slices: Mapping[str, EndpointSlice],
    plans: list[AddressPlan],
    commands: _Commands,
) -> Step:
    name = "endpoints ready"
    if not any(one.endpoints for one in slices.values()):
        return _step(name, Answer.NOT_REACHED, "there are no endpoints", commands.slices)
    if not plans:
        return _nothing_shown(name, commands.slices)
    counts = {plan.address: _part(plan, service).endpoints for plan in plans}
    for address, count in counts.items():
        if not count.usable:
            detail = f"NoEndpoints: for {address}: {count}"
            return _step(name, Answer.FAILED, detail, commands.slices)
    answer = Answer.OK if all(not count.unusable for count in counts.values()) else Answer.NOTE
    detail = "; ".join(dict.fromkeys(str(count) for count in counts.values()))
    return _step(name, answer, detail, commands.slices)


def _local(service: Service, plans: list[AddressPlan], commands: _Commands) -> Step:
    name = "local endpoints"
    if service.traffic_policy is not TrafficPolicy.LOCAL:
        detail = "not needed: externalTrafficPolicy is Cluster"
        return _step(name, Answer.OK, detail, commands.policy)
    if not plans:
        return _nothing_shown(name, commands.slices)
    nodes: dict[NodeName, None] = {}
    for plan in plans:
        part = _part(plan, service)
        if not part.reach.able or not part.endpoints.usable:
            detail = "no node may announce, or no endpoint is usable"
            return _step(name, Answer.NOT_REACHED, detail, commands.slices)
        if not part.nodes:
            able = _names(part.reach.able)
            have = _names(part.endpoints.ready_nodes | part.endpoints.draining_nodes)
            detail = (
                f"NoLocalEndpoints: externalTrafficPolicy is Local, {able} may announce, and the "
                f"usable endpoints are on {have or 'no known node'}"
            )
            return _step(name, Answer.FAILED, detail, commands.slices)
        nodes |= dict.fromkeys(part.nodes)
    return _step(name, Answer.OK, f"on {_names(nodes)}", commands.slices)


def _announced(
    explanation: ServiceExplanation, plans: list[AddressPlan], commands: _Commands
) -> Step:
    name = "announced"
    lawful = {plan.address: plan for plan in plans}
    if not lawful:
        return _nothing_shown(name, commands.sent)
    said = []
    answer = Answer.OK
    for one in explanation.addresses:
        plan = lawful.get(one.address)
        if plan is None:
            continue
        if plan.owner is None:
            text = f"{one.address} by nobody"
            answer = Answer.NOT_REACHED
            said.append(text if plan.refused is None else f"{text} ({plan.refused.reason})")
            continue
        text = f"{one.address} by {plan.owner}"
        if one.sent is None and one.refused is not None:
            detail = f"{one.refused.reason}: {one.address}: {one.refused.detail}"
            return _step(name, Answer.FAILED, detail, commands.sent)
        if one.sent is not None and one.sent.node != plan.owner:
            text += f", but node {one.sent.node} says so"
            answer = Answer.NOTE if answer is Answer.OK else answer
        said.append(text)
    return _step(name, answer, "; ".join(said), commands.sent)


def _source(service: Service, commands: _Commands) -> Step:
    detail = (
        "kept: with externalTrafficPolicy Local the Pods see the client's address"
        if service.traffic_policy is TrafficPolicy.LOCAL
        else "replaced: with externalTrafficPolicy Cluster the Pods may see a node's address"
    )
    return _step("source address", Answer.NOTE, detail, commands.policy)


def _part(plan: AddressPlan, service: Service) -> Part:
    return next((one for one in plan.parts if one.service.key == service.key), plan.parts[0])


def _names(nodes: Collection[NodeName]) -> str:
    """Return the nodes by name; of a thousand the first ones and how many there are."""
    ordered = sorted(nodes)
    more = len(ordered) - _NAMED
    return ", ".join(ordered[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _nothing_shown(name: str, confirm: str) -> Step:
    return _step(name, Answer.NOT_REACHED, "the Service has no address yet", confirm)


def _step(name: str, answer: Answer, detail: str, confirm: str) -> Step:
    return Step(name=name, answer=answer, detail=detail, confirm=confirm)


def cure_of(step: Step) -> str:
    """Return the cure of the reason that a failed step begins with; empty without one."""
    head = step.detail.partition(":")[0]
    return EXPLANATIONS[Reason(head)].cure if head in tuple(Reason) else ""


__all__ = ["Answer", "Checklist", "Step", "checklist", "cure_of"]
