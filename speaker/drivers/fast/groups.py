"""Solicited-node groups of one link, joined on UDP sockets.

Joining on a UDP socket makes the kernel send MLD reports, which snooping switches need;
PACKET_ADD_MEMBERSHIP would only program the network card. One socket takes as many groups as
net.core.optmem_max allows (2,340 at its present default, about 365 at the older one), so a new
socket is opened whenever the kernel says ENOMEM. Addresses share a group when their low 24 bits
are the same, so groups are counted. Called by `speaker.drivers.fast.port`.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address

from lbctl.model.names import LinkName
from speaker.drivers.fast.error import DriverError
from speaker.wire.ndp import solicited_node_group


class GroupMembership:
    """Hold the memberships of one link for the addresses answered there."""

    def __init__(self, *, link: LinkName, index: int) -> None:
        self._link = link
        self._index = struct.pack("@I", index)
        self._sockets: list[socket.socket] = []
        self._joined: dict[IPv6Address, socket.socket] = {}
        self._counts: Counter[IPv6Address] = Counter()
        self._addresses: frozenset[IPv6Address] = frozenset()

    def set_addresses(self, wanted: Iterable[IPv6Address]) -> None:
        """Join and leave until the memberships are those that `wanted` needs.

        Raises:
            DriverError: a group cannot be joined: IPv6 is missing on the link, or memory.

        """
        addresses = frozenset(wanted)
        for address in self._addresses - addresses:
            self._leave(solicited_node_group(address))
            self._addresses -= {address}
        added = addresses - self._addresses
        for address in added:
            self._join(solicited_node_group(address))
        self._addresses |= added

    def close(self) -> None:
        """Leave everything; closing a socket ends its memberships, also of a link that is gone."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()
        self._joined.clear()
        self._counts.clear()
        self._addresses = frozenset()

    def _join(self, group: IPv6Address) -> None:
        if not self._counts[group]:
            self._joined[group] = self._socket_joined_to(group)
        self._counts[group] += 1

    def _leave(self, group: IPv6Address) -> None:
        self._counts[group] -= 1
        if self._counts[group]:
            return
        del self._counts[group]
        try:
            self._joined.pop(group).setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, group.packed + self._index
            )
        except OSError as error:
            # The link vanished and took the membership along; `close` clears up the rest.
            if error.errno not in {errno.EADDRNOTAVAIL, errno.ENODEV}:
                raise DriverError(
                    f"link {self._link}: cannot leave group {group}: {error.strerror}"
                ) from error

    def _socket_joined_to(self, group: IPv6Address) -> socket.socket:
        request = group.packed + self._index
        for fresh in (False, True):
            try:
                candidate = self._socket(fresh=fresh)
                candidate.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            except OSError as error:
                if not fresh and error.errno in {errno.ENOMEM, errno.ENOBUFS}:
                    continue
                raise DriverError(
                    f"link {self._link}: cannot join group {group}: {error.strerror}"
                ) from error
            else:
                return candidate
        raise AssertionError("a fresh socket either joins or raises")

    def _socket(self, *, fresh: bool) -> socket.socket:
        """Return the newest socket, or another one: older ones are full."""
        if fresh or not self._sockets:
            opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._sockets.append(opened)
        return self._sockets[-1]
