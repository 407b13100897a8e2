"""rtnetlink link messages: what links the kernel has, and what happened to one. Pure.

Only RTM_NEWLINK and RTM_DELLINK of rtnetlink(7) and the few attributes that the fast path needs;
pyroute2 reads everything, for 14 MiB of memory. Bridges and IPv6 send messages of the same types
under their own families: leaving a bridge looks like a deletion if the family is not looked at.
Called by `speaker.drivers.fast.links`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lbctl.model.names import LinkName
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac

GROUPS: Final = 1 << 0 | 1 << 8 | 1 << 11
"""RTMGRP_LINK, RTMGRP_IPV6_IFADDR and RTMGRP_IPV6_IFINFO: the last two tell when IPv6 comes."""

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_DONE, _ERROR, _NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _DELADDR = 3, 2, 16, 17, 18, 20, 21
_REQUEST, _DUMP = 0x1, 0x300
_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_UNSPEC, _INET6 = 0, 10
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_ARPHRD_ETHER = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Hold one link; `mac` is None unless it is Ethernet."""

    index: int
    name: LinkName
    mac: Mac | None
    up: bool
    """Administratively up (IFF_UP)."""
    carrier: bool
    """The kernel would send on it (IFF_RUNNING)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkGone:
    """The link of this index is no more."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipv6Changed:
    """Something about IPv6 on the link of this index changed: worth another look."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpDone:
    """Every link that exists has been told since the request."""


LinkEvent = Link | LinkGone | Ipv6Changed | DumpDone


def dump_request() -> bytes:
    """Return the request to tell all links."""
    body = _LINK.pack(_UNSPEC, 0, 0, 0, 0)
    return _HEADER.pack(_HEADER.size + len(body), _GETLINK, _REQUEST | _DUMP, 1, 0) + body


def decode_events(datagram: bytes) -> tuple[LinkEvent, ...]:
    """Return what one datagram of the kernel tells; messages of other kinds are left out.

    Raises:
        WireError: a length that does not fit. The kernel does not do that; a caller dumps anew.

    """
    return tuple(
        event for kind, body in _messages(datagram) if (event := _event_of(kind, body)) is not None
    )


def _event_of(kind: int, body: bytes) -> LinkEvent | None:
    if kind == _DONE:
        return DumpDone()
    if kind in {_NEWADDR, _DELADDR}:
        if len(body) < 8:
            raise WireError("an address message is truncated")
        return Ipv6Changed(index=int(struct.unpack_from("=I", body, 4)[0]))
    if kind not in {_NEWLINK, _DELLINK}:
        return None
    if len(body) < _LINK.size:
        raise WireError("a link message is truncated")
    family, hardware, index, flags, _ = _LINK.unpack_from(body)
    if family == _INET6:
        return Ipv6Changed(index=index)
    if family != _UNSPEC:
        return None
    if kind == _DELLINK:
        return LinkGone(index=index)
    attributes = dict(_attributes(body[_LINK.size :]))
    name = attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    address = attributes.get(_IFLA_ADDRESS, b"")
    return Link(
        index=index,
        name=LinkName(name),
        mac=Mac(address) if hardware == _ARPHRD_ETHER and len(address) == 6 else None,
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_RUNNING),
    )


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            raise WireError(f"a netlink message of {length} bytes does not fit its datagram")
        yield kind, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _attributes(rest: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(rest):
        length, kind = _ATTRIBUTE.unpack_from(rest, offset)
        if length < _ATTRIBUTE.size or offset + length > len(rest):
            raise WireError(f"a netlink attribute of {length} bytes does not fit its message")
        yield kind & 0x3FFF, rest[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
