"""BGP messages in a stream of bytes: header, lengths, KEEPALIVE, NOTIFICATION, what is received. Pure.

The framing is our own because each fault has its own answer (RFC 4271 6.1), and because what a
router sends must be readable at the cost of a slice: UPDATEs are checked for their lengths and
dropped, never decoded, which leaves a hostile peer little to aim at. OPEN and path attributes are
ExaBGP's (`speaker.wire.bgp`). Extended messages (RFC 8654) are not offered, so 4,096 bytes is the
end, and the most that a peer can make us hold. Called by `speaker.protocols.bgp_session`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lbctl.model.address import Family
from speaker.wire.bgp_fault import FaultError, Notification

HEADER_LENGTH: Final = 19
MAX_LENGTH: Final = 4096
MARKER: Final = b"\xff" * 16
_HEADER = struct.Struct("!16sHB")


class MessageType(enum.IntEnum):
    """Name the types of RFC 4271 4.1 and RFC 2918."""

    OPEN = 1
    UPDATE = 2
    NOTIFICATION = 3
    KEEPALIVE = 4
    ROUTE_REFRESH = 5


_LENGTHS: Final = {
    MessageType.OPEN: (29, MAX_LENGTH),
    MessageType.UPDATE: (23, MAX_LENGTH),
    MessageType.NOTIFICATION: (21, MAX_LENGTH),
    MessageType.KEEPALIVE: (19, 19),
    MessageType.ROUTE_REFRESH: (23, 23),
}
"""Least and greatest length of each type with its header (RFC 4271 6.1, RFC 2918 3)."""

AFI: Final = {Family.IPV4: 1, Family.IPV6: 2}
FAMILY: Final = {number: family for family, number in AFI.items()}
SAFI_UNICAST: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Hold one message without its header."""

    type: MessageType
    body: bytes


class FrameReader:
    """Cut messages out of a stream. It holds less than one message of what it was fed."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield each message that `data` completes, until the first fault; to be read to its end.

        Raises:
            FaultError: the header is wrong (RFC 4271 6.1); nothing after it can be read.

        """
        held = self._held + data if self._held else data
        start = 0
        while len(held) - start >= HEADER_LENGTH:
            kind, length = _header(held, start)
            if len(held) - start < length:
                break
            body = held[start + HEADER_LENGTH : start + length]
            start += length
            yield Frame(type=kind, body=body)
        self._held = held[start:]


def _header(held: bytes, start: int) -> tuple[MessageType, int]:
    marker, length, number = _HEADER.unpack_from(held, start)
    if marker != MARKER:
        raise FaultError(Notification(code=1, subcode=1), "a message does not begin with 16 ones")
    if not HEADER_LENGTH <= length <= MAX_LENGTH:
        raise _bad_length(length, f"a message of {length} bytes; lawful are 19 to 4096")
    try:
        kind = MessageType(number)
    except ValueError:
        fault = Notification(code=1, subcode=3, data=bytes([number]))
        raise FaultError(fault, f"a message of the unknown type {number}") from None
    least, greatest = _LENGTHS[kind]
    if not least <= length <= greatest:
        raise _bad_length(
            length, f"{kind.name} of {length} bytes; lawful are {least} to {greatest}"
        )
    return kind, length


def _bad_length(length: int, why: str) -> FaultError:
    return FaultError(Notification(code=1, subcode=2, data=struct.pack("!H", length)), why)


def encode_message(kind: MessageType, body: bytes) -> bytes:
    """Return `body` behind its header."""
    return _HEADER.pack(MARKER, HEADER_LENGTH + len(body), kind) + body


KEEPALIVE: Final = encode_message(MessageType.KEEPALIVE, b"")


def encode_notification(notification: Notification) -> bytes:
    body = bytes([notification.code, notification.subcode]) + notification.data
    return encode_message(MessageType.NOTIFICATION, body)


def decode_notification(body: bytes) -> Notification:
    """Return the NOTIFICATION of a frame; the reader has checked that there are two bytes."""
    return Notification(code=body[0], subcode=body[1], data=body[2:])


def check_update(body: bytes) -> None:
    """Check that the lengths inside an UPDATE fit it (RFC 4271 6.3, kept by RFC 7606 3).

    Raises:
        FaultError: Malformed Attribute List.

    """
    withdrawn = int.from_bytes(body[:2], "big")
    # Four bytes are there: the reader refuses an UPDATE shorter than 23 bytes.
    attributes = int.from_bytes(body[2 + withdrawn : 4 + withdrawn], "big")
    if 4 + withdrawn + attributes > len(body):
        why = f"an UPDATE names {withdrawn} + {attributes} bytes and has {len(body) - 4}"
        raise FaultError(Notification(code=3, subcode=1), why)


def decode_route_refresh(body: bytes) -> Family | None:
    """Return the family that is asked for, or None if the request is not ours to answer.

    RFC 2918 4: a family that was not advertised is ignored. The third byte is reserved and not
    looked at (RFC 2918 3): only a peer to which we had offered RFC 7313 would mean something by it.
    """
    afi, _, safi = struct.unpack("!HBB", body)
    return FAMILY.get(afi) if safi == SAFI_UNICAST else None


def end_of_rib(family: Family) -> bytes:
    """Return the marker that says that the whole table of `family` was sent (RFC 4724 2)."""
    if family is Family.IPV4:
        return encode_message(MessageType.UPDATE, b"\0\0\0\0")
    unreach = struct.pack("!BBBHB", 0x80, 15, 3, AFI[family], SAFI_UNICAST)
    return encode_message(MessageType.UPDATE, struct.pack("!HH", 0, len(unreach)) + unreach)
