"""Follow the node's links and addresses by netlink events; nothing is polled.

One socket subscribes and dumps. The kernel numbers nothing, so a dump and the events that arrive
meanwhile mix; both tell what is so at their time and in order, and the last word counts. When the
kernel drops events (ENOBUFS, a host with thousands of addresses), or anything else goes wrong,
the socket is closed and everything is read again: netlink says that something was lost, never
what. The messages are read by `speaker.wire.rtnetlink`, as in the fast path (docs/adr/0008).

Started by `speaker.main`; the rules which links count are `speaker.agent.inventory`'s.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final, assert_never

from lbctl.model.address import Address
from lbctl.model.node import Link
from speaker.agent.inventory import inventory, is_usable
from speaker.wire.error import WireError
from speaker.wire.rtnetlink import (
    INVENTORY_GROUPS,
    AddressGone,
    DumpDone,
    InventoryEvent,
    KernelAddress,
    KernelLink,
    LinkGone,
    address_dump_request,
    decode_inventory,
    dump_request,
)

logger = logging.getLogger(__name__)

AGAIN_S: Final = 0.2
"""Pause before everything is read again; a flood that overflowed the socket is still going on."""
_DATAGRAM: Final = 65536


class NodeLinks:
    """Hold the present inventory; `current` is None until the first dump is complete."""

    def __init__(self, on_change: Callable[[], None], excluded: re.Pattern[str]) -> None:
        self.current: tuple[Link, ...] | None = None
        self.resyncs = 0
        self._on_change = on_change
        self._excluded = excluded
        self._links: dict[int, KernelLink] = {}
        self._addresses: dict[tuple[int, IPv4Interface | IPv6Interface], KernelAddress] = {}

    def beside(self, address: Address) -> tuple[Address, ...]:
        """Return the usable addresses of the link that has this one, of any link, itself too."""
        holders = {index for index, one in self._addresses if one.ip == address}
        return tuple(
            found.interface.ip
            for (index, _), found in self._addresses.items()
            if index in holders and is_usable(found)
        )

    async def run(self) -> None:
        """Follow events until cancelled."""
        while True:
            try:
                await self._follow()
            except (OSError, WireError) as error:
                logger.warning("netlink: %s; reading links and addresses again", error)
            self.resyncs += 1
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        ) as netlink:
            netlink.bind((0, INVENTORY_GROUPS))
            batches = _batches(netlink)
            self._links.clear()
            self._addresses.clear()
            for request in (dump_request(), address_dump_request()):
                netlink.send(request)
                await self._take_until_done(batches)
            self._publish()
            async for batch in batches:
                for event in batch:
                    self._take(event)
                self._publish()

    async def _take_until_done(self, batches: AsyncIterator[tuple[InventoryEvent, ...]]) -> None:
        async for batch in batches:
            for event in batch:
                self._take(event)
            if any(isinstance(event, DumpDone) for event in batch):
                return

    def _publish(self) -> None:
        found = inventory(self._links.values(), self._addresses.values(), self._excluded)
        if found != self.current:
            self.current = found
            self._on_change()

    def _take(self, event: InventoryEvent) -> None:
        match event:
            case KernelLink():
                self._links[event.index] = event
            case LinkGone():
                self._links.pop(event.index, None)
            case KernelAddress():
                self._addresses[event.index, event.interface] = event
            case AddressGone():
                self._addresses.pop((event.index, event.interface), None)
            case DumpDone():
                pass
            case _:
                assert_never(event)


async def _batches(netlink: socket.socket) -> AsyncIterator[tuple[InventoryEvent, ...]]:
    """Yield what each datagram tells; raises OSError (ENOBUFS: events were lost) and WireError."""
    loop = asyncio.get_running_loop()
    while True:
        yield decode_inventory(await loop.sock_recv(netlink, _DATAGRAM))
