"""Subscribe to rtnetlink and dump: what is so, then what becomes of it, from one socket.

The kernel numbers nothing, so a dump and the events that arrive meanwhile mix; both tell what is
so at their time and in order, and the last word counts. When the kernel drops events (ENOBUFS, a
host with thousands of addresses), or anything else goes wrong, the socket is closed and the
caller asks again from the start: netlink says that something was lost, never what. The messages
are read by `speaker.wire.rtnetlink`, as in the fast path (docs/adr/0008).

Called by `speaker.drivers.node.links` and `speaker.drivers.node.routers`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeVar

from speaker.wire.rtnetlink import DumpDone

Event = TypeVar("Event")

AGAIN_S: Final = 0.2
"""Pause before everything is read again; a flood that overflowed the socket is still going on."""
_DATAGRAM: Final = 65536


async def told(
    groups: int,
    requests: Sequence[bytes],
    decode: Callable[[bytes], tuple[Event, ...]],
) -> AsyncIterator[list[Event]]:
    """Yield all that the dumps tell at once, then each datagram's events, without end.

    Raises:
        OSError: events were lost (ENOBUFS), or there is no such socket.
        WireError: what the kernel says cannot be read.

    """
    loop = asyncio.get_running_loop()
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    ) as netlink:
        netlink.bind((0, groups))
        present: list[Event] = []
        for request in requests:  # one after the other: a socket dumps one thing at a time
            netlink.send(request)
            done = False
            while not done:
                events = decode(await loop.sock_recv(netlink, _DATAGRAM))
                present += events
                done = any(isinstance(event, DumpDone) for event in events)
        yield present
        while True:
            yield list(decode(await loop.sock_recv(netlink, _DATAGRAM)))
