"""One BGP peer on the network: asyncio's TCP around `BgpSession`, one task for each peer.

The task is the only one to touch the session: the transport's callbacks leave inputs in a queue,
and the task takes them in order, then what is due. Bytes that came before a timer are therefore
read before silence is believed. A connection that is given up is not cut: what was written before
(a NOTIFICATION) is delivered, and what the peer still sends is read and dropped for a moment, for
unread bytes at a close make the kernel answer with a reset that can overtake our last words.

Made by `speaker.drivers.node.bgp_peers`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, assert_never

from lbctl.model.address import Address
from speaker.drivers.node.bgp_socket import (
    PeerSocketError,
    peer_socket,
    socket_address,
    towards,
    unacknowledged,
)
from speaker.protocols.bgp_inputs import (
    Calling,
    Changed,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    Disconnect,
    Drained,
    Input,
    Output,
    Received,
    Renumbered,
    Send,
    Stop,
    Wanted,
)
from speaker.protocols.bgp_peer import PeerConfig
from speaker.protocols.bgp_report import Counts, SessionStatus
from speaker.protocols.bgp_routes import Table
from speaker.protocols.bgp_session import BgpSession
from speaker.wire.bgp_fault import Notification

LINGER_S: Final = 1.0
"""How long a connection that we closed may take to deliver our last words."""

logger = logging.getLogger(__name__)


def jitter() -> float:
    """Return the factor that timers are shortened by (RFC 4271 10)."""
    return random.uniform(0.75, 1.0)  # noqa: S311 - spreads timers, keeps no secret


class BgpPeer:
    """Hold one peer; `run` is its life, `want` says what it should be told."""

    def __init__(
        self,
        config: PeerConfig,
        *,
        restarting: bool,
        beside: Callable[[Address], tuple[Address, ...]],
        on_change: Callable[[Changed], None],
    ) -> None:
        """`beside` returns the addresses of the link that holds the given one of ours."""
        self.config = config
        self._loop = asyncio.get_running_loop()
        self._session = BgpSession(
            config, now=self._loop.time(), jitter=jitter, restarting=restarting
        )
        self._beside = beside
        self._on_link: tuple[Address, ...] = ()
        """What the session was told of."""
        self._on_change = on_change
        self._inputs: deque[Input] = deque()
        self._wake = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None
        self._connection: _Connection | None = None
        self._closing: set[_Connection] = set()
        self._stopped = False

    @property
    def status(self) -> SessionStatus:
        if self._connection is not None:
            self._session.acknowledge(self._connection.acknowledged)
        return self._session.status

    @property
    def counts(self) -> Counts:
        return self._session.counts

    @property
    def own_address(self) -> Address | None:
        """Our end of the present connection."""
        return None if self._connection is None else self._connection.own_address

    @property
    def observed(self) -> bool:
        """Whether the peer's TCP has acknowledged the last table that was wanted."""
        waits = any(isinstance(one, Wanted) for one in self._inputs)
        return self.status.observed and not waits

    def renew(self, config: PeerConfig) -> None:
        """Take a configuration that keeps the session (`PeerConfig.keeps_session_of`)."""
        self.config = config
        self._session.renew(config)

    def want(self, table: Table) -> None:
        """Make `table` what the peer is to have; the first one opens the session."""
        self._tell(Wanted(table=table))

    def stop(self, goodbye: Notification | None) -> None:
        """Have `run` end once the peer has been told; None leaves its routes to graceful restart."""
        if self._stopped:
            return
        self._stopped = True
        self._tell(Stop(goodbye=goodbye))

    async def run(self) -> None:
        """Hold the session until `stop`, or until cancelled: then as if the process had died."""
        try:
            while not (self._stopped and not self._inputs):
                self._wake.clear()
                self._check_connecting()
                while self._inputs:
                    self._do(self._session.receive(self._loop.time(), self._inputs.popleft()))
                self._do(self._session.expire(self._loop.time()))
                if self._inputs:
                    # A flood must not keep the loop from the other peers.
                    await asyncio.sleep(0)
                elif not self._stopped:
                    await self._until(self._session.deadline)
            while self._closing:
                await asyncio.wait([one.gone for one in self._closing])
        finally:
            if self._connecting is not None:
                self._connecting.cancel()
            for connection in (*self._closing, *filter(None, [self._connection])):
                connection.abort()

    def _check_connecting(self) -> None:
        """Let a mistake in the connecting task end `run`, where it is seen."""
        if self._connecting is not None and self._connecting.done():
            done, self._connecting = self._connecting, None
            done.result()

    async def _until(self, deadline: float | None) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _tell(self, happened: Input) -> None:
        self._inputs.append(happened)
        self._wake.set()

    def _do(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            match output:
                case Connect():
                    self._connecting = asyncio.create_task(self._connect())
                    self._connecting.add_done_callback(lambda _: self._wake.set())
                case Disconnect():
                    self._disconnect()
                case Send(data=data):
                    if self._connection is not None:
                        self._connection.send(data)
                case Changed():
                    self._on_change(output)
                case _:
                    assert_never(output)

    async def _connect(self) -> None:
        try:
            opened = peer_socket(self.config)
        except (OSError, PeerSocketError) as error:
            self._tell(ConnectFailed(why=_words(error)))
            return
        connection: _Connection | None = None
        try:
            await self._call(opened)
            connection = _Connection(opened, self._tell, self._closing.discard)
            await self._loop.create_connection(lambda: connection, sock=opened)
        except (OSError, PeerSocketError) as error:
            opened.close()
            self._tell(ConnectFailed(why=_words(error)))
        except BaseException:
            if connection is not None:
                connection.abort()  # its end is no news to the attempt that comes next
            opened.close()
            raise
        else:
            self._connection = connection
            self._on_link = self._addresses(connection)
            self._tell(Connected(on_link=self._on_link))

    def look_again(self) -> None:
        """Tell the session if the addresses of its link are others now."""
        if self._connection is None:
            return
        found = self._addresses(self._connection)
        # Without its own end the link is unknown, or the connection is about to die of that.
        known = bool(self._beside(self._connection.own_address))
        if known and found != self._on_link:
            self._on_link = found
            self._tell(Renumbered(on_link=found))

    def _addresses(self, connection: _Connection) -> tuple[Address, ...]:
        own = connection.own_address
        return (own, *(one for one in self._beside(own) if one != own))

    async def _call(self, opened: socket.socket) -> None:
        address = socket_address(self.config)
        try:
            # What is said at once is said by this node; later it may be a router's word.
            with towards(self.config):
                opened.connect(address)
        except BlockingIOError:
            self._tell(Calling(source=_own_address(opened)))
            # A second connect() of a call that is under way joins it.
            await self._loop.sock_connect(opened, address)

    def _disconnect(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        # What the connection has left in the queue belongs to nobody any more.
        kept = [one for one in self._inputs if isinstance(one, Wanted | Stop)]
        self._inputs.clear()
        self._inputs.extend(kept)
        if self._connection is not None:
            self._closing.add(self._connection)
            self._connection.finish()
            self._connection = None


class _Connection(asyncio.Protocol):
    """One TCP connection: it tells what it reads until it is finished with."""

    def __init__(
        self,
        opened: socket.socket,
        tell: Callable[[Input], None],
        left: Callable[[_Connection], None],
    ) -> None:
        self.own_address = _own_address(opened)
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opened = opened
        self._tell = tell
        self._left = left
        self._transport: asyncio.Transport | None = None
        self._live = True
        self._ended = False
        """The peer will send no more."""
        self._written = 0
        self._full = False

    @property
    def acknowledged(self) -> int:
        """Bytes that the peer's TCP has acknowledged."""
        if self._transport is None or self._transport.is_closing():
            return 0
        waiting = self._transport.get_write_buffer_size() + unacknowledged(self._opened)
        return self._written - waiting

    def send(self, data: bytes) -> None:
        """Hand bytes to TCP; `Drained` follows when the kernel has taken all of them."""
        if self._transport is None or self._transport.is_closing():
            return
        self._written += len(data)
        self._transport.write(data)
        if not self._full:
            self._tell(Drained())

    def finish(self) -> None:
        """Tell no more, deliver what was written, and be gone after a moment."""
        self._live = False
        if self._transport is None or self._transport.is_closing():
            self._end()
            return
        try:
            if self._ended:
                self._transport.close()
            else:
                self._transport.write_eof()
        except OSError:
            # The peer has reset the connection, and asyncio has not read that yet.
            self._transport.abort()
        asyncio.get_running_loop().call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        self._live = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # `pause_writing` then comes as soon as the kernel does not take everything.
        transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        if self._live:
            self._tell(Received(data=data))

    def eof_received(self) -> bool:
        self._ended = True
        if self._live:
            self._tell(Closed(why="the peer closed the connection"))
        return self._live  # stay open for our last words; when they are said, close

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._live:
            self._tell(Drained())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._live:
            self._tell(Closed(why=_words(exc) if exc else "the connection was closed"))
        self._live = False
        self._end()

    def _end(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        self._left(self)


def _own_address(opened: socket.socket) -> Address:
    return ip_address(opened.getsockname()[0])


def _words(error: Exception) -> str:
    """Return what the kernel said; asyncio puts its own sentence in place of it."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
