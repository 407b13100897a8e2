"""Ask a responder by ARP from one namespace and measure latency and rate.

Usage: arp_generator.py LINK FIRST COUNT [--own ADDRESS] [--latency N] [--seconds S] [--burst N]

Prints one JSON object: p50 and p99 of N requests sent one at a time; replies/s with two bursts of
questions outstanding, so that the responder never waits for the asker; and how many were lost.
It keeps one core for itself while it measures the rate. Bursts go out and come in by sendmmsg(2)
and recvmmsg(2), which the socket module lacks: with one call a frame the asker was slower than what
it measured. What it can ask and count at most is not less than the kernel's own answers measured
by the same program.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from speaker.wire import arp
from speaker.wire.ethernet import ETHERTYPE_ARP, parse_mac

_FRAME: Final = 64
_MSG_WAITFORONE: Final = 0x10000
_LOST_S: Final = 0.2
"""Silence after which what is outstanding counts as lost."""
_REPLY: Final = b"\0\2"
_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


class _Burst:
    """Hold frames side by side in one buffer, and the headers that name them to the kernel."""

    def __init__(self, size: int, frames: Collection[bytes] = ()) -> None:
        self.buffer = bytearray(size * _FRAME)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))
        self._vectors = (_Vector * size)()
        self._messages = (_Message * size)()
        self.size = size
        for index, vector in enumerate(self._vectors):
            vector.base, vector.length = start + index * _FRAME, _FRAME
            self._messages[index].header.vectors = ctypes.pointer(vector)
            self._messages[index].header.vector_count = 1
        for index, frame in enumerate(frames):
            self.buffer[index * _FRAME : index * _FRAME + len(frame)] = frame
            self._vectors[index].length = len(frame)

    def send(self, wire: socket.socket) -> None:
        if _libc.sendmmsg(wire.fileno(), self._messages, self.size, 0) != self.size:
            raise OSError(ctypes.get_errno(), "a burst did not leave")

    def receive(self, wire: socket.socket) -> int:
        """Return how many frames are in the buffer now; 0 after `_LOST_S` without any."""
        count: int = _libc.recvmmsg(wire.fileno(), self._messages, self.size, _MSG_WAITFORONE, None)
        if count < 0:
            if ctypes.get_errno() == errno.EAGAIN:
                return 0
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return count


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("link")
    parser.add_argument("first", type=IPv4Address)
    parser.add_argument("count", type=int)
    parser.add_argument("--own", type=IPv4Address, default=IPv4Address("198.51.100.250"))
    parser.add_argument("--latency", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--burst", type=int, default=64)
    options = parser.parse_args()
    mac = parse_mac(Path(f"/sys/class/net/{options.link}/address").read_text().strip())
    questions = [
        arp.request(mac=mac, sender=options.own, target=options.first + number).encode()
        for number in range(options.count)
    ]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((options.link, ETHERTYPE_ARP))
        wire.settimeout(1)
        latencies = sorted(
            _ask(wire, questions[n % len(questions)]) for n in range(options.latency)
        )
        burst = _Burst(options.burst, [questions[n % len(questions)] for n in range(options.burst)])
        # The scheduler likes to put asker and responder, which wake each other, on one core.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        rate, lost = _rate(wire, burst, options.seconds)
    p50, p99 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    found = {"p50_us": p50 * 1e6, "p99_us": p99 * 1e6, "replies_per_s": rate, "lost": lost}
    print(json.dumps(found))


def _ask(wire: socket.socket, question: bytes) -> float:
    """Return the seconds from asking to the answer for this target; 500 questions a second."""
    time.sleep(0.002)
    begun = time.perf_counter()
    wire.send(question)
    while (frame := wire.recv(64))[20:22] != _REPLY or frame[28:32] != question[38:42]:
        continue
    return time.perf_counter() - begun


def _rate(wire: socket.socket, questions: _Burst, seconds: float) -> tuple[float, int]:
    """Return replies per second and questions lost, with two bursts outstanding.

    Each reply is looked at; a burst is sent when as many questions have been answered.
    """
    wire.setblocking(True)
    timeout = struct.pack("@ll", 0, int(_LOST_S * 1e6))
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    replies = _Burst(questions.size)
    buffer, size = replies.buffer, questions.size
    asked = answered = lost = 0
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        while asked - answered - lost <= size:
            questions.send(wire)
            asked += size
        count = replies.receive(wire)
        if not count:
            lost = asked - answered
        for start in range(0, count * _FRAME, _FRAME):
            if buffer[start + 20 : start + 22] == _REPLY:
                answered += 1
    return answered / (time.perf_counter() - begun), lost


if __name__ == "__main__":
    main()
