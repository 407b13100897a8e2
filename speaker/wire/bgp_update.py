"""UPDATEs out of packed path attributes and many prefixes, as few as the size allows. Pure.

A prefix of IPv4 with an IPv4 next hop goes where RFC 4271 4.3 has it; IPv6, and IPv4 with an IPv6
next hop (RFC 8950), go into MP_REACH_NLRI, which is put first as RFC 7606 5.1 asks. No message
mixes what is withdrawn with what is announced, nor two families. Called by
`speaker.protocols.bgp_routes`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import Final

from lbctl.model.address import Address, Family
from lbctl.model.route import Prefix
from speaker.wire.bgp_frame import (
    AFI,
    HEADER_LENGTH,
    MAX_LENGTH,
    SAFI_UNICAST,
    MessageType,
    encode_message,
)

MP_REACH_NLRI: Final = 14
MP_UNREACH_NLRI: Final = 15
_OPTIONAL_EXTENDED: Final = 0x90
"""Optional, non-transitive, with a length of two bytes: one form for short and long ones."""
_ROOM: Final = MAX_LENGTH - HEADER_LENGTH - 4
"""Bytes in an UPDATE besides its header and its two lengths."""


def encode_prefix(prefix: Prefix) -> bytes:
    """Return the length in bits and as many bytes as it needs (RFC 4271 4.3)."""
    version, number, length = prefix
    size = (length + 7) // 8
    rest = (32 if version == 4 else 128) - 8 * size
    return bytes([length]) + (number >> rest).to_bytes(size, "big")


def announce(
    family: Family, next_hop: Address, attributes: bytes, prefixes: Iterable[Prefix]
) -> Iterator[bytes]:
    """Yield UPDATEs that announce `prefixes`; `attributes` are packed, without MP_REACH_NLRI."""
    if family is Family.IPV4 and isinstance(next_hop, IPv4Address):
        for chunk in _chunks(prefixes, _ROOM - len(attributes)):
            yield _update(b"", attributes, chunk)
        return
    hop = next_hop.packed
    # The reserved byte after the next hop is zero (RFC 4760 3).
    head = struct.pack("!HBB", AFI[family], SAFI_UNICAST, len(hop)) + hop + b"\0"
    for chunk in _chunks(prefixes, _ROOM - len(attributes) - len(head) - 4):
        yield _update(b"", _attribute(MP_REACH_NLRI, head + chunk) + attributes, b"")


def withdraw(family: Family, prefixes: Iterable[Prefix]) -> Iterator[bytes]:
    """Yield UPDATEs that withdraw `prefixes`, whatever next hop they were announced with."""
    if family is Family.IPV4:
        for chunk in _chunks(prefixes, _ROOM):
            yield _update(chunk, b"", b"")
        return
    head = struct.pack("!HB", AFI[family], SAFI_UNICAST)
    for chunk in _chunks(prefixes, _ROOM - len(head) - 4):
        yield _update(b"", _attribute(MP_UNREACH_NLRI, head + chunk), b"")


def _chunks(prefixes: Iterable[Prefix], room: int) -> Iterator[bytes]:
    assert room >= 17, "PathAttributes are bounded so that a prefix always fits"
    chunk: list[bytes] = []
    size = 0
    for packed in map(encode_prefix, prefixes):
        if size + len(packed) > room:
            yield b"".join(chunk)
            chunk, size = [], 0
        chunk.append(packed)
        size += len(packed)
    if chunk:
        yield b"".join(chunk)


def _attribute(number: int, value: bytes) -> bytes:
    return struct.pack("!BBH", _OPTIONAL_EXTENDED, number, len(value)) + value


def _update(withdrawn: bytes, attributes: bytes, announced: bytes) -> bytes:
    lengths = struct.pack("!H", len(withdrawn)), struct.pack("!H", len(attributes))
    body = b"".join((lengths[0], withdrawn, lengths[1], attributes, announced))
    return encode_message(MessageType.UPDATE, body)
