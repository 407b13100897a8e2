"""ExaBGP's codec for OPEN and path attributes, behind typed values. Pure but for its import.

The one file that imports exabgp (HOUSE 3): its internals move between releases, so they are pinned
and their bytes are held by golden tests. What its classes do on bytes that are no message (any of
five exceptions) ends here as a `FaultError`. Importing it costs 17 MiB: lb-fastpath never does, and
lb-speaker with the first peer; what is said without it is in `speaker.wire.bgp_messages`.
ExaBGP's logger has to be set up once or its first warning raises; nothing is logged through it.

UPDATEs are put together in `speaker.wire.bgp_update`: ExaBGP leaves out with a line in its own log
what does not fit, and needs ten times as long. Called by `speaker.protocols.bgp_*`.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any, Final

from exabgp.bgp.message import Open
from exabgp.bgp.message.notification import Notify
from exabgp.bgp.message.open.asn import ASN
from exabgp.bgp.message.open.capability import Capabilities, Capability
from exabgp.bgp.message.open.capability.asn4 import ASN4
from exabgp.bgp.message.open.capability.graceful import Graceful
from exabgp.bgp.message.open.capability.mp import MultiProtocol
from exabgp.bgp.message.open.capability.negotiated import Negotiated as ExabgpNegotiated
from exabgp.bgp.message.open.capability.nexthop import NextHop as ExtendedNextHop
from exabgp.bgp.message.open.capability.refresh import RouteRefresh
from exabgp.bgp.message.open.holdtime import HoldTime
from exabgp.bgp.message.open.routerid import RouterID
from exabgp.bgp.message.open.version import Version
from exabgp.bgp.message.update.attribute import Attributes, LocalPreference, NextHop
from exabgp.bgp.message.update.attribute.community import (
    Communities,
    Community,
    LargeCommunities,
    LargeCommunity,
)
from exabgp.bgp.message.update.attribute.community.extended import (
    ExtendedCommunities,
    ExtendedCommunity,
)
from exabgp.environment import getenv, parsing
from exabgp.logger import log
from exabgp.protocol.family import AFI, SAFI

from lbctl.model.address import Family
from speaker.wire.bgp_fault import FaultError, Notification
from speaker.wire.bgp_messages import GracefulRestart, OpenMessage, PathAttributes

# ExaBGP looks up the user that its daemon would run as, and an image has no user "nobody".
parsing.user = str
_environment = getenv()
_environment.log.enable = False
log.init(_environment)

VERSION: Final = 4
_FAMILY: Final = {
    Family.IPV4: (AFI.ipv4, SAFI.unicast),
    Family.IPV6: (AFI.ipv6, SAFI.unicast),
}
_EXTENDED: Final = (AFI.ipv4, SAFI.unicast, AFI.ipv6)
"""RFC 8950: IPv4 unicast routes may have an IPv6 next hop."""


def encode_open(message: OpenMessage) -> bytes:
    """Return the message with its header."""
    families = [_FAMILY[family] for family in sorted(message.families)]
    capabilities = Capabilities()
    offered = MultiProtocol()
    offered.extend(families)
    capabilities[Capability.CODE.MULTIPROTOCOL] = offered
    if message.four_octet_asn:
        capabilities[Capability.CODE.FOUR_BYTES_ASN] = ASN4(message.asn)
    if message.route_refresh:
        capabilities[Capability.CODE.ROUTE_REFRESH] = RouteRefresh()
    if message.extended_next_hop:
        capabilities[Capability.CODE.NEXTHOP] = ExtendedNextHop([_EXTENDED])
    if message.graceful is not None:
        forwarding = [_FAMILY[family] for family in sorted(message.graceful.forwarding)]
        capabilities[Capability.CODE.GRACEFUL_RESTART] = Graceful().set(
            Graceful.RESTART_STATE if message.graceful.restarting else 0,
            message.graceful.time_s,
            [(*family, Graceful.FORWARDING_STATE) for family in forwarding],
        )
    encoded: bytes = Open(
        Version(VERSION),
        ASN(message.asn),
        HoldTime(message.hold_time_s),
        RouterID(str(message.identifier)),
        capabilities,
    ).message()
    return encoded


def decode_open(body: bytes) -> OpenMessage:
    """Return the OPEN without its header.

    Raises:
        FaultError: it is none of version 4, or its optional parameters are malformed.

    """
    if body[:1] != bytes([VERSION]):
        # RFC 4271 6.2: the data is the greatest version that we know, in two bytes.
        fault = Notification(code=2, subcode=1, data=struct.pack("!H", VERSION))
        raise FaultError(fault, f"BGP version {body[0] if body else 'missing'}; ours is 4")
    body = _checked(body)
    try:
        received = Open.unpack_message(body)
        return _open_message(received)
    except Notify as refused:
        fault = Notification(code=refused.code, subcode=refused.subcode)
        raise FaultError(fault, f"the OPEN is refused: {refused}") from refused
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        fault = Notification(code=2, subcode=0)
        raise FaultError(fault, f"the OPEN cannot be read: {error}") from error


def _checked(body: bytes) -> bytes:
    """Return the OPEN if its optional parameters end where it does; ExaBGP cuts the rest off."""
    length, start = body[9], 10
    # RFC 9072 2: by the type alone, two bytes of length follow; the one before it says nothing.
    if length and body[10:11] == b"\xff":
        length, start = int.from_bytes(body[11:13], "big"), 13
        body = body[:9] + b"\xff" + body[10:]
    if len(body) != start + length:
        why = f"optional parameters of {length} bytes in an OPEN with {len(body) - start} left"
        raise FaultError(Notification(code=2, subcode=0), why)
    return body


def _open_message(received: Any) -> OpenMessage:
    capabilities = received.capabilities
    code = Capability.CODE
    asn4 = capabilities.get(code.FOUR_BYTES_ASN)
    offered = capabilities.get(code.MULTIPROTOCOL)
    restart = capabilities.get(code.GRACEFUL_RESTART)
    understood = {
        code.FOUR_BYTES_ASN,
        code.MULTIPROTOCOL,
        code.GRACEFUL_RESTART,
        code.ROUTE_REFRESH,
        code.NEXTHOP,
    }
    return OpenMessage(
        asn=int(received.asn if asn4 is None else asn4),
        hold_time_s=int(received.hold_time),
        identifier=IPv4Address(str(received.router_id)),
        families=_families(offered) if offered is not None else frozenset({Family.IPV4}),
        four_octet_asn=asn4 is not None,
        route_refresh=code.ROUTE_REFRESH in capabilities,
        extended_next_hop=_EXTENDED in capabilities.get(code.NEXTHOP, ()),
        graceful=None
        if restart is None
        else GracefulRestart(
            restarting=bool(restart.restart_flag & Graceful.RESTART_STATE),
            time_s=int(restart.restart_time),
            forwarding=_families(key for key, flag in restart.items() if flag),
        ),
        others=tuple(sorted(int(each) for each in capabilities if each not in understood)),
    )


def _families(pairs: Any) -> frozenset[Family]:
    known = set(pairs)
    return frozenset(family for family, pair in _FAMILY.items() if pair in known)


def encode_attributes(
    attributes: PathAttributes,
    *,
    local_asn: int,
    internal: bool,
    four_octet_asn: bool,
    next_hop: IPv4Address | None,
) -> bytes:
    """Return the path attributes of an announcement, without MP_REACH_NLRI.

    ORIGIN is IGP. AS_PATH is empty to an internal peer, else our ASN; a peer of two bytes gets
    AS_TRANS and AS4_PATH (RFC 6793 4.2.2). `next_hop` is None when MP_REACH_NLRI carries it.
    """
    collected = Attributes()
    if next_hop is not None:
        collected.add(NextHop(str(next_hop)))
    if attributes.local_preference is not None:
        collected.add(LocalPreference(attributes.local_preference))
    for kind, values in (
        (Communities(), [Community(struct.pack("!L", one)) for one in attributes.communities]),
        (ExtendedCommunities(), [ExtendedCommunity(x) for x in attributes.extended_communities]),
        (
            LargeCommunities(),
            [LargeCommunity(struct.pack("!LLL", *one)) for one in attributes.large_communities],
        ),
    ):
        for value in values:
            kind.add(value)
        if values:
            collected.add(kind)
    encoded: bytes = collected.pack(
        _negotiated(local_asn=local_asn, internal=internal, four_octet_asn=four_octet_asn)
    )
    return encoded


def _negotiated(*, local_asn: int, internal: bool, four_octet_asn: bool) -> Any:
    """Return as much of ExaBGP's idea of a session as its attributes ask for."""
    negotiated = ExabgpNegotiated({"capability": {"aigp": False}})
    negotiated.local_as = ASN(local_asn)
    # ExaBGP tells internal from external by comparing; 0 is nobody's ASN.
    negotiated.peer_as = ASN(local_asn if internal else 0)
    negotiated.asn4 = four_octet_asn
    return negotiated
