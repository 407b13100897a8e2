"""Ethernet II: hardware addresses and the 14-byte header that ARP and NDP frames start with. Pure.

Only what the fast path needs: no VLAN tags (the kernel takes them off before a packet socket
sees the frame) and no 802.3 lengths. Called by `speaker.wire.arp` and `speaker.wire.ndp`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, NewType

from speaker.wire.error import WireError

Mac = NewType("Mac", bytes)
"""A hardware address: exactly six bytes."""

ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD
HEADER_LENGTH: Final = 14
BROADCAST: Final = Mac(b"\xff" * 6)
UNKNOWN: Final = Mac(b"\x00" * 6)
"""What RFC 5227 2.1.1 puts where a hardware address is not known yet."""

_HEADER = struct.Struct("!6s6sH")


@dataclass(frozen=True, slots=True, kw_only=True)
class EthernetHeader:
    """Hold where a frame goes, where it comes from and what it carries."""

    destination: Mac
    source: Mac
    ethertype: int

    def encode(self) -> bytes:
        return _HEADER.pack(self.destination, self.source, self.ethertype)


def decode_header(frame: bytes) -> EthernetHeader:
    """Return the header that `frame` starts with.

    Raises:
        WireError: the frame is shorter than a header.

    """
    if len(frame) < HEADER_LENGTH:
        raise WireError(f"an Ethernet frame of {len(frame)} bytes has no room for its header")
    destination, source, ethertype = _HEADER.unpack_from(frame)
    return EthernetHeader(destination=destination, source=source, ethertype=ethertype)


def parse_mac(text: str) -> Mac:
    """Return the address that `text` spells as six hexadecimal pairs, `02:00:5e:00:53:01`.

    Raises:
        WireError: anything else.

    """
    pairs = text.split(":")
    if len(pairs) != 6 or any(len(pair) != 2 for pair in pairs):
        raise WireError(f"{text!r} is not a hardware address such as 02:00:5e:00:53:01")
    try:
        return Mac(bytes(int(pair, 16) for pair in pairs))
    except ValueError as error:
        raise WireError(f"{text!r} is not a hardware address: {error}") from error


def format_mac(mac: Mac) -> str:
    """Return `mac` as six lower-case hexadecimal pairs."""
    return mac.hex(":")


def multicast_mac(group: IPv6Address) -> Mac:
    """Return the hardware address of an IPv6 multicast group (RFC 2464 7: 33:33 + low 32 bits)."""
    return Mac(b"\x33\x33" + group.packed[12:])
