"""BGP peers of a test on this machine: TCP is real, what they send is the test's.

`Peer` accepts, sends a greeting and reads what comes. `beside` holds a session with an odd one
next to a session with a good one, as lb-speaker does, and proves at the end that the good one
noticed nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any, Self

from lbctl.model.names import PeerName
from lbctl.model.route import Prefix
from speaker.agent.peering import Peering
from speaker.drivers.node.bgp import BgpPeer
from speaker.drivers.node.bgp_peers import BgpPeers
from speaker.protocols.bgp_inputs import Changed
from speaker.protocols.bgp_routes import Route, Table
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp import encode_open
from speaker.wire.bgp_frame import KEEPALIVE
from speaker.wire.bgp_messages import PathAttributes
from tests.support.bgp import TABLE, Router, make_open, make_peer, prefixes_of, routes
from tests.support.loop import eventually

HERE = ip_address("127.0.0.1")
HELLO = encode_open(make_open()) + KEEPALIVE
GOOD, ODD = PeerName("good"), PeerName("odd")


class Peer:
    """A peer of ours on this machine that sends what a test tells it to."""

    def __init__(self, greeting: bytes = HELLO, *, deaf: bool = False, sips: int = 0) -> None:
        """`deaf` reads nothing until `hear`; `sips` no more than so many bytes at a time."""
        self.router = Router()
        self.calls = 0
        self.ended = 0
        """Connections that our end has closed."""
        self.writer: asyncio.StreamWriter | None = None
        self.greeting = greeting
        self.deaf = deaf
        self.sips = sips
        self._hears = asyncio.Event()

    async def __aenter__(self) -> Self:
        listening = socket.socket()
        if self.deaf or self.sips:
            # A small window: what is sent soon waits in our memory.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=2048)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        if self.writer is not None:
            self.writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        self.writer = writer
        self.router = Router(self.router)
        writer.write(self.greeting)
        if self.deaf:
            assert isinstance(writer.transport, asyncio.Transport)
            writer.transport.pause_reading()
            await self._hears.wait()
            writer.transport.resume_reading()
        with contextlib.suppress(OSError):
            while data := await reader.read(self.sips or 65536):
                self.router.read(data)
                if self.sips:
                    await asyncio.sleep(0)
        self.ended += 1
        writer.close()

    def hear(self) -> None:
        """Read what there is, and what comes."""
        self.deaf = False
        self._hears.set()

    def send(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)

    async def send_bytewise(self, data: bytes) -> None:
        """Send each byte in a segment of its own."""
        assert self.writer is not None
        opened = self.writer.get_extra_info("socket")
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            self.send(bytes([byte]))
            await asyncio.sleep(0)

    def vanish(self) -> None:
        """Reset the connection, in the middle of whatever there was."""
        assert self.writer is not None
        self.writer.transport.abort()


def peering(peer: Peer, table: Table = TABLE, **changes: Any) -> Peering:
    given = {"address": HERE, "port": peer.port, "connect_retry_s": 1}
    return Peering(config=make_peer(**given | changes), table=table)


def big_table(kind: int, size: int = 2000) -> dict[Prefix, Route]:
    """Return enough bytes to fill every buffer between: a distinct attribute for each route."""
    return {
        prefix: Route(
            attributes=PathAttributes(large_communities=tuple((kind, n, m) for m in range(60)))
        )
        for n, prefix in enumerate(routes(*(f"198.18.{n >> 8}.{n & 255}/32" for n in range(size))))
    }


def up(spoken: BgpPeer) -> Callable[[], bool]:
    return lambda: spoken.status.state is State.ESTABLISHED


@contextlib.asynccontextmanager
async def beside(odd: Peer, table: Table = TABLE, **changes: Any) -> AsyncIterator[BgpPeer]:
    """Yield our end of a session with `odd`; another session goes on all the time.

    The other one has its table before, is told a change during, and has another table after,
    all on its first connection.
    """
    told: list[Changed] = []
    peers = BgpPeers(
        beside=lambda own: (own, ip_address("2001:db8::11")),
        on_change=lambda name, change: told.append(change) if name == GOOD else None,
    )
    async with Peer() as good:
        peers.apply({GOOD: peering(good)})
        await eventually(lambda: prefixes_of(good.router.table) == prefixes_of(TABLE))
        before = list(told)
        asked = peering(odd, table, **changes)
        during, after = routes("203.0.113.201/32"), routes("203.0.113.202/32")
        try:
            peers.apply({GOOD: peering(good, during), ODD: asked})
            await asyncio.sleep(0)
            yield peers.peers[ODD]
            assert prefixes_of(good.router.table) == prefixes_of(during)
            peers.apply({GOOD: peering(good, after), ODD: asked})
            await eventually(lambda: prefixes_of(good.router.table) == prefixes_of(after))
            assert good.calls == 1
            assert told == before
        finally:
            peers.apply({GOOD: peering(good, after)})
            await peers.close(None)
