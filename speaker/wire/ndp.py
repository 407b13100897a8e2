"""Neighbor Discovery: solicitations and advertisements over Ethernet, options, checksum. Pure.

Sources are RFC 4861 (messages, validity), RFC 4862 (duplicate address detection), RFC 4291
2.7.1 (solicited-node groups) and RFC 4443 2.3 (checksum). As in `speaker.wire.arp`, frozen
frames serve everything rare, and `is_solicitation`/`AdvertisementPatcher` the answer itself.

Limits: no extension header before ICMPv6 (RFC 6980 forbids fragments, and nobody sends others);
only types 135 and 136 are read, and of a router's messages only our own advertisement is written.
Called by `speaker.drivers.fast` (responder, port, router, groups) and `speaker.fast.bpf`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from speaker.wire.error import WireError
from speaker.wire.ethernet import (
    ETHERTYPE_IPV6,
    HEADER_LENGTH,
    EthernetHeader,
    Mac,
    decode_header,
    multicast_mac,
)

ROUTER_ADVERTISEMENT: Final = 134
NEIGHBOR_SOLICITATION: Final = 135
NEIGHBOR_ADVERTISEMENT: Final = 136
SOURCE_LINK_ADDRESS: Final = 1
TARGET_LINK_ADDRESS: Final = 2
ALL_NODES: Final = IPv6Address("ff02::1")
UNSPECIFIED: Final = IPv6Address(0)
HOP_LIMIT: Final = 255
"""RFC 4861 7.1.1: no router forwards 255, so the sender is on this link."""

NEXT_HEADER_OFFSET: Final = 20
TYPE_OFFSET: Final = 54
TARGET_OFFSET: Final = 62
"""Where next header, ICMPv6 type and target lie in a frame: the kernel filter reads them too."""
TARGET: Final = slice(TARGET_OFFSET, TARGET_OFFSET + 16)
"""Where both messages name their address, as the responder cuts it out."""

_ADVERTISEMENT = bytes((NEIGHBOR_ADVERTISEMENT,))
_ICMPV6 = 58
_MESSAGE_LENGTH = 24
_IPV6_LENGTH = 40
_FRAME_MINIMUM = HEADER_LENGTH + _IPV6_LENGTH + _MESSAGE_LENGTH
_IPV6 = struct.Struct("!IHBB16s16s")
_MESSAGE = struct.Struct("!BBHI16s")
_ROUTER_MESSAGE = struct.Struct("!BBHBBHII")
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]
_ROUTER, _SOLICITED, _OVERRIDE = 1 << 31, 1 << 30, 1 << 29


@dataclass(frozen=True, slots=True, kw_only=True)
class NdpOption:
    """Hold one option (RFC 4861 4.6); `value` is what follows its type and length bytes."""

    kind: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborSolicitation:
    """Ask who holds `target` (RFC 4861 4.3); a source of `::` makes it a DAD probe."""

    destination_mac: Mac
    source_mac: Mac
    source: IPv6Address
    destination: IPv6Address
    target: IPv6Address
    options: tuple[NdpOption, ...] = ()

    @property
    def is_probe(self) -> bool:
        """RFC 4862 5.4.3: somebody is about to take `target` and asks whether it is free."""
        return self.source == UNSPECIFIED

    def encode(self) -> bytes:
        return _encode(self, NEIGHBOR_SOLICITATION, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborAdvertisement:
    """Say who holds `target` (RFC 4861 4.4)."""

    destination_mac: Mac
    source_mac: Mac
    source: IPv6Address
    destination: IPv6Address
    target: IPv6Address
    router: bool
    solicited: bool
    override: bool
    options: tuple[NdpOption, ...] = ()

    @property
    def claimed_mac(self) -> Mac:
        """Return the hardware address claimed for `target`: the option's, else the frame's."""
        for option in self.options:
            if option.kind == TARGET_LINK_ADDRESS and len(option.value) == 6:
                return Mac(option.value)
        return self.source_mac

    @property
    def is_unsolicited(self) -> bool:
        """RFC 4861 7.2.6: nobody's solicitation is answered, so it is said to a group."""
        return not self.solicited and self.destination.is_multicast

    def encode(self) -> bytes:
        flags = _ROUTER * self.router | _SOLICITED * self.solicited | _OVERRIDE * self.override
        return _encode(self, NEIGHBOR_ADVERTISEMENT, flags)


NdpFrame = NeighborSolicitation | NeighborAdvertisement


def decode_ndp(frame: bytes) -> NdpFrame:
    """Return the solicitation or advertisement that `frame` is, valid by RFC 4861 7.1.

    Raises:
        WireError: not ICMPv6 over IPv6, another type, truncated, wrong hop limit, code or
            checksum, a multicast target, a malformed option, or a rule of RFC 4861 7.1 broken.

    """
    header = decode_header(frame)
    if header.ethertype != ETHERTYPE_IPV6:
        raise WireError(f"ethertype {header.ethertype:#06x} is not IPv6")
    body, source, destination = _icmpv6_of(frame)
    kind, code, _, flags, target_bytes = _MESSAGE.unpack_from(body)
    if kind not in {NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT} or code:
        raise WireError(f"ICMPv6 type {kind} code {code} is neither NS nor NA")
    if _sum(source + destination, body, len(body)):
        raise WireError("the ICMPv6 checksum is wrong")
    target = IPv6Address(target_bytes)
    if target.is_multicast:
        raise WireError(f"the target {target} is a multicast address")
    options = _decode_options(body[_MESSAGE_LENGTH:])
    ends = (header.destination, header.source, IPv6Address(source), IPv6Address(destination))
    if kind == NEIGHBOR_SOLICITATION:
        return _solicitation(ends, target, options)
    return _advertisement(ends, target, options, flags)


def solicited_node_group(address: IPv6Address) -> IPv6Address:
    """Return the group on which `address` is asked for (RFC 4291 2.7.1): its low 24 bits."""
    return IPv6Address(_SOLICITED_NODE + address.packed[13:])


def solicitation(*, mac: Mac, source: IPv6Address, target: IPv6Address) -> NeighborSolicitation:
    """Return the multicast question who holds `target`; from `::` it is a DAD probe."""
    group = solicited_node_group(target)
    # RFC 4861 4.3: the option must not be there when the source is unspecified.
    options = () if source == UNSPECIFIED else (NdpOption(kind=SOURCE_LINK_ADDRESS, value=mac),)
    return NeighborSolicitation(
        destination_mac=multicast_mac(group),
        source_mac=mac,
        source=source,
        destination=group,
        target=target,
        options=options,
    )


def unsolicited_advertisement(*, mac: Mac, address: IPv6Address) -> NeighborAdvertisement:
    """Return the announcement of RFC 4861 7.2.6, with the override flag.

    Without the flag, no neighbor that knows another hardware address changes it. The source is
    the address itself, as the kernel does it for its own, so no link-local one is needed.
    """
    return NeighborAdvertisement(
        destination_mac=multicast_mac(ALL_NODES),
        source_mac=mac,
        source=address,
        destination=ALL_NODES,
        target=address,
        router=False,
        solicited=False,
        override=True,
        options=(NdpOption(kind=TARGET_LINK_ADDRESS, value=mac),),
    )


def router_advertisement(mac: Mac) -> bytes:
    """Return the ICMPv6 message that says: a router is here, and no way leads through it.

    RFC 4861 4.2: a Router Lifetime of 0 makes no default router of us, and a 0 in each other
    field says nothing about the link. The checksum is left to the kernel, whose raw ICMPv6
    sockets always write it (RFC 3542 3.1).
    """
    kind, code, checksum = ROUTER_ADVERTISEMENT, 0, 0
    hop_limit, flags, lifetime_s, reachable_ms, retransmit_ms = 0, 0, 0, 0, 0
    head = _ROUTER_MESSAGE.pack(
        kind, code, checksum, hop_limit, flags, lifetime_s, reachable_ms, retransmit_ms
    )
    return head + _encode_option(NdpOption(kind=SOURCE_LINK_ADDRESS, value=mac))


def claimed_address(frame: bytes) -> bytes:
    """Return the packed address that `frame` advertises, or nothing if it asks (RFC 4861 4.4)."""
    return frame[TARGET] if frame[TYPE_OFFSET : TYPE_OFFSET + 1] == _ADVERTISEMENT else b""


def is_solicitation(frame: bytes) -> bool:
    """Return whether `frame`, of ethertype IPv6, is a solicitation valid by RFC 4861 7.1.1.

    Options are not looked into: the answer goes to the frame's own source address, so a missing
    source option does not matter and a forged one does no harm.
    """
    if len(frame) < _FRAME_MINIMUM or frame[6] & 1 or frame[62] == 0xFF:
        return False
    if frame[54:56] != b"\x87\x00" or frame[20:22] != b"\x3a\xff":
        return False
    length = int.from_bytes(frame[18:20], "big")
    body = frame[54 : 54 + length]
    if length < _MESSAGE_LENGTH or len(body) != length:
        return False
    if frame[22:38] == _NOWHERE and frame[38:51] != _SOLICITED_NODE:
        return False
    return not _sum(frame[22:54], body, length)


class AdvertisementPatcher:
    """Turn solicitations into advertisements of one hardware address, without objects.

    The checksum is a sum, so the part that never changes is summed once: what is left per frame
    is the target (it stands in the reply twice, as source and as target) and the destination.
    """

    def __init__(self, mac: Mac) -> None:
        self._head = mac + b"\x86\xdd\x60\x00\x00\x00\x00\x20\x3a\xff"
        self._option = b"\x02\x01" + mac
        probe_head = multicast_mac(ALL_NODES) + self._head
        self._probe_head = probe_head
        option = int.from_bytes(self._option, "big")
        fixed = option + 32 + _ICMPV6 + 0x8800
        self._solicited_sum = fixed + (0x60000000)
        self._probe_sum = fixed + 0x20000000 + int.from_bytes(ALL_NODES.packed, "big")

    def patch(self, frame: bytes) -> bytes:
        """Return the answer to `frame`, for which `is_solicitation` holds.

        The asker gets a solicited answer that overrides what it knows (S=1 O=1); a DAD probe,
        which has no address yet, is answered to all nodes (RFC 4861 7.2.4: S=0), with O=1.
        """
        target = frame[62:78]
        asker = frame[22:38]
        twice = 2 * int.from_bytes(target, "big")
        if asker == _NOWHERE:
            check = _finish(self._probe_sum + twice)
            return b"".join(
                (
                    self._probe_head,
                    target,
                    _ALL_NODES,
                    b"\x88\x00",
                    check,
                    b"\x20\0\0\0",
                    target,
                    self._option,
                )
            )  # fmt: skip - one line per field would hide that this is one frame
        check = _finish(self._solicited_sum + twice + int.from_bytes(asker, "big"))
        return b"".join(
            (
                frame[6:12],
                self._head,
                target,
                asker,
                b"\x88\x00",
                check,
                b"\x60\0\0\0",
                target,
                self._option,
            )
        )  # fmt: skip - as above


_NOWHERE = UNSPECIFIED.packed
_ALL_NODES = ALL_NODES.packed


def _encode(frame: NdpFrame, kind: int, flags: int) -> bytes:
    options = b"".join(_encode_option(option) for option in frame.options)
    length = _MESSAGE_LENGTH + len(options)
    ends = frame.source.packed + frame.destination.packed
    body = _MESSAGE.pack(kind, 0, 0, flags, frame.target.packed) + options
    check = _finish(_sum(ends, body, length))
    header = EthernetHeader(
        destination=frame.destination_mac, source=frame.source_mac, ethertype=ETHERTYPE_IPV6
    )
    ipv6 = _IPV6.pack(6 << 28, length, _ICMPV6, HOP_LIMIT, ends[:16], ends[16:])
    return header.encode() + ipv6 + body[:2] + check + body[4:]


def _encode_option(option: NdpOption) -> bytes:
    size = 2 + len(option.value)
    assert size % 8 == 0, "an NDP option fills whole units of 8 bytes"
    return bytes((option.kind, size // 8)) + option.value


def _icmpv6_of(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """Return ICMPv6 message, source and destination of an IPv6 frame, lengths checked."""
    if len(frame) < _FRAME_MINIMUM:
        raise WireError(f"an NDP frame of {len(frame)} bytes is shorter than {_FRAME_MINIMUM}")
    first, length, next_header, hop_limit, source, destination = _IPV6.unpack_from(
        frame, HEADER_LENGTH
    )
    if first >> 28 != 6:
        raise WireError(f"IP version {first >> 28} under the ethertype of IPv6")
    if next_header != _ICMPV6:
        raise WireError(f"next header {next_header} is not ICMPv6")
    if hop_limit != HOP_LIMIT:
        raise WireError(f"hop limit {hop_limit} is not 255: the sender may be off this link")
    body = frame[TYPE_OFFSET : TYPE_OFFSET + length]
    if length < _MESSAGE_LENGTH or len(body) != length:
        raise WireError(f"an ICMPv6 message of {length} bytes does not fit or is truncated")
    return body, source, destination


def _decode_options(rest: bytes) -> tuple[NdpOption, ...]:
    options = []
    while rest:
        size = rest[1] * 8 if len(rest) > 1 else 0
        if not size or size > len(rest):
            raise WireError("an NDP option has length zero or runs past the end")
        options.append(NdpOption(kind=rest[0], value=rest[2:size]))
        rest = rest[size:]
    return tuple(options)


def _solicitation(
    ends: tuple[Mac, Mac, IPv6Address, IPv6Address],
    target: IPv6Address,
    options: tuple[NdpOption, ...],
) -> NeighborSolicitation:
    destination_mac, source_mac, source, destination = ends
    if source == UNSPECIFIED:
        if destination.packed[:13] != _SOLICITED_NODE:
            raise WireError("a DAD probe that is not sent to a solicited-node group")
        if any(option.kind == SOURCE_LINK_ADDRESS for option in options):
            raise WireError("a DAD probe with a source link-layer address")
    return NeighborSolicitation(
        destination_mac=destination_mac,
        source_mac=source_mac,
        source=source,
        destination=destination,
        target=target,
        options=options,
    )


def _advertisement(
    ends: tuple[Mac, Mac, IPv6Address, IPv6Address],
    target: IPv6Address,
    options: tuple[NdpOption, ...],
    flags: int,
) -> NeighborAdvertisement:
    destination_mac, source_mac, source, destination = ends
    if destination.is_multicast and flags & _SOLICITED:
        raise WireError("a solicited advertisement sent to a multicast group")
    return NeighborAdvertisement(
        destination_mac=destination_mac,
        source_mac=source_mac,
        source=source,
        destination=destination,
        target=target,
        router=bool(flags & _ROUTER),
        solicited=bool(flags & _SOLICITED),
        override=bool(flags & _OVERRIDE),
        options=options,
    )


def _sum(ends: bytes, body: bytes, length: int) -> int:
    """Return the ones' complement sum of pseudo-header and message, 0 if the checksum is right.

    RFC 1071: 2^16 is 1 modulo 65535, so the sum of 16-bit words is the whole number modulo
    65535. An odd last byte is padded by zero.
    """
    padded = body if length % 2 == 0 else body + b"\0"
    total = int.from_bytes(ends, "big") + length + _ICMPV6 + int.from_bytes(padded, "big")
    return total % 0xFFFF


def _finish(total: int) -> bytes:
    """Return the checksum field that makes `total` come out right (never zero for ICMPv6)."""
    return (0xFFFF - total % 0xFFFF).to_bytes(2, "big")
