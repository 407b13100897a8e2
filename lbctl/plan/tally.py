"""How the sessions of an audience stand, from intent to what was observed. Pure.

An address counts as told by a session when the peer has confirmed every route of its family: which
of them are still missing is not reported. Called by the controller and by `explain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lbctl.model.address import Family
from lbctl.model.names import Incarnation, NodeName, PeerName
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.session import SessionReport, SessionState
from lbctl.plan.audience import Audience, Stage

SessionKey: TypeAlias = tuple[NodeName, PeerName]
Sessions: TypeAlias = Mapping[SessionKey, SessionReport]
Speaking: TypeAlias = Mapping[NodeName, Incarnation]
"""The lives of the speakers whose word counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Count the sessions of an audience, from intent to what was observed."""

    nodes: int
    peers: tuple[PeerName, ...]
    """Who is to be told, sorted."""
    wanted: int
    established: int
    sent: int
    acknowledged: int
    told: tuple[PeerName, ...]
    """Those of `peers` that have confirmed every route of these families of one node, sorted."""


def tally(stage: Stage, audience: Audience, sessions: Sessions, speaking: Speaking) -> Tally:
    """Return how the sessions of the audience stand, as far as living speakers report."""
    nodes: set[NodeName] = set()
    told: set[PeerName] = set()
    wanted = established = sent = acknowledged = 0
    for hearers in audience:
        telling = stage.nodes(hearers)
        nodes |= telling
        wanted += len(telling) * len(hearers.peers)
        for node in telling:
            for peer in hearers.peers:
                report = believed_report(sessions.get((node, peer)), speaking)
                if report is None or report.state is not SessionState.ESTABLISHED:
                    continue
                established += 1
                counts = [report.routes((family,)) for family in hearers.families]
                sent += all(one.all_sent for one in counts)
                if all(one.all_acknowledged for one in counts):
                    acknowledged += 1
                    told.add(peer)
    return Tally(
        nodes=len(nodes),
        peers=tuple(sorted({peer for hearers in audience for peer in hearers.peers})),
        wanted=wanted,
        established=established,
        sent=sent,
        acknowledged=acknowledged,
        told=tuple(sorted(told)),
    )


def untold(stage: Stage, audience: Audience, sessions: Sessions, speaking: Speaking) -> Refused:
    """Return why no peer of an audience has been told, by the session that is nearest to it."""
    best: tuple[int, SessionKey, tuple[Family, ...]] | None = None
    for hearers in audience:
        for node in stage.nodes(hearers):
            for peer in hearers.peers:
                report = believed_report(sessions.get((node, peer)), speaking)
                # The first by name of those that are equally near.
                found = (-_progress(report), (node, peer), tuple(sorted(hearers.families)))
                best = found if best is None else min(best, found)
    if best is None:
        return Refused(reason=Reason.NO_SPEAKER, detail="there is no node to announce it")
    _, (node, peer), families = best
    report = believed_report(sessions.get((node, peer)), speaking)
    if report is None:
        return Refused(
            reason=Reason.NOT_REPORTED,
            detail=f"node {node} is to tell peer {peer} of it, but its speaker has not reported on "
            "the session",
        )
    if report.state is not SessionState.ESTABLISHED:
        said = f": {report.message}" if report.message else ""
        return Refused(
            reason=Reason.SESSION_DOWN,
            detail=f"no BGP session that is to carry it is established; that of node {node} with "
            f"peer {peer} is {report.state}{said}",
        )
    return Refused(
        reason=Reason.NOT_REPORTED,
        detail=f"node {node} is to tell peer {peer} of it, and {_lacking(report, families)}",
    )


def _lacking(report: SessionReport, families: tuple[Family, ...]) -> str:
    """Return what an established session lacks to have told of all routes of these families."""
    routes, which = report.routes(families), " and ".join(families)
    if not routes.wanted:
        return f"its speaker has no {which} routes for the peer yet"
    said = f" ({report.message})" if report.message else ""
    return (
        f"the peer has confirmed only {routes.acknowledged} of {routes.wanted} {which} routes{said}"
    )


def believed_report(report: SessionReport | None, speaking: Speaking) -> SessionReport | None:
    """Return the report if the life of the speaker that made it goes on."""
    if report is None or speaking.get(report.node) != report.incarnation:
        return None
    return report


def _progress(report: SessionReport | None) -> int:
    if report is None:
        return 0
    return 2 if report.state is SessionState.ESTABLISHED else 1
