"""The event loop of lb-fastpath: asyncio's own, but packets do not queue behind its machinery.

asyncio turns each readable socket into an event, a handle and a context before it calls anybody.
That is a sixth of the time that a single question waits for its answer, so packet sockets are
read straight out of the selector, in the same thread and at the same moments. Everything else
(control socket, netlink, timers, signals) goes the usual way, and finds the loop unchanged.

The means is an epoll of our own that holds the packet sockets and, as one more member, asyncio's
epoll. Called by `speaker.fastpath` (`PacketLoop`) and `speaker.drivers.fast.port` (the rest).
"""

from __future__ import annotations

import asyncio
import select
import selectors
import socket
from collections.abc import Callable


class PacketLoop(asyncio.SelectorEventLoop):
    """Call the readers of packet sockets without detour."""

    def __init__(self) -> None:
        self._direct = _DirectSelector(self._failed)
        super().__init__(self._direct)

    def read_packets(self, opened: socket.socket, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever something waits in `opened`, until `leave_packets`."""
        self._direct.watch(opened.fileno(), on_readable)

    def leave_packets(self, opened: socket.socket) -> None:
        """Watch `opened` no more. To be called before it is closed."""
        self._direct.forget(opened.fileno())

    def _failed(self, error: Exception) -> None:
        self.call_exception_handler({"message": "a packet reader failed", "exception": error})


class _DirectSelector(selectors.EpollSelector):
    """Serve direct readers inside `select`, and return everybody else's events from it."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        super().__init__()
        self._failed = failed
        self._readers: dict[int, Callable[[], None]] = {}
        self._all = select.epoll()
        self._all.register(super().fileno(), select.EPOLLIN)

    def watch(self, descriptor: int, on_readable: Callable[[], None]) -> None:
        self._all.register(descriptor, select.EPOLLIN)
        self._readers[descriptor] = on_readable

    def forget(self, descriptor: int) -> None:
        self._all.unregister(descriptor)
        del self._readers[descriptor]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        others = False
        for descriptor, _ in self._all.poll(timeout if timeout is None else max(0.0, timeout)):
            on_readable = self._readers.get(descriptor)
            if on_readable is None:
                others = True
                continue
            try:
                on_readable()
            except Exception as error:  # noqa: BLE001 - as asyncio's own handles: the loop goes on
                self._failed(error)
        return super().select(0) if others else []

    def close(self) -> None:
        self._all.close()
        super().close()


def packet_loop() -> PacketLoop:
    """Return the running loop, which has to be one of these."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, PacketLoop)
    return loop
