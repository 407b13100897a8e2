"""rtnetlink messages: links, addresses and routers beside them, and what happened to one. Pure.

Only the link, address and neighbor messages of rtnetlink(7) and the few attributes that the two processes
need; pyroute2 reads everything, for 11 to 14 MiB of memory in each. Bridges and IPv6 send messages
of the same types under their own families: leaving a bridge looks like a deletion if the family
is not looked at. Called by `speaker.drivers.fast.links` (links, and that IPv6 changed),
`speaker.drivers.node.links` (the whole inventory) and `speaker.drivers.node.routers`.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_interface
from typing import Final

from lbctl.model.names import LinkName
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac

GROUPS: Final = 1 << 0 | 1 << 8 | 1 << 11
"""RTMGRP_LINK, RTMGRP_IPV6_IFADDR and RTMGRP_IPV6_IFINFO: the last two tell when IPv6 comes."""

INVENTORY_GROUPS: Final = 1 << 0 | 1 << 4 | 1 << 8
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR."""

ROUTER_GROUPS: Final = 1 << 0 | 1 << 2
"""RTMGRP_LINK and RTMGRP_NEIGH."""

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_NEIGHBOR = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_DONE, _ERROR, _NEWLINK, _DELLINK, _GETLINK = 3, 2, 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_REQUEST, _DUMP = 0x1, 0x300
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER = 1, 3, 10
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NDA_DST, _NDA_LLADDR = 1, 2
_NTF_ROUTER = 0x80
_NUD_FAILED = 0x20
_UNSPEC, _INET, _INET6 = 0, 2, 10
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


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLink:
    """Hold one RTM_NEWLINK; `master` is 0 without one, `mac` empty without one."""

    index: int
    name: str
    mac: str
    """Lower case, colon-separated."""
    flags: int
    master: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAddress:
    """Hold one RTM_NEWADDR."""

    index: int
    interface: IPv4Interface | IPv6Interface
    flags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGone:
    """The link of this index has lost the address."""

    index: int
    interface: IPv4Interface | IPv6Interface


InventoryEvent = KernelLink | LinkGone | KernelAddress | AddressGone | DumpDone


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """Hold what the kernel knows of an IPv6 neighbor on the link of this index.

    `router` is its mark of one whose router advertisement it has heard (NTF_ROUTER), and whose
    hardware address it has not failed to find since. The kernel sets it whether or not it takes
    routes from advertisements (accept_ra, forwarding).
    """

    index: int
    address: IPv6Address
    mac: str
    """As in `KernelLink`; empty while the kernel looks for it."""
    router: bool


NeighborEvent = KernelLink | LinkGone | Neighbor | DumpDone


def dump_request() -> bytes:
    """Return the request to tell all links."""
    return _request(_GETLINK, _LINK.pack(_UNSPEC, 0, 0, 0, 0))


def address_dump_request() -> bytes:
    """Return the request to tell all addresses of both families."""
    return _request(_GETADDR, _ADDRESS.pack(_UNSPEC, 0, 0, 0, 0))


def neighbor_dump_request() -> bytes:
    """Return the request to tell all IPv6 neighbors."""
    return _request(_GETNEIGH, _NEIGHBOR.pack(_INET6, 0, 0, 0, 0))


def _request(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _DUMP, 1, 0) + body


def decode_inventory(datagram: bytes) -> tuple[InventoryEvent, ...]:
    """Return the links and addresses that one datagram of the kernel tells.

    Raises:
        WireError: a length that does not fit, or the kernel refused a request.

    """
    return tuple(
        event
        for kind, body in _messages(datagram)
        if (event := _inventory_event(kind, body)) is not None
    )


def _inventory_event(kind: int, body: bytes) -> InventoryEvent | None:
    if kind == _DONE:
        return DumpDone()
    if kind == _ERROR:
        raise WireError("the kernel refused a netlink request")
    if kind in {_NEWLINK, _DELLINK}:
        return _kernel_link(kind, body)
    if kind in {_NEWADDR, _DELADDR}:
        return _kernel_address(kind, body)
    return None


def _kernel_link(kind: int, body: bytes) -> KernelLink | LinkGone | None:
    if len(body) < _LINK.size:
        raise WireError("a link message is truncated")
    family, _, index, flags, _ = _LINK.unpack_from(body)
    if family != _UNSPEC:
        return None
    if kind == _DELLINK:
        return LinkGone(index=index)
    attributes = dict(_attributes(body[_LINK.size :]))
    return KernelLink(
        index=index,
        name=attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        mac=attributes.get(_IFLA_ADDRESS, b"").hex(":"),
        flags=flags,
        master=int.from_bytes(attributes.get(_IFLA_MASTER, b""), sys.byteorder),
    )


def _kernel_address(kind: int, body: bytes) -> KernelAddress | AddressGone | None:
    if len(body) < _ADDRESS.size:
        raise WireError("an address message is truncated")
    family, prefix_length, flags, _, index = _ADDRESS.unpack_from(body)
    attributes = dict(_attributes(body[_ADDRESS.size :]))
    # IPv4 tells its own address as LOCAL when ADDRESS is a peer's; IPv6 has ADDRESS only.
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if packed is None or len(packed) != {_INET: 4, _INET6: 16}.get(family):
        return None
    try:
        interface = ip_interface((packed, prefix_length))
    except ValueError as error:
        raise WireError(f"an address message has prefix length {prefix_length}") from error
    if kind == _DELADDR:
        return AddressGone(index=index, interface=interface)
    wide = attributes.get(_IFA_FLAGS)
    if wide is not None:  # the header has room for eight flags only
        flags = int.from_bytes(wide, sys.byteorder)
    return KernelAddress(index=index, interface=interface, flags=flags)


def decode_neighbors(datagram: bytes) -> tuple[NeighborEvent, ...]:
    """Return the links and IPv6 neighbors that one datagram of the kernel tells.

    Raises:
        WireError: a length that does not fit, or the kernel refused a request.

    """
    return tuple(
        event
        for kind, body in _messages(datagram)
        if (event := _neighbor_event(kind, body)) is not None
    )


def _neighbor_event(kind: int, body: bytes) -> NeighborEvent | None:
    if kind == _DONE:
        return DumpDone()
    if kind == _ERROR:
        raise WireError("the kernel refused a netlink request")
    if kind in {_NEWLINK, _DELLINK}:
        return _kernel_link(kind, body)
    if kind not in {_NEWNEIGH, _DELNEIGH}:
        return None
    if len(body) < _NEIGHBOR.size:
        raise WireError("a neighbor message is truncated")
    family, index, state, flags, _ = _NEIGHBOR.unpack_from(body)
    attributes = dict(_attributes(body[_NEIGHBOR.size :]))
    packed = attributes.get(_NDA_DST, b"")
    if family != _INET6 or len(packed) != 16:
        return None
    marked = bool(flags & _NTF_ROUTER) and not state & _NUD_FAILED
    return Neighbor(
        index=index,
        address=IPv6Address(packed),
        mac=attributes.get(_NDA_LLADDR, b"").hex(":"),
        router=marked and kind == _NEWNEIGH,
    )


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
