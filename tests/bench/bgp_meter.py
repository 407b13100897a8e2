"""Measure a BGP speaker from outside: the bytes on the router's wire, the routes in FRR's table.

The moment of a packet is the kernel's (SO_TIMESTAMPNS), so it does not depend on when this
process runs; FRR is asked over its own socket, not by vtysh, which takes 20 ms to start.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.support.lan import Host, inside

_SO_TIMESTAMPNS = 35
_ETHERTYPE_IPV4 = 0x0800
_MARKER = b"\xff" * 16
_TCP, _UPDATE = 6, 2
_EMPTY_UPDATE = 23
_POLL_S = 0.002
_UNTIL_S = 60.0


class Wire:
    """Wait for the first UPDATE with routes that comes from `source`."""

    def __init__(self, router: Host, source: str) -> None:
        with inside(router.namespace):
            self._opened = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE_IPV4)
            )
        self._opened.bind(("eth0", _ETHERTYPE_IPV4))
        self._opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._opened.settimeout(_UNTIL_S)
        self._source = socket.inet_aton(source)
        self._seen_ns: int | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def first_s(self) -> float:
        """Return the wall clock's time of the first UPDATE."""
        self._thread.join(_UNTIL_S)
        assert self._seen_ns is not None, "no UPDATE was seen"
        return self._seen_ns / 1e9

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while self._seen_ns is None:
                frame, ancillary, *_ = self._opened.recvmsg(65536, 64)
                if frame[23] == _TCP and frame[26:30] == self._source and _has_routes(frame):
                    seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
                    self._seen_ns = seconds * 1_000_000_000 + nanoseconds


def _has_routes(frame: bytes) -> bool:
    """Return whether an UPDATE that is no End-of-RIB of IPv4 begins in the frame.

    The search begins behind TCP's header: a time stamp that ends in 0xff looks like a marker.
    """
    tcp = 14 + 4 * (frame[14] & 0xF)
    at = frame.find(_MARKER, tcp + 4 * (frame[tcp + 12] >> 4))
    while at >= 0 and at + 19 <= len(frame):
        length, kind = struct.unpack_from("!HB", frame, at + 16)
        if kind == _UPDATE and length > _EMPTY_UPDATE:
            return True
        at = frame.find(_MARKER, at + max(length, 16))
    return False


class Vty:
    """Ask bgpd over its socket."""

    def __init__(self, folder: Path) -> None:
        self._opened = socket.socket(socket.AF_UNIX)
        self._opened.connect(str(folder / "bgpd.vty"))
        self._ask("enable")

    def close(self) -> None:
        self._opened.close()

    def summary(self) -> dict[str, Any]:
        """Return what bgpd says of each IPv4 neighbor."""
        peers: dict[str, Any] = json.loads(self._ask("show bgp ipv4 unicast summary json"))["peers"]
        return peers

    def until_received(self, neighbor: str, count: int) -> float:
        """Wait until bgpd has so many routes of a neighbor; return the wall clock's time then."""
        end = time.monotonic() + _UNTIL_S
        while self.summary().get(neighbor, {}).get("pfxRcd", 0) != count:
            assert time.monotonic() < end, f"{neighbor} never had {count} routes"
            time.sleep(_POLL_S)
        return time.time()

    def _ask(self, words: str) -> str:
        self._opened.sendall(words.encode() + b"\0")
        answer = b""
        # An answer ends with three zero bytes and the status.
        while len(answer) < 4 or answer[-4:-1] != b"\0\0\0":
            read = self._opened.recv(1 << 20)
            assert read, "bgpd has closed its socket"
            answer += read
        return answer[:-4].decode()


@contextlib.contextmanager
def asked(folder: Path) -> Iterator[Vty]:
    vty = Vty(folder)
    try:
        yield vty
    finally:
        vty.close()
