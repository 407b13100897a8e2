"""Ask a responder by ARP from one namespace and measure latency and rate.

Usage: arp_generator.py LINK FIRST COUNT [--own ADDRESS] [--latency N] [--seconds S] [--window N]

Prints one JSON object: p50 and p99 of N requests sent one at a time, replies/s with WINDOW
requests outstanding. Limit: it is Python and needs one core for itself; it saturates below
100,000 replies/s on the machines tried, so a rate near that is the generator's and not the
responder's. Compare with the kernel's own answers measured by the same program.
"""

from __future__ import annotations

import argparse
import json
import socket
import time
from ipaddress import IPv4Address
from pathlib import Path

from speaker.wire import arp
from speaker.wire.ethernet import ETHERTYPE_ARP, parse_mac


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("link")
    parser.add_argument("first", type=IPv4Address)
    parser.add_argument("count", type=int)
    parser.add_argument("--own", type=IPv4Address, default=IPv4Address("198.51.100.250"))
    parser.add_argument("--latency", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--window", type=int, default=64)
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
        rate = _rate(wire, questions, options.seconds, options.window)
    p50, p99 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    print(json.dumps({"p50_us": p50 * 1e6, "p99_us": p99 * 1e6, "replies_per_s": rate}))


def _ask(wire: socket.socket, question: bytes) -> float:
    """Return the seconds from asking to the answer for this target; 500 questions a second."""
    time.sleep(0.002)
    begun = time.perf_counter()
    wire.send(question)
    while (frame := wire.recv(64))[20:22] != b"\0\2" or frame[28:32] != question[38:42]:
        continue
    return time.perf_counter() - begun


def _rate(wire: socket.socket, questions: list[bytes], seconds: float, window: int) -> float:
    """Keep `window` questions outstanding; a reply lost would only make the window smaller."""
    send, receive, count = wire.send, wire.recv, len(questions)
    for number in range(window):
        send(questions[number % count])
    answered = 0
    begun = time.perf_counter()
    while answered % 256 or time.perf_counter() - begun < seconds:
        if receive(64)[20:22] == b"\0\2":
            answered += 1
            send(questions[answered % count])
    return answered / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
