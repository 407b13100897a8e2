"""Walk the operator's checklist for one Service, and say which step fails first. Pure.

The order is that of the way a packet's address comes about: is the Service ours, which pool, which
address, who is told, which nodes may, and is there anybody to answer. Every step is judged from
what the plans decided already, so that the list cannot contradict the conditions; only what no
plan looks at (Pods, kube-proxy) is asked for this one Service. A step that an earlier failure
leaves without a subject (no address, no advertisement to look for) says so instead of guessing.
Each step has the command that shows the same to a person. Rendered by `lbctl explain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lbctl.model.endpoints import EndpointSlice
from lbctl.model.names import NodeName
from lbctl.model.outcome import Refused
from lbctl.model.pods import Backing
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.model.service import Service, TrafficPolicy
from lbctl.plan.announced import nearest
from lbctl.plan.announcement import AddressPlan, Announcement
from lbctl.plan.checklist_backends import (
    kube_proxy,
    local,
    part_of,
    ready,
    selector,
    target_ports,
)
from lbctl.plan.checklist_bgp import sessions_step
from lbctl.plan.checklist_steps import (
    Answer,
    Commands,
    Step,
    failed,
    not_reached,
    note,
    nothing_shown,
    ok,
    refused,
    some,
)
from lbctl.plan.explain import ServiceExplanation
from lbctl.plan.places import Place
from lbctl.plan.telling import NOBODY, Telling

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
    backing: Backing,
    *,
    telling: Telling = NOBODY,
    place: Place,
) -> Checklist:
    """Return the checklist of a Service; for one that is not ours only the steps that say so."""
    commands = Commands(service, place)
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
            _advertisement(service, plans, announcement, telling, commands),
            _nodes(service, plans, telling, commands),
            selector(service, slices, backing, commands),
            ready(service, slices, plans, backing, commands),
            target_ports(service, backing, commands),
            local(service, plans, telling, commands),
            *sessions_step(service, plans, telling, commands),
            _announced(explanation, plans, commands),
            kube_proxy(backing, commands),
            _source(service, commands),
        )
    )


def _not_ours(
    service: Service, explanation: ServiceExplanation, commands: Commands
) -> Iterator[Step]:
    if explanation.reason is Reason.NOT_LOAD_BALANCER:
        yield note("type", _nothing_to_do(service.type), commands.type)
        return
    yield ok("type", "LoadBalancer", commands.type)
    if explanation.reason is Reason.FOREIGN_CLASS:
        detail = f"nothing to do, because another load balancer serves it: {explanation.detail}"
        yield note("class", detail, commands.type)
        return
    yield ok("class", _class(service), commands.type)
    detail = f"nothing to do, because it is somebody else's: {explanation.detail}"
    yield note("address", detail, commands.status)


def _nothing_to_do(kind: str) -> str:
    why = {
        "ClusterIP": "it is reached inside the cluster only",
        "NodePort": "it is reached at a port of every node, without an address of its own",
        "ExternalName": "it is a name in DNS, without an address or a proxy",
    }.get(kind, "its type asks for none")
    return f"{kind}: nothing to do, because {why}; an external IP needs type LoadBalancer"


def _ours(service: Service, commands: Commands) -> Iterator[Step]:
    yield ok("type", "LoadBalancer", commands.type)
    yield ok("class", _class(service), commands.type)


def _class(service: Service) -> str:
    return service.load_balancer_class or "none, which this installation serves"


def _pool(explanation: ServiceExplanation, commands: Commands) -> Step:
    name = "pool"
    if explanation.reason in NO_POOL and not explanation.allocated:
        return refused(name, explanation.reason, explanation.detail, commands.pools)
    pools = dict.fromkeys(one.pool for one in explanation.addresses if one.pool)
    tried = dict.fromkeys(one.pool for one in explanation.trace if one.reason is None)
    return ok(name, ", ".join(pools or tried) or "see the address", commands.pools)


def _address(explanation: ServiceExplanation, commands: Commands) -> Step:
    name = "address"
    if explanation.reason in NO_POOL and not explanation.allocated:
        return not_reached(name, "no pool serves the Service", commands.status)
    if explanation.reason is not Reason.ALLOCATED:
        return _refused(name, explanation, commands)
    unlawful = [one for one in explanation.addresses if one.pool is None and one.refused]
    for one in unlawful:
        assert one.refused is not None, "as selected above"
        detail = f"{one.address}: {one.refused.detail}"
        return refused(name, one.refused.reason, detail, commands.service)
    given = ", ".join(map(str, explanation.allocated))
    if explanation.allocated != explanation.shown:
        detail = f"{given}, which the status does not show yet; the controller writes it"
        return note(name, detail, commands.status)
    return ok(name, given, commands.status)


def _refused(name: str, explanation: ServiceExplanation, commands: Commands) -> Step:
    """Return the step that failed; what keeps a second address away has the cure."""
    cause = explanation.cause
    confirm = commands.pools if cause in NO_POOL else commands.service
    return failed(
        name, f"{explanation.reason}: {explanation.detail}", confirm, EXPLANATIONS[cause].cure
    )


def _advertisement(
    service: Service,
    plans: list[AddressPlan],
    announcement: Announcement,
    telling: Telling,
    commands: Commands,
) -> Step:
    name = "advertisement"
    if not plans:
        return nothing_shown(name, commands.advertisements)
    names: dict[str, None] = {}
    for plan in plans:
        by_bgp = telling.covering(service, plan.pool)
        uncovered = announcement.reaches.uncovered(service, plan.pool)
        if uncovered is not None and not by_bgp:
            unheard = telling.why_not(service.key, plan.address)
            why = nearest(uncovered, unheard)
            confirm = commands.advertisements
            if why is unheard:
                confirm = commands.bgp_advertisements
            return refused(name, why.reason, why.detail, confirm)
        matching = announcement.reaches.matching(service, plan.pool)
        names |= dict.fromkeys(one.name for one in matching)
        names |= dict.fromkeys(f"{one} (BGP)" for one in by_bgp)
    return ok(name, ", ".join(names), commands.advertisements)


def _nodes(
    service: Service, plans: list[AddressPlan], telling: Telling, commands: Commands
) -> Step:
    name = "eligible nodes"
    if not plans:
        return nothing_shown(name, commands.nodes)
    able: dict[NodeName, None] = {}
    for plan in plans:
        part = part_of(plan, service)
        by_bgp = telling.able(service, plan.address)
        if not part.reach.able and not by_bgp:
            unheard = telling.why_not(service.key, plan.address)
            reasons = {why.reason for why in part.reach.unable.values()}
            uncovered = unheard is None or unheard.reason is Reason.NO_ADVERTISEMENT
            if reasons == {Reason.NO_ADVERTISEMENT} and uncovered:
                return not_reached(name, "no advertisement names nodes", commands.nodes)
            why = plan.refused or Refused(
                reason=Reason.NO_SPEAKER, detail=f"there is no node to announce {plan.address}"
            )
            why = nearest(why, unheard)
            return refused(name, why.reason, why.detail, commands.nodes)
        able |= dict.fromkeys([*part.reach.able, *by_bgp])
    return ok(name, some(able), commands.nodes)


def _announced(
    explanation: ServiceExplanation, plans: list[AddressPlan], commands: Commands
) -> Step:
    lawful = {plan.address: plan for plan in plans}
    if not lawful:
        return nothing_shown("announced", commands.sent)
    said = []
    answer = Answer.OK
    for one in explanation.addresses:
        plan = lawful.get(one.address)
        if plan is None:
            continue
        if one.told and one.sent is None:
            said.append(f"{one.address} by BGP to {some(one.told)}")
            continue
        if plan.owner is None:
            text = f"{one.address} by nobody"
            answer = Answer.NOT_REACHED
            why = one.refused or plan.refused
            said.append(text if why is None else f"{text} ({why.reason})")
            continue
        text = f"{one.address} by {plan.owner}"
        if one.sent is None and one.refused is not None:
            detail = f"{one.address}: {one.refused.detail}"
            return refused("announced", one.refused.reason, detail, commands.sent)
        if one.sent is not None and one.sent.node != plan.owner:
            text += f", but node {one.sent.node} says so"
            answer = Answer.NOTE if answer is Answer.OK else answer
        said.append(text)
    return Step(name="announced", answer=answer, detail="; ".join(said), confirm=commands.sent)


def _source(service: Service, commands: Commands) -> Step:
    detail = (
        "kept: with externalTrafficPolicy Local the Pods see the client's address"
        if service.traffic_policy is TrafficPolicy.LOCAL
        else "replaced: with externalTrafficPolicy Cluster the Pods may see a node's address"
    )
    return note("source address", detail, commands.policy)
