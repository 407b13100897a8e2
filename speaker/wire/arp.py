"""ARP for IPv4 over Ethernet: frozen frames, and a reply patched out of a request. Pure.

Sources are RFC 826 (the packet) and RFC 5227 (probe, announcement). Two ways exist side by
side on purpose: `ArpFrame` for everything that is rare (claims of others, announcements, tests),
and `is_request`/`ReplyPatcher` for the answer itself, which costs slices and one concatenation,
because an object per frame would cost more than the kernel's own answer.

Limits: hardware type 1, protocol 0x0800, operations 1 and 2; anything else is a `WireError`.
Called by `speaker.drivers.fast.responder` and `speaker.fast.conductor`.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from speaker.wire.error import WireError
from speaker.wire.ethernet import (
    BROADCAST,
    ETHERTYPE_ARP,
    HEADER_LENGTH,
    UNKNOWN,
    EthernetHeader,
    Mac,
    decode_header,
)

FRAME_LENGTH: Final = 42
"""Header and packet; Ethernet pads to 60, and what follows is ignored (RFC 826 has no trailer)."""

OPERATION_OFFSET: Final = 20
SENDER_OFFSET: Final = 28
TARGET_OFFSET: Final = 38
"""Where the operation and the two protocol addresses lie: the kernel filter reads them too."""
TARGET: Final = slice(TARGET_OFFSET, TARGET_OFFSET + 4)
"""Where a request names the address that it asks for, as the responder cuts it out."""

_PACKET = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
_REQUEST_HEAD = struct.pack("!HHHBBH", ETHERTYPE_ARP, *_ETHERNET_IPV4, 1)
_REPLY_HEAD = struct.pack("!HHHBBH", ETHERTYPE_ARP, *_ETHERNET_IPV4, 2)
_UNSPECIFIED = IPv4Address(0)


class Operation(enum.IntEnum):
    """Name the operations of RFC 826 that are answered or heard here."""

    REQUEST = 1
    REPLY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ArpFrame:
    """Hold one ARP packet and the Ethernet addresses that it travels under."""

    destination: Mac
    source: Mac
    operation: Operation
    sender_mac: Mac
    sender: IPv4Address
    target_mac: Mac
    target: IPv4Address

    @property
    def is_probe(self) -> bool:
        """RFC 5227 1.1: a request without a sender address asks whether somebody holds it."""
        return self.operation is Operation.REQUEST and self.sender == _UNSPECIFIED

    @property
    def is_announcement(self) -> bool:
        """RFC 5227 1.1: a request in which sender and target are the same address."""
        return self.operation is Operation.REQUEST and self.sender == self.target

    @property
    def is_gratuitous(self) -> bool:
        """RFC 5944 4.6: sender and target are the same address, in a request or a reply."""
        return self.claims_sender and self.sender == self.target

    @property
    def claims_sender(self) -> bool:
        """RFC 5227 2.4: any packet with this sender address says that its host holds it."""
        return self.sender != _UNSPECIFIED

    def encode(self) -> bytes:
        header = EthernetHeader(
            destination=self.destination, source=self.source, ethertype=ETHERTYPE_ARP
        )
        return header.encode() + _PACKET.pack(
            *_ETHERNET_IPV4,
            self.operation,
            self.sender_mac,
            self.sender.packed,
            self.target_mac,
            self.target.packed,
        )


def decode_arp(frame: bytes) -> ArpFrame:
    """Return the ARP frame that `frame` is; padding after byte 42 is ignored.

    Raises:
        WireError: too short, not ARP, not IPv4 over Ethernet, or neither request nor reply.

    """
    header = decode_header(frame)
    if header.ethertype != ETHERTYPE_ARP:
        raise WireError(f"ethertype {header.ethertype:#06x} is not ARP")
    if len(frame) < FRAME_LENGTH:
        raise WireError(f"an ARP frame of {len(frame)} bytes is shorter than {FRAME_LENGTH}")
    *kind, operation, sender_mac, sender, target_mac, target = _PACKET.unpack_from(
        frame, HEADER_LENGTH
    )
    if tuple(kind) != _ETHERNET_IPV4:
        raise WireError(f"ARP of hardware type {kind[0]}, protocol {kind[1]:#06x} is not handled")
    if operation not in {Operation.REQUEST, Operation.REPLY}:
        raise WireError(f"ARP operation {operation} is neither request nor reply")
    return ArpFrame(
        destination=header.destination,
        source=header.source,
        operation=Operation(operation),
        sender_mac=sender_mac,
        sender=IPv4Address(sender),
        target_mac=target_mac,
        target=IPv4Address(target),
    )


def request(*, mac: Mac, sender: IPv4Address, target: IPv4Address) -> ArpFrame:
    """Return the broadcast question who holds `target`."""
    return ArpFrame(
        destination=BROADCAST,
        source=mac,
        operation=Operation.REQUEST,
        sender_mac=mac,
        sender=sender,
        target_mac=UNKNOWN,
        target=target,
    )


def probe(*, mac: Mac, target: IPv4Address) -> ArpFrame:
    """Return an ARP probe (RFC 5227 2.1.1): it teaches nobody an address."""
    return request(mac=mac, sender=_UNSPECIFIED, target=target)


def reply(*, mac: Mac, address: IPv4Address, to_mac: Mac, to: IPv4Address) -> ArpFrame:
    """Return the unicast answer that `mac` holds `address`."""
    return ArpFrame(
        destination=to_mac,
        source=mac,
        operation=Operation.REPLY,
        sender_mac=mac,
        sender=address,
        target_mac=to_mac,
        target=to,
    )


def gratuitous_request(*, mac: Mac, address: IPv4Address) -> ArpFrame:
    """Return the ARP announcement of RFC 5227 2.3 for `address`."""
    return request(mac=mac, sender=address, target=address)


def gratuitous_reply(*, mac: Mac, address: IPv4Address) -> ArpFrame:
    """Return the gratuitous reply whose target hardware address is the sender's own.

    RFC 5944 4.6 asks for this form. With a target hardware address of all ones, Linux ignores
    the frame while its entry is younger than one second; this form moves the entry at once.
    """
    return ArpFrame(
        destination=BROADCAST,
        source=mac,
        operation=Operation.REPLY,
        sender_mac=mac,
        sender=address,
        target_mac=mac,
        target=address,
    )


def claimed_address(frame: bytes) -> bytes:
    """Return the packed address that the sender of `frame` says is its own (RFC 5227 2.4)."""
    return frame[SENDER_OFFSET : SENDER_OFFSET + 4]


def is_request(frame: bytes) -> bool:
    """Return whether `frame` is a whole request of IPv4 over Ethernet.

    A sender whose Ethernet address is a group is no host: answering it would turn one forged
    frame into a broadcast.
    """
    return len(frame) >= FRAME_LENGTH and frame[12:22] == _REQUEST_HEAD and not frame[6] & 1


class ReplyPatcher:
    """Turn requests into replies of one hardware address, without objects."""

    def __init__(self, mac: Mac) -> None:
        self._middle = mac + _REPLY_HEAD + mac

    def patch(self, frame: bytes) -> bytes:
        """Return the answer to the request `frame`: its ends swapped around what never changes."""
        return frame[6:12] + self._middle + frame[38:42] + frame[22:32]
