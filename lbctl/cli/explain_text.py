"""Lay the explanations out for people: most important first, then the evidence.

Only words and order are chosen here; every value comes from `lbctl.plan`, and `-o json` shows the
same values without this module.
"""

from __future__ import annotations

from collections.abc import Iterator

from lbctl.cli import explain_bgp_text
from lbctl.cli.render import indented, paint, table, title
from lbctl.model.names import NodeName, PoolName, ServiceKey
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.plan.address_uses import AddressFacts
from lbctl.plan.checklist import Checklist
from lbctl.plan.checklist_steps import some
from lbctl.plan.explain import AddressExplanation, Candidate, ServiceExplanation, advice
from lbctl.plan.explain_node import NodeFacts
from lbctl.plan.explain_pool import PoolFacts
from lbctl.plan.places import Place
from lbctl.plan.telling import PeerAnswer


def service(explanation: ServiceExplanation, steps: Checklist, place: Place) -> Iterator[str]:
    """Yield the lines on a Service."""
    policy = f", externalTrafficPolicy {explanation.policy}" if explanation.ours else ""
    yield title(f"Service {explanation.service} ({explanation.type}{policy})")
    yield f"  {paint(explanation.reason)}: {explanation.detail}"
    if explanation.reason is not Reason.ALLOCATED:
        cause = explanation.cause
        pool = next((one.pool for one in explanation.trace if one.reason is cause), None)
        yield from _advice(
            cause, place, service=explanation.service, pool=pool, title_of=explanation.reason
        )
    if explanation.allocated and explanation.allocated != explanation.shown:
        yield "  The status does not show this yet; the controller writes it."
    if explanation.trace:
        yield "  Pools tried:"
        rows = [(one.pool, one.reason or "yes", one.detail) for one in explanation.trace]
        yield indented(table(("POOL", "ANSWER", "DETAIL"), rows))
    for one in explanation.addresses:
        yield from _service_address(one, explanation.service, place)
    yield from _steps(steps)


def _steps(steps: Checklist) -> Iterator[str]:
    yield title("Checklist")
    rows = [(step.name, step.answer, step.detail) for step in steps.steps]
    yield indented(table(("STEP", "ANSWER", "DETAIL"), rows))
    first = steps.fails_first
    if first is None:
        return
    yield f"  fails first: {first.name}: {first.detail}"
    yield f"    confirm: {first.confirm}"
    yield f"    cure:    {first.cure}"


def _service_address(one: AddressExplanation, key: ServiceKey, place: Place) -> Iterator[str]:
    yield title(f"Address {one.address}")
    if one.owner:
        yield f"  intent: node {one.owner} announces it on {', '.join(one.links)}"
    if one.refused is not None:
        to_tell = any(answer.told for answer in one.peers)
        head = "not reported" if one.owner or to_tell else "nobody announces it"
        yield f"  {head}: {paint(one.refused.reason)}: {one.refused.detail}"
        node = _first_node(one.candidates, one.peers, one.refused.reason)
        yield from _advice(one.refused.reason, place, service=key, node=node)
    if one.told:
        yield f"  sent: confirmed by BGP peers: {some(one.told)}"
    if one.sent is not None:
        links = ", ".join(one.sent.interfaces) or "every interface"
        yield f"  sent: node {one.sent.node} says that it announces on {links}"
    elif not one.told:
        yield "  sent: no speaker says that it announces it"
    if one.endpoints is not None:
        yield f"  endpoints: {one.endpoints}"
    yield from explain_bgp_text.answers(one.peers)
    if one.candidates and not _only_bgp(one.candidates, one.peers):
        yield _candidates(one.candidates)


def _only_bgp(candidates: tuple[Candidate, ...], peers: tuple[PeerAnswer, ...]) -> bool:
    """Return whether a table of nodes would say of each that there is no L2Advertisement."""
    covered = any(one.reason is not Reason.NO_ADVERTISEMENT for one in peers)
    return covered and all(one.reason is Reason.NO_ADVERTISEMENT for one in candidates)


def address(facts: AddressFacts, place: Place) -> Iterator[str]:
    """Yield the lines on an address."""
    yield title(f"Address {facts.address}")
    yield f"  {facts.verdict}"
    use = facts.use
    if use is not None:
        yield f"  pool: {use.pool or 'none'}"
        if use.owner is not None:
            yield f"  intent: node {use.owner} announces it on {', '.join(use.links)}"
        if use.refused is not None and use.services:
            node = _first_node(facts.candidates, facts.peers, use.refused.reason)
            yield from _advice(use.refused.reason, place, service=use.services[0], node=node)
        if use.peers:
            yield f"  sent: confirmed by BGP peers: {some(use.peers)}"
        if use.sent or not use.peers:
            yield f"  sent: {', '.join(use.sent) or 'no speaker'} says so"
    if facts.pools:
        yield "  Pools that hold it:"
        rows = [
            (one.pool, "yes" if one.gives else "no", one.reason, one.detail) for one in facts.pools
        ]
        yield indented(table(("POOL", "GIVES IT", "REASON", "DETAIL"), rows))
    if facts.asking:
        yield "  Services that ask for it and do not have it:"
        asking = [(str(one.service), one.reason, one.detail) for one in facts.asking]
        yield indented(table(("SERVICE", "REASON", "DETAIL"), asking))
    if facts.elsewhere:
        yield f"  shown, though not given by lbctl: {', '.join(map(str, facts.elsewhere))}"
    yield from explain_bgp_text.answers(facts.peers)
    if facts.candidates and not _only_bgp(facts.candidates, facts.peers):
        yield "  Nodes:"
        yield _candidates(facts.candidates)


def pool(facts: PoolFacts) -> Iterator[str]:
    """Yield the lines on a pool."""
    yield title(f"Pool {facts.pool}")
    yield f"  {paint(facts.reason)}: {facts.detail}"
    if not facts.accepted:
        yield f"    cure:  {EXPLANATIONS[facts.reason].cure}"
    yield f"  ranges: {', '.join(facts.ranges) or 'none that can be read'}"
    for count in facts.families:
        yield f"  {count.family}: {count.assigned} assigned, {count.available} available"
    yield f"  for: {facts.users}"
    if facts.advertisements:
        yield "  L2Advertisements that cover it:"
        for one in facts.advertisements:
            yield f"    {one.name}{f' (only {one.narrows})' if one.narrows else ''}"
    if facts.bgp_advertisements:
        yield "  BGPAdvertisements that cover it:"
        yield from explain_bgp_text.covering(facts.bgp_advertisements)
    if not facts.covered:
        reason = Reason.NO_ADVERTISEMENT
        yield f"  {paint(reason)}: {EXPLANATIONS[reason].title}"
        if facts.rejected_advertisements:
            names = ", ".join(facts.rejected_advertisements)
            yield f"    not in effect, and perhaps meant for it: {names}"
        yield "    cure:  kubectl apply -f - <<YAML"
        yield from facts.cure
        yield "YAML"
    if facts.services:
        yield "  Services in it:"
        rows = [(str(one.service), ", ".join(map(str, one.addresses))) for one in facts.services]
        yield indented(table(("SERVICE", "ADDRESSES"), rows))
    else:
        yield "  no Service has an address of it"


def node(facts: NodeFacts, place: Place) -> Iterator[str]:
    """Yield the lines on a node."""
    yield title(f"Node {facts.node}")
    if facts.reason is None:
        yield f"  {paint('yes')}: {facts.detail}"
    else:
        yield f"  {paint(facts.reason)}: {facts.detail}"
        yield from _advice(facts.reason, place, node=facts.node)
    if facts.ready_believed != facts.ready:
        yield "  No node at all is Ready, so that is taken for news of the API server, not of nodes."
    yield f"  speaker: {facts.speaker}"
    if facts.links:
        yield "  Links:"
        rows = [(one.link, one.family, one.reason or "yes", one.detail) for one in facts.links]
        yield indented(table(("LINK", "FAMILY", "ANSWER", "DETAIL"), rows))
    yield f"  selected by: {', '.join(facts.advertisements) or 'no L2Advertisement'}"
    if facts.left_out_by:
        yield f"  left out by the nodeSelectors of: {', '.join(facts.left_out_by)}"
    if facts.sessions:
        names = ", ".join(facts.bgp_advertisements) or "no BGPAdvertisement"
        yield f"  BGP sessions (the node is selected by {names}):"
        yield from explain_bgp_text.sessions(facts.sessions, by_node=False)
    if facts.announces:
        yield "  Announces:"
        addresses = [
            (str(one.address), "yes" if one.sent else "no", ", ".join(map(str, one.services)))
            for one in facts.announces
        ]
        yield indented(table(("ADDRESS", "SENT", "SERVICES"), addresses))
    else:
        how = " by ARP and NDP" if facts.sessions else ""
        yield f"  announces nothing{how}"
    if facts.service is not None:
        yield from _for_service(facts, facts.service, place)


def _for_service(facts: NodeFacts, key: ServiceKey, place: Place) -> Iterator[str]:
    yield title(f"For Service {key}")
    if facts.for_service_detail:
        yield f"  no node announces anything for it: {facts.for_service_detail}"
    served = {one.address for one in facts.for_service if one.reason is Reason.ANNOUNCED}
    for one in facts.for_service:
        answer = "is to announce" if one.announces else "does not announce"
        yield f"  {answer} {one.address}: {paint(one.reason)}: {one.detail}"
        if one.address not in served and one.reason is not facts.reason:
            yield from _advice(one.reason, place, service=key, node=facts.node)


def _candidates(candidates: tuple[Candidate, ...]) -> str:
    rows = [(c.node, "yes" if c.announces else "no", c.reason, c.detail) for c in candidates]
    return indented(table(("NODE", "INTENT", "REASON", "DETAIL"), rows))


def _advice(
    reason: Reason,
    place: Place,
    *,
    service: ServiceKey | None = None,
    pool: PoolName | None = None,
    node: NodeName | None = None,
    title_of: Reason | None = None,
) -> Iterator[str]:
    """Yield the advice; `title_of` is the reason that is shown where another is its cause."""
    cause, check, cure = advice(reason, place=place, service=service, pool=pool, node=node)
    yield f"    {EXPLANATIONS[title_of or reason].title}. {cause}"
    yield f"    check: {check}"
    yield f"    cure:  {cure}"


def _first_node(
    candidates: tuple[Candidate, ...], peers: tuple[PeerAnswer, ...], reason: Reason
) -> NodeName | None:
    """Return a node to look at, where the reason is about nodes."""
    found = [one.node for one in candidates if one.reason is reason]
    found += [one.nodes[0] for one in peers if one.reason is reason and one.nodes]
    return next(iter(found), None)
