"""What a speaker says of one of its BGP sessions. Pure.

Intent, sent and observed are told apart: `wanted` routes are what the plan asks for, `sent` what
has been put on the wire, `acknowledged` what the peer's TCP has confirmed to the last byte. They
are counted by address family: a peer that takes no IPv6 has still been told of all of IPv4.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from lbctl.model.address import Address, Family
from lbctl.model.names import Incarnation, NodeName, PeerName


class SessionState(enum.StrEnum):
    """Name a session's state as RFC 4271 8.2.2 does."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


class Asked(enum.StrEnum):
    """Name what of a BGPPeer the node's own kernel has refused; the session's message begins so."""

    PEER_ADDRESS = "peer address"
    SOURCE_ADDRESS = "source address"
    INTERFACE = "interface"
    GTSM = "GTSM"
    PASSWORD = "the MD5 password"  # noqa: S105 - words, no secret


class Direction(enum.StrEnum):
    """Name who sent a NOTIFICATION."""

    SENT = "sent"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationReport:
    """Hold the last NOTIFICATION of a session: code and subcode are the wire's (RFC 4271 4.5)."""

    direction: Direction
    code: int
    subcode: int
    text: str
    """In words, with the peer's own text where it gave one (RFC 9003)."""
    at: str
    """RFC 3339 in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCounts:
    """Count routes from intent to what was observed."""

    wanted: int = 0
    sent: int = 0
    acknowledged: int = 0

    @property
    def all_sent(self) -> bool:
        """Whether there are routes, and each has been sent."""
        return 0 < self.wanted == self.sent

    @property
    def all_acknowledged(self) -> bool:
        """Whether there are routes, and each has been confirmed."""
        return 0 < self.wanted == self.acknowledged


NO_ROUTES: Final = RouteCounts()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """Hold the BGPSessionStatus of one node and peer, written by that node's speaker only.

    What is negotiated is absent (0, None or empty) while the session is not established.
    """

    node: NodeName
    peer: PeerName
    incarnation: Incarnation
    state: SessionState
    since: str
    """When the session came up or went down, RFC 3339 in UTC."""
    message: str = ""
    """Why it is not established, or what was noticed last."""
    local_address: Address | None = None
    peer_address: Address | None = None
    interface: str = ""
    my_asn: int = 0
    """What the peer sees."""
    peer_asn: int = 0
    peer_router_id: IPv4Address | None = None
    hold_time_s: int = 0
    keepalive_time_s: int = 0
    capabilities: tuple[str, ...] = ()
    """What both ends can do, in words."""
    resets: int = 0
    """How often an established session has ended since the speaker started."""
    last_notification: NotificationReport | None = None
    ipv4: RouteCounts = NO_ROUTES
    ipv6: RouteCounts = NO_ROUTES
    resource_version: str = ""

    def routes(self, families: Collection[Family] = tuple(Family)) -> RouteCounts:
        """Return the routes of these families together."""
        counts = [self.ipv4 if one is Family.IPV4 else self.ipv6 for one in families]
        if len(counts) == 1:
            return counts[0]
        return RouteCounts(
            wanted=sum(one.wanted for one in counts),
            sent=sum(one.sent for one in counts),
            acknowledged=sum(one.acknowledged for one in counts),
        )
