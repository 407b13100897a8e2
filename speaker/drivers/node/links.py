"""Follow the node's links and addresses by netlink events; nothing is polled.

One socket subscribes to links and addresses, a second one dumps, so that a dump and the events
that arrive meanwhile cannot mix. When the kernel drops events (ENOBUFS, a host with thousands of
addresses), or anything else goes wrong, both are closed and everything is read again: netlink
says that something was lost, never what.

Started by `speaker.main`; the rules which links count are `speaker.agent.inventory`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK

from lbctl.model.node import Link
from speaker.agent.inventory import KernelAddress, KernelLink, inventory

logger = logging.getLogger(__name__)

GROUPS: Final = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
AGAIN_S: Final = 0.2
"""Pause before everything is read again; a flood that overflowed the socket is still going on."""


class NodeLinks:
    """Hold the present inventory; `current` is None until the first dump is complete."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.current: tuple[Link, ...] | None = None
        self.resyncs = 0
        self._on_change = on_change
        self._links: dict[int, KernelLink] = {}
        self._addresses: dict[tuple[int, str], KernelAddress] = {}

    async def run(self) -> None:
        """Follow events until cancelled."""
        while True:
            try:
                await self._follow()
            except (OSError, NetlinkError) as error:
                logger.warning("netlink: %s; reading links and addresses again", error)
            self.resyncs += 1
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        async with AsyncIPRoute() as events:
            await events.bind(groups=GROUPS)
            async with AsyncIPRoute(groups=0) as dump:
                await self._read_all(dump)
            self._publish()
            while True:
                # One round of `get` is one batch; the library ends it after each.
                async for message in events.get():
                    self._take(message)
                self._publish()

    async def _read_all(self, dump: Any) -> None:
        self._links.clear()
        self._addresses.clear()
        async for message in await dump.link("dump"):
            self._take_link(message)
        async for message in await dump.addr("dump"):
            self._take_address(message)

    def _publish(self) -> None:
        found = inventory(self._links.values(), self._addresses.values())
        if found != self.current:
            self.current = found
            self._on_change()

    def _take(self, message: Any) -> None:
        match message["event"]:
            case "RTM_NEWLINK" | "RTM_DELLINK":
                self._take_link(message)
            case "RTM_NEWADDR" | "RTM_DELADDR":
                self._take_address(message)

    def _take_link(self, message: Any) -> None:
        # AF_BRIDGE messages describe a port's bridge side, not the link.
        if message["family"] != 0:
            return
        index = message["index"]
        if message["event"] == "RTM_DELLINK":
            self._links.pop(index, None)
            return
        self._links[index] = KernelLink(
            index=index,
            name=message.get_attr("IFLA_IFNAME") or "",
            mac=message.get_attr("IFLA_ADDRESS") or "",
            flags=message["flags"],
            master=message.get_attr("IFLA_MASTER") or 0,
        )

    def _take_address(self, message: Any) -> None:
        # IPv4 tells its own address as LOCAL when ADDRESS is a peer's; IPv6 has ADDRESS only.
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if text is None:
            return
        key = (message["index"], f"{text}/{message['prefixlen']}")
        if message["event"] == "RTM_DELADDR":
            self._addresses.pop(key, None)
            return
        flags = message.get_attr("IFA_FLAGS")
        self._addresses[key] = KernelAddress(
            index=message["index"],
            interface=ip_interface(key[1]),
            flags=message["flags"] if flags is None else flags,
        )
