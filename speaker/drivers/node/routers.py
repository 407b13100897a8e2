"""Know the routers that advertise themselves on a link, for BGP peers without an address.

lb-speaker hears no router advertisement itself: that takes a raw socket, and so a capability. The
kernel hears them and marks the sender's neighbor entry, with forwarding on and with any accept_ra;
the marks are followed by netlink. The kernel drops entries for reasons of its own (a router that
reboots, a full table), while a session has timers to notice a dead peer by. So the last router of
a link counts until another one is marked or the link is gone.

The kernel also marks a neighbor that says in an answer to it that it forwards (RFC 4861 4.4), as
nodes of a cluster do, and nodes with such a peer advertise themselves. So nodes whose speakers
publish their hardware addresses do not count; whoever else forwards on the link does.
Nothing is read while no link is watched: neighbors change all the time on a big network.

Started by `speaker.drivers.node.loop`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import assert_never

from lbctl.model.names import LinkName
from speaker.drivers.node.netlink import AGAIN_S, told
from speaker.wire.error import WireError
from speaker.wire.rtnetlink import (
    ROUTER_GROUPS,
    DumpDone,
    KernelLink,
    LinkGone,
    Neighbor,
    NeighborEvent,
    decode_neighbors,
    dump_request,
    neighbor_dump_request,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Marked:
    """Hold a neighbor that is marked as a router, or was the last one that was."""

    mac: str
    now: bool


Heard = Mapping[LinkName, tuple[IPv6Address, ...]]
"""Link-local addresses by link, in order; a link without a router is not in it."""


class Routers:
    """Hold the routers of the watched links; `current` is None until they are read."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.current: Heard | None = {}
        self._on_change = on_change
        self._watched: frozenset[LinkName] = frozenset()
        self._watching = asyncio.Event()
        self._read = False
        self._stands = False
        """What was read before an overrun serves until all is read again."""
        self._links: dict[int, KernelLink] = {}
        self._routers: dict[int, dict[IPv6Address, _Marked]] = {}
        """By link."""
        self._nodes: frozenset[str] = frozenset()

    def watch(self, links: Collection[LinkName], nodes: Collection[str] = ()) -> None:
        """Know the routers of exactly these links from now on.

        `nodes` are the hardware addresses of other nodes, as in `Neighbor.mac`.
        """
        before, self._watched = self._watched, frozenset(links)
        # For good: the status of a node is gone with its speaker's Pod, the kernel's mark is not.
        self._nodes |= frozenset(nodes)
        if self._watched:
            self._watching.set()
        else:
            self._watching.clear()
        if self._read or self._watched != before:
            self._publish()

    async def run(self) -> None:
        """Follow the marks until cancelled."""
        while True:
            await self._watching.wait()
            try:
                await self._follow()
            except (OSError, WireError) as error:
                logger.warning("netlink: %s; reading neighbors again", error)
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        """Follow until nothing is watched any more and something happened."""
        requests = (dump_request(), neighbor_dump_request())
        try:
            async for events in told(ROUTER_GROUPS, requests, decode_neighbors):
                missing = () if self._read else self._missing(events)
                for event in (*missing, *events):
                    self._take(event)
                self._read = self._stands = True
                self._publish()
                if not self._watched:
                    self._stands = False
                    return
        finally:
            self._read = False

    def _missing(self, present: Iterable[NeighborEvent]) -> list[NeighborEvent]:
        """Return what was known before and the dump does not tell."""
        links = {event.index for event in present if isinstance(event, KernelLink)}
        neighbors = {(one.index, one.address) for one in present if isinstance(one, Neighbor)}
        return [
            *(LinkGone(index=index) for index in self._links.keys() - links),
            *(
                Neighbor(index=index, address=address, mac="", router=False)
                for index, routers in self._routers.items()
                for address in routers
                if (index, address) not in neighbors
            ),
        ]

    def _take(self, event: NeighborEvent) -> None:
        match event:
            case KernelLink():
                self._links[event.index] = event
            case LinkGone():
                self._links.pop(event.index, None)
                self._routers.pop(event.index, None)
            case Neighbor() if event.address.is_link_local:
                known = self._routers.get(event.index, {})
                router = event.router and not self._ours(event)
                before = known.get(event.address)
                if router or before is not None:
                    mac = event.mac or ("" if before is None else before.mac)
                    known = self._routers[event.index] = {
                        **known,
                        event.address: _Marked(mac, router),
                    }
                    counting = self._counting(event.index)
                    for one in [*known]:
                        if not known[one].now and one not in counting:
                            del known[one]
            case Neighbor() | DumpDone():
                pass
            case _:
                assert_never(event)

    def _ours(self, neighbor: Neighbor) -> bool:
        """Return whether the node itself is meant: it hears what it tells a group."""
        link = self._links.get(neighbor.index)
        return link is not None and link.mac == neighbor.mac

    def _counting(self, index: int) -> tuple[IPv6Address, ...]:
        """Return the routers of a link: who is marked, else who was last, but for nodes."""
        others = {
            address: mark.now
            for address, mark in self._routers.get(index, {}).items()
            if mark.mac not in self._nodes
        }
        return tuple(sorted([one for one, now in others.items() if now] or others))

    def _publish(self) -> None:
        found: Heard | None = None
        if self._stands or not self._watched:
            found = {
                LinkName(link.name): routers
                for index, link in self._links.items()
                if link.name in self._watched and (routers := self._counting(index))
            }
        if found != self.current:
            self.current = found
            self._on_change()
