"""What a BGP session is configured with, and what two OPENs agree on. Pure.

A peer's configuration is one frozen value, compared to see whether a session has to be made anew.
The agreement is a function of both OPENs; each refusal is the NOTIFICATION of RFC 4271 6.2. Called
by `speaker.protocols.bgp_session`; the driver reads the transport's part.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from lbctl.model.address import Address, Family
from speaker.wire.bgp_fault import FaultError, Notification
from speaker.wire.bgp_frame import AFI, SAFI_UNICAST
from speaker.wire.bgp_messages import GracefulRestart, OpenMessage

BOTH: Final = frozenset(Family)
HOLD_TIME_S: Final = 90
CONNECT_RETRY_S: Final = 5
"""RFC 4271 10 suggests 120 s; a router that is back would then wait for two minutes."""
MIN_HOLD_TIME_S: Final = 3
MIN_KEEPALIVE_S: Final = 1.0
"""RFC 4271 4.4: never more than one KEEPALIVE a second."""
MAX_RESTART_S: Final = 4095
AS_TRANS: Final = 23456
MAX_ASN: Final = 0xFFFFFFFF


class DynamicAsn(enum.StrEnum):
    """Say which ASNs a peer may have when its number is not configured."""

    INTERNAL = "internal"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """Hold one peer, as this node is to speak to it.

    Raises:
        ValueError: a number outside what its field allows; the objects are checked before, so this
            is a mistake of ours.

    """

    address: Address
    port: int = 179
    asn: int
    """Ours."""
    local_asn: int | None = None
    """Shown to this peer instead of ours, also in the AS path (`no-prepend replace-as`)."""
    peer_asn: int | DynamicAsn
    identifier: IPv4Address
    families: frozenset[Family] = BOTH
    hold_time_s: int = HOLD_TIME_S
    """0 (never) or 3 to 65,535."""
    keepalive_s: int | None = None
    """None: a third of the hold time that was agreed on, which is also the most."""
    connect_retry_s: int = CONNECT_RETRY_S
    """How long one attempt may take, and the longest pause between two."""
    graceful_restart_s: int | None = None
    """How long the peer keeps our routes while we restart; None: not at all."""
    next_hops: tuple[Address, ...] = ()
    """Next hop self of a family that the link of the session has no address of."""
    source: Address | None = None
    interface: str | None = None
    """Bind to this link; a link-local `address` needs it."""
    ttl: int | None = None
    """Of what we send; None is the kernel's."""
    gtsm_hops: int | None = None
    """RFC 5082: send 255, and take nothing that came over more hops than this."""
    password: str | None = field(default=None, repr=False)
    """RFC 2385; never shown."""

    def keeps_session_of(self, other: PeerConfig) -> bool:
        """Return whether a session of the other goes on as one of this.

        Next hops are those of the present connection, and the connect time is for the next one.
        """
        alike = replace(other, next_hops=self.next_hops, connect_retry_s=self.connect_retry_s)
        return self == alike

    def __post_init__(self) -> None:
        numbers = (self.asn, self.asn if self.local_asn is None else self.local_asn)
        if not all(0 < number <= MAX_ASN for number in numbers):
            raise ValueError(f"ASN {numbers}: 1 to {MAX_ASN}")
        if self.hold_time_s and not MIN_HOLD_TIME_S <= self.hold_time_s <= 0xFFFF:
            raise ValueError(f"hold time {self.hold_time_s} s: 0 or {MIN_HOLD_TIME_S} to 65535")
        if self.keepalive_s is not None and self.keepalive_s < MIN_KEEPALIVE_S:
            raise ValueError(f"keepalive time {self.keepalive_s} s: at least 1")
        if self.connect_retry_s < 1:
            raise ValueError(f"connect time {self.connect_retry_s} s: at least 1")
        if not 0 <= (self.graceful_restart_s or 0) <= MAX_RESTART_S:
            raise ValueError(f"restart time {self.graceful_restart_s} s: 0 to {MAX_RESTART_S}")
        if not self.families:
            raise ValueError("a session needs a family")
        if self.gtsm_hops is not None and not (1 <= self.gtsm_hops <= 254 and self.ttl is None):
            raise ValueError(f"GTSM over {self.gtsm_hops} hops: 1 to 254, and no TTL beside it")

    @property
    def session_asn(self) -> int:
        """The ASN that the peer sees."""
        return self.asn if self.local_asn is None else self.local_asn

    def open_message(self, *, restarting: bool) -> OpenMessage:
        """Return our OPEN; `restarting` until a session of this process was established."""
        graceful = None
        if self.graceful_restart_s is not None:
            graceful = GracefulRestart(
                restarting=restarting, time_s=self.graceful_restart_s, forwarding=self.families
            )
        return OpenMessage(
            asn=self.session_asn,
            hold_time_s=self.hold_time_s,
            identifier=self.identifier,
            families=self.families,
            extended_next_hop=Family.IPV4 in self.families,
            graceful=graceful,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Hold what both ends have agreed on for the life of one session."""

    local_asn: int
    peer: OpenMessage
    internal: bool
    hold_time_s: int
    keepalive_s: float
    """0: no KEEPALIVEs, as the hold time is 0."""
    families: frozenset[Family]
    extended_next_hop: bool
    """IPv4 routes may have an IPv6 next hop."""
    graceful_restart: bool
    """The peer keeps our routes while we restart."""


def negotiate(config: PeerConfig, ours: OpenMessage, theirs: OpenMessage) -> Terms:
    """Return the terms of the session.

    Raises:
        FaultError: the peer's OPEN is not acceptable (RFC 4271 6.2, RFC 5492 3, RFC 6286 2.2).

    """
    internal = theirs.asn == ours.asn
    _check_asn(config, theirs, internal=internal)
    if theirs.hold_time_s in (1, 2):
        why = f"the peer wants a hold time of {theirs.hold_time_s} s; 0 or at least 3 is lawful"
        raise FaultError(Notification(code=2, subcode=6), why)
    if int(theirs.identifier) == 0 or (internal and theirs.identifier == ours.identifier):
        why = f"the peer's router ID {theirs.identifier} is 0 or, inside one AS, ours"
        raise FaultError(Notification(code=2, subcode=3), why)
    families = ours.families & theirs.families
    if not families:
        missing = b"".join(
            struct.pack("!BBHBB", 1, 4, AFI[family], 0, SAFI_UNICAST)
            for family in sorted(ours.families)
        )
        why = f"the peer speaks none of: {', '.join(sorted(ours.families))}"
        raise FaultError(Notification(code=2, subcode=7, data=missing), why)
    hold_time_s = min(ours.hold_time_s, theirs.hold_time_s)
    return Terms(
        local_asn=ours.asn,
        peer=theirs,
        internal=internal,
        hold_time_s=hold_time_s,
        keepalive_s=_keepalive_s(config, hold_time_s),
        families=families,
        extended_next_hop=ours.extended_next_hop and theirs.extended_next_hop,
        graceful_restart=ours.graceful is not None and theirs.graceful is not None,
    )


def _check_asn(config: PeerConfig, theirs: OpenMessage, *, internal: bool) -> None:
    match config.peer_asn:
        case DynamicAsn.INTERNAL:
            fits, wanted = internal, f"{config.session_asn}, as ours (internal)"
        case DynamicAsn.EXTERNAL:
            fits, wanted = not internal, f"any but {config.session_asn}, ours (external)"
        case number:
            fits, wanted = theirs.asn == number, str(number)
    # RFC 7607: 0 is nobody's; RFC 6793 9: AS_TRANS only stands for another number.
    if not fits or theirs.asn == 0 or (theirs.four_octet_asn and theirs.asn == AS_TRANS):
        why = f"the peer is AS {theirs.asn}; configured is {wanted}"
        raise FaultError(Notification(code=2, subcode=2), why)


def _keepalive_s(config: PeerConfig, hold_time_s: int) -> float:
    if not hold_time_s:
        return 0.0
    return max(MIN_KEEPALIVE_S, min(config.keepalive_s or hold_time_s, hold_time_s / 3))


def next_hop_self(
    config: PeerConfig, on_link: tuple[Address, ...], before: frozenset[Address] = frozenset()
) -> dict[Family, Address]:
    """Return our next hop in each family: of the session's own link, else as configured.

    `on_link` begins with our end of the session. Of several others one of `before`, which the peer
    has been told of, stays; else a configured one of the link is taken. A link-local address is
    taken when the family has no other, as on an unnumbered link, and only if the peer is on that
    link: farther away it points nowhere. The link of a session may be the loopback one, where hosts
    that route keep an address of their own: 127.0.0.1 and ::1 beside that lead nowhere, and are
    taken only if the peer itself is on this node, and nothing else is there.
    """
    chosen: dict[Family, Address] = {}
    beside, known = on_link[1:], [one for one in config.next_hops if one in on_link]
    candidates = (
        *on_link[:1],
        *(one for one in beside if _without_zone(one) in before),
        *known,
        *beside,
        *(one for one in config.next_hops if one in before),
        *config.next_hops,
    )
    inside = bool(on_link) and on_link[0].is_loopback
    one_hop = 1 in (config.ttl, config.gtsm_hops) or any(one.is_link_local for one in on_link[:1])
    for address in sorted(candidates, key=lambda one: (one.is_loopback, one.is_link_local)):
        family = Family.IPV4 if isinstance(address, IPv4Address) else Family.IPV6
        mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
        nowhere = (address.is_loopback and not inside) or (address.is_link_local and not one_hop)
        if not mapped and not nowhere:
            chosen.setdefault(family, _without_zone(address))
    return chosen


def _without_zone(address: Address) -> Address:
    return address if isinstance(address, IPv4Address) else IPv6Address(int(address))
