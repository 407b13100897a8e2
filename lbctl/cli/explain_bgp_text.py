"""Lay out for people what is said of BGP: what peers are told, and how sessions stand.

As `lbctl.cli.explain_text`, which puts these lines among its own: words and order only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lbctl.cli.render import indented, paint, table, title
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.plan.checklist_steps import some
from lbctl.plan.explain import advice
from lbctl.plan.explain_peer import PeerFacts, SessionAnswer
from lbctl.plan.explain_pool import Covering
from lbctl.plan.places import Place
from lbctl.plan.telling import PeerAnswer, RouteAnswer


def answers(found: tuple[PeerAnswer, ...]) -> Iterator[str]:
    """Yield what peers are told of an address, and why others are not."""
    if not found:
        return
    yield "  BGP:"
    rows = [
        (
            one.peer or "any",
            "yes" if one.told else "no",
            "; ".join(map(route, one.routes)) or "-",
            one.reason,
            some(one.nodes),
            one.detail,
        )
        for one in found
    ]
    yield indented(table(("PEER", "TOLD", "ROUTE", "REASON", "NODES", "DETAIL"), rows))


def route(one: RouteAnswer) -> str:
    """Return a route in one phrase."""
    parts = [f"{one.prefix} local preference {one.local_preference}"]
    if one.communities:
        parts.append(f"communities {' '.join(one.communities)}")
    parts.append(f"by {' '.join(one.advertisements)}")
    return ", ".join(parts)


def covering(found: Iterable[Covering]) -> Iterator[str]:
    """Yield a line for each BGPAdvertisement of a pool or a peer."""
    for one in found:
        only = f" (only {one.narrows})" if one.narrows else ""
        waits = f": {paint(Reason.MISSING_COMMUNITY)}: {one.waits}" if one.waits else ""
        yield f"    {one.name}{only}{waits}"


def sessions(found: tuple[SessionAnswer, ...], *, by_node: bool) -> Iterator[str]:
    """Yield the sessions of one node, or of one peer with every node, and advice."""
    rows = [
        (
            one.node if by_node else one.peer,
            one.state or ("unknown" if one.wanted else "-"),
            one.reason,
            one.detail,
        )
        for one in found
    ]
    yield indented(table(("NODE" if by_node else "PEER", "STATE", "REASON", "DETAIL"), rows))
    for text in dict.fromkeys(one.advice for one in found if one.advice):
        yield f"    cure:  {text}"


def peer(facts: PeerFacts, place: Place) -> Iterator[str]:
    """Yield the lines on a BGPPeer."""
    yield title(f"BGP peer {facts.peer}")
    yield f"  {paint(facts.reason)}: {facts.detail}"
    if facts.reason is not Reason.ACCEPTED:
        cause, check, cure = advice(facts.reason, place=place)
        yield f"    {EXPLANATIONS[facts.reason].title}. {cause}"
        yield f"    check: {check}"
        yield f"    cure:  {cure}"
    if facts.endpoint:
        yield f"  session: {facts.endpoint}, AS {facts.my_asn} to AS {facts.peer_asn}, carries " + (
            " and ".join(facts.families)
        )
    if facts.advertisements:
        yield "  told by BGPAdvertisements:"
        yield from covering(facts.advertisements)
    else:
        yield "  no BGPAdvertisement tells it of anything"
    if facts.left_out_by:
        yield f"  left out by spec.peers of: {', '.join(facts.left_out_by)}"
    wanted = [one for one in facts.sessions if one.wanted]
    standing = sum(one.fine for one in wanted)
    yield f"  Sessions: {standing} of {len(wanted)} established"
    if facts.sessions:
        yield from sessions(facts.sessions, by_node=True)
    else:
        yield "    the cluster has no node"
