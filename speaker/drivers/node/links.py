"""Follow the node's links and addresses by netlink events; nothing is polled.

How they are followed, and what happens when events are lost: `speaker.drivers.node.netlink`.
Started by `speaker.main`; the rules which links count are `speaker.agent.inventory`'s.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface
from typing import assert_never

from lbctl.model.address import Address
from lbctl.model.node import Link
from speaker.agent.inventory import inventory, is_usable
from speaker.drivers.node.netlink import AGAIN_S, told
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


class NodeLinks:
    """Hold the present inventory; `current` is None until the first dump is complete."""

    def __init__(self, on_change: Callable[[], None], excluded: re.Pattern[str]) -> None:
        self.current: tuple[Link, ...] | None = None
        self.resyncs = 0
        self._on_change = on_change
        self._excluded = excluded
        self._links: dict[int, KernelLink] = {}
        self._usable: frozenset[tuple[int, IPv4Interface | IPv6Interface]] = frozenset()
        """Addresses of any link, also of those that announce nothing: sessions rest on them."""
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
        requests = (dump_request(), address_dump_request())
        known = False
        async for events in told(INVENTORY_GROUPS, requests, decode_inventory):
            if not known:
                # What was known before serves until all is there again.
                self._links.clear()
                self._addresses.clear()
                known = True
            for event in events:
                self._take(event)
            self._publish()

    def _publish(self) -> None:
        found = inventory(self._links.values(), self._addresses.values(), self._excluded)
        usable = frozenset(key for key, one in self._addresses.items() if is_usable(one))
        if found != self.current or usable != self._usable:
            self.current, self._usable = found, usable
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
