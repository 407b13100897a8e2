"""What a BGP session tells about itself: why it is down, what it has counted, how it stands. Pure.

These values are what status objects, metrics, Events and `explain` are made of; the machine keeps
no log. Made by `speaker.protocols.bgp_session`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbctl.model.address import Address, Family
from lbctl.model.membership import Instant
from speaker.protocols.bgp_peer import Terms
from speaker.protocols.bgp_routes import Unsendable
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp_fault import Notification
from speaker.wire.bgp_frame import MessageType


class Cause(enum.StrEnum):
    """Name why a session is not up."""

    CONNECT_FAILED = "connect_failed"
    """The peer's host refused, or there is no route or no such local address."""
    CONNECT_TIMEOUT = "connect_timeout"
    """No answer at all: a filter, a dead host, or another TCP-MD5 password."""
    CONNECTION_LOST = "connection_lost"
    """The peer closed without a NOTIFICATION."""
    NOTIFIED = "notification_received"
    REFUSED = "notification_sent"
    """What the peer sent was against the protocol or the configuration."""
    HOLD_TIMER = "hold_timer_expired"
    """Nothing heard for the hold time."""
    SEND_HOLD_TIMER = "send_hold_timer_expired"
    """The peer has read nothing for so long (RFC 9687)."""
    BROKEN = "internal_error"
    """A mistake of ours; the log has it."""
    STOPPED = "stopped"
    """By us: drained, changed or removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """Hold one end of a session, or of an attempt."""

    cause: Cause
    detail: str
    notification: Notification | None = None
    """Received if the cause is NOTIFIED, else sent, if the connection still took it."""
    attempts: int = 0
    """Failures in a row, this one included."""
    again: Instant | None = None
    """When the next attempt begins; None: not by itself."""
    held_off: bool = False
    """The peer has no room, so that is minutes away."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """Count over the life of the machine. Not frozen: a flood of messages is counted one by one."""

    sent: dict[MessageType, int] = field(default_factory=lambda: dict.fromkeys(MessageType, 0))
    received: dict[MessageType, int] = field(default_factory=lambda: dict.fromkeys(MessageType, 0))
    established: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """Hold how a session stands."""

    state: State
    since: Instant
    """Of the state."""
    terms: Terms | None
    """Of the present session, from OpenConfirm on."""
    next_hops: Mapping[Family, Address]
    """Next hop self of the present session."""
    down: Down | None
    """The last end, kept while the session is up."""
    routes_wanted: int
    routes_sent: Mapping[Family, int]
    routes_confirmed: Mapping[Family, int]
    """Those that the peer's TCP has acknowledged, as they are wished now."""
    unsendable: Mapping[Unsendable, int]
    updates_received: int
    """Since the peering began."""
    refreshes_received: int
    """As those."""
    table_sent: bool
    """The whole table and End-of-RIB have been handed to TCP in this session."""
    observed: bool
    """And the peer's TCP has acknowledged every byte up to the last UPDATE."""
