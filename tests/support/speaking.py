"""BGP peers of ours on a host of a test LAN, and waiting for what routers make of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from ipaddress import ip_address
from typing import Any

from lbctl.model.address import Address
from speaker.drivers.node.bgp import BgpPeer
from speaker.protocols.bgp_inputs import Changed
from speaker.protocols.bgp_peer import PeerConfig
from speaker.protocols.bgp_report import Cause
from speaker.protocols.bgp_routes import Table
from speaker.protocols.bgp_transitions import State
from tests.support.bgp import make_peer, routes
from tests.support.lan import Host, inside
from tests.support.loop import DEADLINE_S, stop

FOUR, SIX = "203.0.113.7/32", "2001:db8:2::7/128"
TABLE = routes(FOUR, SIX, "203.0.113.128/25")
"""What most tests announce."""
WITHIN_S = 60.0
"""Of one test; real routers take seconds to notice some things."""


def on(host: Host, work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine with its sockets on `host`."""

    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S):
            await work

    with inside(host.namespace):
        asyncio.run(bounded())


async def until(question: Callable[[], object], what: str = "", within_s: float = 30.0) -> Any:
    """Ask a router, in a thread, until the answer is true, and return it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not (answer := await asyncio.to_thread(question)):
        if loop.time() > end:
            raise AssertionError(f"not within {within_s} s: {what or question} (last: {answer!r})")
        await asyncio.sleep(0.02)
    return answer


def peer_on(host: Host, router: Host, **changes: Any) -> PeerConfig:
    """Return the configuration for `router` as a peer of `host`."""
    given: dict[str, Any] = {
        "address": ip_address(router.address),
        "identifier": ip_address(host.address),
    }
    return make_peer(**given | changes)


class Spoken:
    """Hold one peer that runs, and everything that it has told."""

    def __init__(self, config: PeerConfig, host: Host) -> None:
        own = (ip_address(host.address), ip_address(host.address6))

        def beside(_address: Address) -> tuple[Address, ...]:
            return own

        self.changes: list[Changed] = []
        self.peer = BgpPeer(config, restarting=True, beside=beside, on_change=self.changes.append)

    @property
    def up(self) -> bool:
        return self.peer.status.state is State.ESTABLISHED

    @property
    def causes(self) -> list[Cause]:
        return [change.down.cause for change in self.changes if change.down is not None]

    @property
    def detail(self) -> str:
        down = self.peer.status.down
        return down.detail if down is not None else ""

    async def reaches(self, holds: Callable[[], object], what: str = "") -> None:
        """Wait for something of this peer, without asking a thread."""
        loop = asyncio.get_running_loop()
        end = loop.time() + DEADLINE_S
        while not holds():
            if loop.time() > end:
                raise AssertionError(f"not reached: {what or holds} ({self.peer.status})")
            await asyncio.sleep(0.005)

    async def established(self) -> None:
        await self.reaches(lambda: self.up, "Established")


@contextlib.asynccontextmanager
async def speaking(config: PeerConfig, host: Host, table: Table) -> AsyncIterator[Spoken]:
    """Run one peer for the length of a block; at its end it dies without a word."""
    spoken = Spoken(config, host)
    spoken.peer.want(table)
    task = asyncio.create_task(spoken.peer.run())
    try:
        yield spoken
        if task.done():
            task.result()
    except AssertionError as failure:
        failure.add_note(str(spoken.peer.status))
        raise
    finally:
        await stop(task)
