"""What this node's speaker tells the cluster of its BGP sessions: BGPSessionStatus. Pure.

Intent, sent and observed are told apart: routes wanted are the plan's, sent those that TCP was
given, acknowledged those that the peer's TCP has confirmed. A session that does not come up is
called again every few seconds; the report has no field that moves with each attempt, so it is
written once. Its state is Established, Connect while the peer is called again and again, or Idle
while it is not called at all. OpenSent and OpenConfirm are told when they last: then the peer has
taken the call and does not answer; a handshake that goes on costs no write. Called by
`speaker.drivers.node.sessions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lbctl.model.address import Address, Family
from lbctl.model.membership import Instant, Member
from lbctl.model.peer import BGPPeer
from lbctl.model.session import (
    Direction,
    NotificationReport,
    RouteCounts,
    SessionReport,
    SessionState,
)
from speaker.protocols.bgp_inputs import Changed
from speaker.protocols.bgp_peer import Terms
from speaker.protocols.bgp_report import Cause, Down, SessionStatus
from speaker.protocols.bgp_routes import Unsendable
from speaker.protocols.bgp_transitions import State

MANY_UPDATES: Final = 1000
"""A router that tells a default route and its own is none to complain of."""
MANY_REFRESHES: Final = 100
"""An operator who clears sessions softly by hand is none to complain of, either."""
LASTING_S: Final = 1.0
"""How long a state between the call and Established lasts before it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Hold what has become of a session since the speaker began. Times are RFC 3339 in UTC."""

    since: str
    """When it came up or went down last, or was begun."""
    up: bool = False
    resets: int = 0
    down: Down | None = None
    """Why it is not up, while it is not."""
    notified: NotificationReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Hold a moment that is worth an Event: the session came up, went down, or never came up."""

    up: bool
    text: str


def course_after(course: Course, change: Changed, now: str) -> tuple[Course, Turn | None]:
    """Return the course after a change of the session's state, and what to tell of it.

    Attempts that fail as the one before did are nothing new.
    """
    if change.state is State.ESTABLISHED:
        return replace(course, up=True, since=now, down=None), Turn(up=True, text="established")
    down = change.down
    if down is None:
        return course, None
    after = replace(course, down=down, notified=_notified(course, down, now))
    if course.up:
        after = replace(after, up=False, since=now, resets=course.resets + 1)
        return after, Turn(up=False, text=down.detail)
    before = course.down
    if before is not None and (before.cause, before.detail) == (down.cause, down.detail):
        return after, None
    return after, Turn(up=False, text=down.detail)


def _notified(course: Course, down: Down, now: str) -> NotificationReport | None:
    """Return the last NOTIFICATION; one that repeats itself keeps the time of the first."""
    told = down.notification
    if told is None:
        return course.notified
    report = NotificationReport(
        direction=Direction.RECEIVED if down.cause is Cause.NOTIFIED else Direction.SENT,
        code=told.code,
        subcode=told.subcode,
        text=str(told),
        at=now,
    )
    if course.notified is not None and not course.up:
        again = replace(report, at=course.notified.at)
        return again if again == course.notified else report
    return report


def session_report(
    me: Member,
    peer: BGPPeer,
    course: Course,
    *,
    now: Instant,
    status: SessionStatus | None,
    wanted: Mapping[Family, int],
    absent: str,
    own: Address | None,
    other: Address | None,
) -> SessionReport:
    """Return what BGPSessionStatus should say.

    `status` is that of the session, None where none is held, and then `absent` says why. `wanted`
    are the routes that the peer is to have, which the session may not have heard of yet. `own`
    and `other` are the ends of its connection.
    """
    up = status is not None and status.state is State.ESTABLISHED
    terms = status.terms if status is not None and up else None
    sent = status.routes_sent if status is not None and up else {}
    confirmed = status.routes_confirmed if status is not None and up else {}

    def routes(family: Family) -> RouteCounts:
        return RouteCounts(
            wanted=wanted.get(family, 0),
            sent=sent.get(family, 0),
            acknowledged=confirmed.get(family, 0),
        )

    return SessionReport(
        node=me.node,
        peer=peer.name,
        incarnation=me.incarnation,
        state=_state(now, status),
        since=course.since,
        message=_message(now, status, absent, course),
        local_address=own if up else None,
        peer_address=other or peer.address,
        interface=peer.interface or "",
        my_asn=peer.local_asn or peer.my_asn,
        peer_asn=terms.peer.asn if terms is not None else 0,
        peer_router_id=terms.peer.identifier if terms is not None else None,
        hold_time_s=terms.hold_time_s if terms is not None else 0,
        keepalive_time_s=round(terms.keepalive_s) if terms is not None else 0,
        capabilities=capabilities(terms) if terms is not None else (),
        resets=course.resets,
        last_notification=course.notified,
        ipv4=routes(Family.IPV4),
        ipv6=routes(Family.IPV6),
    )


def told_from(status: SessionStatus) -> Instant | None:
    """Return when a state between the call and Established is to be told; None: it is no such."""
    return status.since + LASTING_S if status.state in _HANDSHAKE else None


_HANDSHAKE: Mapping[State, tuple[SessionState, str]] = {
    State.OPEN_SENT: (
        SessionState.OPEN_SENT,
        "the peer has taken the call and not answered our OPEN",
    ),
    State.OPEN_CONFIRM: (SessionState.OPEN_CONFIRM, "the peer has not confirmed our OPEN"),
}


def _state(now: Instant, status: SessionStatus | None) -> SessionState:
    if status is None:
        return SessionState.IDLE
    if status.state is State.ESTABLISHED:
        return SessionState.ESTABLISHED
    told = told_from(status)
    return SessionState.CONNECT if told is None or now < told else _HANDSHAKE[status.state][0]


def _message(now: Instant, status: SessionStatus | None, absent: str, course: Course) -> str:
    if status is None:
        return absent
    if status.state is not State.ESTABLISHED:
        if course.down is not None:
            return _why(course.down)
        told = told_from(status)
        lasting = told is not None and now >= told
        return _HANDSHAKE[status.state][1] if lasting else "the peer is being called"
    found = [
        f"{count} routes are not sent: {_WHY[why]}"
        for why, count in sorted(status.unsendable.items())
        if count
    ]
    if status.updates_received >= MANY_UPDATES:
        found.append(
            "the peer sends many routes, which lb-speaker only drops: filter them at the router"
        )
    if status.refreshes_received >= MANY_REFRESHES:
        found.append(
            "the peer asks for all routes again and again; it is answered once a second at most"
        )
    return "; ".join(found)


def _why(down: Down) -> str:
    """Return why a session is down; with what the peer was told, by which advice is found."""
    told = down.notification
    if down.held_off:
        return f"{down.detail}; it is called again after 1 to 10 minutes"
    if told is None or down.cause is Cause.NOTIFIED:
        return down.detail
    return f"{down.detail} (told the peer: {told})"


_WHY: Mapping[Unsendable, str] = {
    Unsendable.FAMILY: "the peer did not offer their address family",
    Unsendable.NEXT_HOP: "the node has no address of their family on the link of the session, and "
    "the peer takes no next hop of another one",
}


def capabilities(terms: Terms) -> tuple[str, ...]:
    """Return what both ends can do, in words that `kubectl get -o yaml` shows.

    What the peer alone can do follows by its number (RFC 5492); it does not matter.
    """
    rows = (
        ("ipv4-unicast", Family.IPV4 in terms.families),
        ("ipv6-unicast", Family.IPV6 in terms.families),
        ("4-octet-asn", terms.peer.four_octet_asn),
        ("route-refresh", terms.peer.route_refresh),
        ("extended-next-hop", terms.extended_next_hop),
        ("graceful-restart", terms.graceful_restart),
    )
    both = tuple(word for word, both in rows if both)
    return both + tuple(f"peer-only-{number}" for number in terms.peer.others)
