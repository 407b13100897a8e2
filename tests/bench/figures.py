"""Print what was measured as one table: figure, runs, median, p99, peer, ratio, budget.

A bench returns `Figure` values; whether the budget holds is printed, never asserted, because
machines are noisy: the reader compares the ratio, not the absolute.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Hold one row. `peer` is the floor or the competitor measured in the same run."""

    name: str
    unit: str
    runs: int
    median: float
    p99: float | None = None
    peer: float | None = None
    peer_p99: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    budget: str = ""
    holds: bool | None = None


def p99(samples: Sequence[float]) -> float:
    """Return the 99th percentile; below 100 samples that is the maximum."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def slow_p99(rates: Sequence[float]) -> float:
    """Return the rate of the 99th slowest percentile: for a rate the bad end is the low one."""
    return -p99([-rate for rate in rates])


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def machine() -> str:
    """Return what the figures belong to; the load says whether something else was running."""
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return (
        f"{os.cpu_count()} cores, {memory_kib / 2**20:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.2f} at the start"
    )


def table(figures: Sequence[Figure]) -> str:
    """Render the figures as a Markdown table."""
    rows = [
        "| figure | runs | median | p99 | peer of the same run | ratio | budget | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in figures:
        holds = {None: "-", True: "yes", False: "NO"}[one.holds]
        rows.append(
            f"| {one.name} | {one.runs} | {_number(one.median)} {one.unit} | {_number(one.p99)} "
            f"| {_peer(one)} | {_number(one.ratio)} | {one.budget or '-'} | {holds} |"
        )
    return "\n".join(rows)


def _peer(figure: Figure) -> str:
    if figure.peer is None:
        return "-"
    tail = f", p99 {_number(figure.peer_p99)}" if figure.peer_p99 is not None else ""
    return f"{_number(figure.peer)} {figure.unit}{tail} ({figure.peer_name})"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
