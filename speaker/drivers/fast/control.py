"""The control server: one lb-speaker at a time over a Unix stream socket.

Nothing that arrives here may stop the fast path: garbage, an oversized or truncated frame or a
wrong first message closes that connection, with a reason that is logged and counted, and the
table stays. A new connection takes the place of the old one, because an lb-speaker that
reconnects has restarted. Called by `speaker.fastpath`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lbctl.model.names import Incarnation
from speaker.drivers.fast.error import DriverError
from speaker.wire.control import (
    CountersRequest,
    Decoder,
    Delta,
    Hello,
    Message,
    Refused,
    Report,
    Table,
    encode,
    greet,
)
from speaker.wire.error import WireError

UNREAD_CAP: Final = 4 << 20
"""Bytes of reports that wait for an lb-speaker that does not read; then it is cut off."""

Order = Table | Delta | CountersRequest
log = logging.getLogger(__name__)


class ControlServer:
    """Accept lb-speaker, hand its commands on, and carry reports back."""

    def __init__(
        self,
        *,
        incarnation: Incarnation,
        on_connect: Callable[[], None],
        on_order: Callable[[Order], None],
        on_gone: Callable[[], None],
    ) -> None:
        self.closed_for: Counter[str] = Counter()
        """Connections closed, by cause."""
        self.ignored = 0
        """Messages of unknown kind, from a newer minor version."""
        self._hello = Hello(incarnation=incarnation)
        self._on_connect = on_connect
        self._on_order = on_order
        self._on_gone = on_gone
        self._current: _Connection | None = None

    async def listen(self, opened: socket.socket) -> asyncio.Server:
        """Accept connections on `opened` until the returned server is closed."""
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(lambda: _Connection(self), sock=opened)

    @property
    def connected(self) -> bool:
        return self._current is not None

    def report(self, report: Report) -> None:
        """Send `report` to lb-speaker; without one it is dropped, for a new one is told all."""
        if self._current is not None:
            self._current.send(report)

    def close(self) -> None:
        if self._current is not None:
            self._current.close("stopped", "lb-fastpath stops")

    # What follows is called by the connections.

    def opened(self, connection: _Connection) -> None:
        connection.send(self._hello)

    def greeted(self, connection: _Connection, hello: Hello) -> None:
        if self._current is not None:
            self._current.close("replaced", "another lb-speaker has connected")
        self._current = connection
        log.info(
            "lb-speaker connected",
            extra={"node": hello.node, "peer_incarnation": hello.incarnation},
        )
        self._on_connect()

    def ordered(self, message: Message, connection: _Connection) -> None:
        if isinstance(message, Refused):
            connection.close("refused_by_peer", message.message)
        elif isinstance(message, Table | Delta | CountersRequest):
            self._on_order(message)
        else:
            self.closed_for["unexpected_message"] += 1

    def lost(self, connection: _Connection) -> None:
        if self._current is connection:
            self._current = None
            log.warning("lb-speaker is gone; the table stays as it is")
            self._on_gone()


class _Connection(asyncio.Protocol):
    """Decode one connection; everything it learns goes to the server."""

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self._decoder = Decoder()
        self._transport: asyncio.WriteTransport | None = None
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        ignored = self._decoder.ignored
        try:
            for message in self._decoder.feed(data):
                if self._transport is None:
                    return
                self._take(message)
        except WireError as error:
            self.send(Refused(message=str(error)))
            self.close("garbage", str(error))
        self._server.ignored += self._decoder.ignored - ignored

    def eof_received(self) -> bool:
        try:
            self._decoder.end()
        except WireError as error:
            self.close("truncated", str(error))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._server.lost(self)

    def send(self, message: Message) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > UNREAD_CAP:
            self.close("does_not_read", "lb-speaker does not read its reports")
            return
        transport.write(encode(message))

    def close(self, cause: str, reason: str) -> None:
        """Close once, with a cause that is counted and a sentence that is logged."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._server.closed_for[cause] += 1
        log.warning("control connection closed: %s", reason, extra={"cause": cause})
        transport.close()
        self._server.lost(self)

    def _take(self, message: Message) -> None:
        if self._greeted:
            self._server.ordered(message, self)
            return
        hello = greet(message)
        self._greeted = True
        self._server.greeted(self, hello)


def bind_socket(path: Path) -> socket.socket:
    """Return a listening socket at `path`; the file that a dead process left is replaced.

    The other container of the pod runs as another user and has to open it. If its directory
    gives its group to new files (an emptyDir under fsGroup), group access is enough; otherwise
    only access for all lets it in, and the directory is the pod's own.

    Raises:
        DriverError: the path is no socket's, is too long, is served, or cannot be written.

    """
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _clear(path)
        opened.bind(str(path))
        shared = bool(path.parent.stat().st_mode & stat.S_ISGID)
        path.chmod(0o660 if shared else 0o666)
        opened.listen(4)
    except DriverError:
        opened.close()
        raise
    except OSError as error:
        opened.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DriverError(f"--socket {path}: {reason}") from error
    opened.setblocking(False)
    return opened


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise DriverError(f"--socket {path}: a file that is no socket is there; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1)
        try:
            trial.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise DriverError(f"--socket {path}: another lb-fastpath serves it; stop that one first")
