"""The socket to lb-fastpath: connect, say everything, then say what changed.

The connection is made again for ever; each new one gets the whole table, because the process at
the other end may be a new one. Before the first plan nothing is sent at all: the fast path then
goes on with the table of the lb-speaker before us. A process that hangs keeps its end open: it is
known by its silence, since lb-fastpath sends its counters every 10 s. What it reports is handed to callbacks, in
the order of arrival. Started by `speaker.main`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lbctl.model.address import Address
from lbctl.model.membership import Instant
from lbctl.model.names import LinkName
from speaker.agent.report import FastpathState
from speaker.agent.table import Commanded
from speaker.wire.control import (
    MAX_FRAME,
    AddressCount,
    AddressCounts,
    Announced,
    Applied,
    Counters,
    Decoder,
    Delta,
    Heard,
    Hello,
    LinkFault,
    LinkOk,
    Message,
    Refused,
    Yielded,
    encode,
    greet,
)
from speaker.wire.error import WireError

AGAIN_S: Final = 0.25
"""Pause between two attempts to connect; the socket is local, so it costs nothing."""
GREETING_S: Final = 5.0
SILENCE_S: Final = 25.0
"""Nothing heard for so long: at least two reports of counters are missing."""
UNREAD_CAP: Final = 2 * MAX_FRAME
"""Bytes that may wait in our memory for a process that does not read; a whole table fits twice."""
READ_BYTES: Final = 1 << 16

logger = logging.getLogger(__name__)


class FastpathClient:
    """Hold the connection; `run` is its life, `command` says what should be in force."""

    def __init__(
        self,
        path: Path,
        *,
        hello: Hello,
        clock: Callable[[], Instant],
        on_change: Callable[[], None],
        on_heard: Callable[[Heard], None],
        on_yielded: Callable[[Address], None],
        on_stale: Callable[[int], None],
        silence_s: float = SILENCE_S,
        unread_cap: int = UNREAD_CAP,
    ) -> None:
        self.counters = Counters()
        self.addresses: dict[Address, AddressCount] = {}
        """Counters of addresses in the table that something happened for."""
        self.connects = 0
        self.problem: str | None = f"lb-fastpath has not been reached at {path} yet"
        self._path = path
        self._hello = hello
        self._clock = clock
        self._on_change = on_change
        self._on_heard = on_heard
        self._on_yielded = on_yielded
        self._on_stale = on_stale
        self._silence_s = silence_s
        self._unread_cap = unread_cap
        self._reader: asyncio.StreamReader | None = None
        self._since = clock()
        self._faults: dict[tuple[LinkName, int], str] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._wanted: Commanded | None = None
        self._sent: Commanded | None = None
        self._revision = 0

    @property
    def state(self) -> FastpathState:
        return FastpathState(
            connected=self._writer is not None, since=self._since, faults=dict(self._faults)
        )

    def command(self, wanted: Commanded) -> None:
        """Put `wanted` in force, now or as soon as there is a connection."""
        self._wanted = wanted
        self._send_wanted()

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        while True:
            try:
                await self._converse()
            except (OSError, WireError, TimeoutError) as error:
                self._lost(str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN_S)

    async def _converse(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        decoder = Decoder()
        try:
            writer.write(encode(self._hello))
            first, *others = await _next_messages(reader, decoder, within_s=GREETING_S)
            greet(first)
            self._connected(reader, writer)
            while True:
                for message in others:
                    self._take(message)
                others = await _next_messages(reader, decoder, within_s=self._silence_s)
        except (OSError, WireError):
            # Without waiting for what is unsent: a process that hangs would never take it.
            writer.transport.abort()
            raise
        finally:
            writer.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._since = self._clock()
        self._sent = None
        self.connects += 1
        self.problem = None
        logger.info("connected to lb-fastpath")
        self._send_wanted()
        self._on_change()

    def _lost(self, why: str) -> None:
        problem = f"no connection to lb-fastpath at {self._path}: {why}"
        if problem != self.problem:
            logger.warning("%s", problem)
        self.problem = problem
        if self._writer is not None:
            self._reader = self._writer = None
            self._since = self._clock()
            self._faults.clear()
            self._on_change()

    def _send_wanted(self) -> None:
        if self._writer is None or self._wanted is None:
            return
        message: Message | None
        if self._sent is None:
            message = self._wanted.whole(self._revision + 1)
            self.addresses.clear()
        else:
            message = self._wanted.since(self._sent, self._revision + 1)
        if message is not None:
            self._revision += 1
            self._write(self._writer, encode(message))
        if isinstance(message, Delta):
            for removal in message.remove:
                self.addresses.pop(removal.address, None)
        self._sent = self._wanted

    def _write(self, writer: asyncio.StreamWriter, frame: bytes) -> None:
        transport = writer.transport
        if transport.is_closing():
            # `run` is about to learn of it.
            return
        if self._reader is not None and transport.get_write_buffer_size() > self._unread_cap:
            self._reader.set_exception(ConnectionAbortedError("lb-fastpath reads nothing"))
            transport.abort()
            return
        writer.write(frame)

    def _take(self, message: Message) -> None:
        match message:
            case Heard():
                if message.peer:
                    self._on_heard(message)
            case Yielded():
                self._on_yielded(message.address)
            case Applied():
                if message.refused:
                    # What is in force is not what we said: a removal that was too old would
                    # never be said again. The whole table removes whatever it does not name.
                    self._sent = None
                for stale in message.refused:
                    self._on_stale(stale.known.number)
            case LinkFault():
                logger.warning("link %s: %s", message.link, message.message)
                self._faults[message.link, message.family] = message.message
                self._on_change()
            case LinkOk():
                if self._faults.pop((message.link, message.family), None) is not None:
                    self._on_change()
            case Counters():
                self.counters = message
            case AddressCounts():
                self._count(message)
            case Refused():
                raise WireError(message.message)
            case Announced():
                logger.debug("announced %s on %s", message.address, message.link)
            case _:
                logger.warning("lb-fastpath sent %s, which is no report", type(message).__name__)

    def _count(self, counts: AddressCounts) -> None:
        wanted = self._wanted.entries if self._wanted is not None else {}
        for count in counts.addresses:
            if count.address in wanted:  # else it was told before it was removed
                self.addresses[count.address] = count


async def _next_messages(
    reader: asyncio.StreamReader, decoder: Decoder, *, within_s: float
) -> list[Message]:
    """Return the next messages, one at least.

    Raises:
        ConnectionResetError: the other end closed the connection.
        TimeoutError: it sent no whole message within `within_s`.
        WireError: it sent something that is no message.

    """
    try:
        async with asyncio.timeout(within_s):
            while True:
                data = await reader.read(READ_BYTES)
                if not data:
                    decoder.end()
                    raise ConnectionResetError("lb-fastpath closed the connection")
                messages = decoder.feed(data)
                if messages:
                    return messages
    except TimeoutError as error:
        raise TimeoutError(f"lb-fastpath said nothing for {within_s:g} s: it hangs") from error


def values_by_link(counters: Counters) -> Mapping[tuple[str, str], int]:
    """Return every counter by (name, link); the link is empty for the process."""
    values = {(name, ""): value for name, value in counters.totals.items()}
    for link, counts in counters.links.items():
        values |= {(name, str(link)): value for name, value in counts.items()}
    return values
