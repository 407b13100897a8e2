"""lb-fastpath as a process of its own, and the lb-speaker end of its control socket."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from lbctl.model.names import Incarnation, LinkName, NodeName
from speaker.wire.control import (
    Applied,
    Decoder,
    Delta,
    Entry,
    Epoch,
    Hello,
    Message,
    Mode,
    Removal,
    Table,
    encode,
)
from speaker.wire.ethernet import Mac

M = TypeVar("M", bound=Message)
ONLY_NET_RAW = ("setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all")
NO_CAPABILITY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


class FastPathProcess:
    """Run lb-fastpath in a namespace with the capability NET_RAW and no other."""

    def __init__(
        self, namespace: str, path: Path, *, program: tuple[str, ...] = ("-m", "speaker.fastpath")
    ) -> None:
        self.path = path
        self.process = subprocess.Popen(
            [
                *("ip", "netns", "exec", namespace, *ONLY_NET_RAW),
                *(sys.executable, *program),
                *("--socket", str(path), "--listen", "127.0.0.1:9433", "--log-level", "debug"),
            ],
            stderr=subprocess.PIPE,
        )

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it and return status and log."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=10)
        return self.process.returncode, log.decode()

    @property
    def running(self) -> bool:
        return self.process.poll() is None


class SpeakerEnd:
    """Speak lb-speaker's part of the control protocol, message by message."""

    def __init__(self, path: Path, *, hello: bool = True) -> None:
        self._decoder = Decoder()
        self._inbox: list[Message] = []
        self._revision = 0
        self.socket = _connect(path)
        self.closed = False
        if hello:
            self.send(Hello(node=NodeName("node-a"), incarnation=Incarnation("1")))

    def send(self, message: Message) -> None:
        self.socket.sendall(encode(message))

    def table(self, *entries: Entry, peers: tuple[bytes, ...] = ()) -> Applied:
        self._revision += 1
        links = (LinkName("eth0"),)
        macs = tuple(Mac(peer) for peer in peers)
        self.send(Table(revision=self._revision, entries=entries, links=links, peers=macs))
        return self.expect(Applied, keep=True, revision=self._revision)

    def delta(
        self,
        *upsert: Entry,
        remove: tuple[Removal, ...] = (),
        router_links: tuple[LinkName, ...] | None = None,
    ) -> Applied:
        self._revision += 1
        revision = self._revision
        self.send(Delta(revision=revision, upsert=upsert, remove=remove, router_links=router_links))
        return self.expect(Applied, keep=True, revision=self._revision)

    def expect(
        self, kind: type[M], *, within_s: float = 10.0, keep: bool = False, **wanted: object
    ) -> M:
        """Return the next message of `kind` whose fields are `wanted`.

        Messages before it are lost, unless `keep` leaves them for the next question.
        """
        end = time.monotonic() + within_s
        while True:
            for index, message in enumerate(self._inbox):
                if isinstance(message, kind) and all(
                    getattr(message, name) == value for name, value in wanted.items()
                ):
                    del self._inbox[index if keep else 0 : index + 1]
                    return message
            if self.closed or time.monotonic() > end:
                raise AssertionError(
                    f"no {kind.__name__} {wanted} (closed: {self.closed}) in {self._inbox[-5:]}"
                )
            self._receive(end - time.monotonic())

    def expect_close(self) -> None:
        """Read until the other end closes."""
        end = time.monotonic() + 10
        while not self.closed and time.monotonic() < end:
            self._receive(end - time.monotonic())
        assert self.closed, "the connection was not closed"

    def close(self) -> None:
        self.socket.close()

    def _receive(self, patience_s: float) -> None:
        self.socket.settimeout(max(0.01, patience_s))
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return
        except ConnectionResetError:
            data = b""
        self.closed = not data
        self._inbox += self._decoder.feed(data)


def entry(
    address: str,
    *,
    number: int = 1,
    mode: Mode = Mode.OWN,
    announce: bool = True,
    links: tuple[str, ...] = ("eth0",),
) -> Entry:
    return Entry(
        address=ip_address(address),
        links=tuple(LinkName(link) for link in links),
        epoch=Epoch(generation=1, number=number),
        mode=mode,
        announce=announce,
    )


def removal(address: str, *, number: int = 1) -> Removal:
    return Removal(address=ip_address(address), epoch=Epoch(generation=1, number=number))


def _connect(path: Path) -> socket.socket:
    end = time.monotonic() + 10
    while True:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.connect(str(path))
        except OSError:
            opened.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return opened
