"""Measure ARP answers of lb-fastpath beside the kernel's own, on one link, in turns.

lb-fastpath runs as in the product: with NET_RAW and nothing else, its addresses sent over the
control socket. The kernel answers for addresses of the same link while lb-fastpath is there, and
the asker is the same program, so what a veth, a bridge and a Python asker cost is in both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from ipaddress import IPv4Address
from pathlib import Path

from lbctl.lab.records import Progress
from tests.bench.figures import Figure, median, slow_p99
from tests.support.fastpath_process import FastPathProcess, SpeakerEnd, entry
from tests.support.lan import Host, Lan

TURNS = 10
LATENCY_REQUESTS = 1000
RATE_SECONDS = 1.5
ADDRESSES = 50
KERNELS = IPv4Address("198.51.100.60")
FASTPATHS = IPv4Address("198.51.100.160")
P50_RATIO = 3.0
REPLIES_PER_S = 50_000


def figures(progress: Progress) -> list[Figure]:
    lan = Lan()
    try:
        with tempfile.TemporaryDirectory() as directory:
            turns = _measure(lan, Path(directory, "fastpath.sock"), progress)
    finally:
        lan.close()
    mine, kernel = ([turn[side] for turn in turns] for side in ("fastpath", "kernel"))
    p50s, kernel_p50s = ([one["p50_us"] for one in side] for side in (mine, kernel))
    rates, kernel_rates = ([one["replies_per_s"] for one in side] for side in (mine, kernel))
    ratio = median(p50s) / median(kernel_p50s)
    return [
        Figure(
            name="ARP reply, p50 of a run",
            unit="us",
            runs=TURNS,
            median=median(p50s),
            p99=median([one["p99_us"] for one in mine]),
            peer=median(kernel_p50s),
            peer_p99=median([one["p99_us"] for one in kernel]),
            peer_name="the kernel",
            ratio=ratio,
            budget=f"<= {P50_RATIO:g} x",
            holds=ratio <= P50_RATIO,
        ),
        Figure(
            name="ARP replies",
            unit="/s",
            runs=TURNS,
            median=median(rates),
            p99=slow_p99(rates),
            peer=median(kernel_rates),
            peer_p99=slow_p99(kernel_rates),
            peer_name="the kernel, or what the asker can ask",
            ratio=median(rates) / median(kernel_rates),
            budget=f">= {REPLIES_PER_S:,}/s",
            holds=median(rates) >= REPLIES_PER_S,
        ),
    ]


def _measure(lan: Lan, path: Path, progress: Progress) -> list[dict[str, dict[str, float]]]:
    asker, answerer = lan.host("asker"), lan.host("answerer")
    for number in range(ADDRESSES):
        answerer.ip("addr", "add", f"{KERNELS + number}/24", "dev", "eth0")
    process = FastPathProcess(answerer.namespace, path)
    try:
        speaker = SpeakerEnd(path)
        speaker.table(*(entry(str(FASTPATHS + number)) for number in range(ADDRESSES)))
        turns = []
        for turn in range(TURNS):
            sides = {"kernel": KERNELS, "fastpath": FASTPATHS}
            turns.append({side: _ask(asker, first) for side, first in sides.items()})
            words = ", ".join(
                f"{side} {one['p50_us']:.0f} us, {one['replies_per_s']:,.0f}/s, {one['lost']:.0f} lost"
                for side, one in turns[-1].items()
            )
            progress(f"turn {turn + 1} of {TURNS}: {words}")
        speaker.close()
    finally:
        process.process.kill()
        process.process.communicate()
    return turns


def _ask(asker: Host, first: IPv4Address) -> dict[str, float]:
    done = subprocess.run(
        [
            *("ip", "netns", "exec", asker.namespace),
            *(sys.executable, "-m", "tests.bench.arp_generator", "eth0", str(first)),
            *(str(ADDRESSES), "--latency", str(LATENCY_REQUESTS), "--seconds", str(RATE_SECONDS)),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured
