"""Print what was measured as one table: figure, runs, median, p99, peer of the same run, ratio, budget.

A bench returns `Figure` values; whether the budget holds is printed, never asserted, because
these machines are noisy: the reader compares the ratio, not the absolute.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Hold one row. `peer` is the floor or the competitor measured in the same run."""

    name: str
    unit: str
    runs: int
    median: float
    p99: float | None = None
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    budget: str = ""
    holds: bool | None = None


def p99(samples: Sequence[float]) -> float:
    """Return the 99th percentile; below 100 samples that is the maximum."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def machine() -> str:
    with open("/proc/meminfo") as meminfo:  # noqa: PTH123 - a pseudo-file, read once
        memory_kib = int(meminfo.readline().split()[1])
    with open("/proc/cpuinfo") as cpuinfo:  # noqa: PTH123 - a pseudo-file, read once
        cores = sum(line.startswith("processor") for line in cpuinfo)
    return f"{cores} cores, {memory_kib / 2**20:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def table(figures: Sequence[Figure]) -> str:
    """Render the figures as a Markdown table."""
    rows = [
        "| figure | runs | median | p99 | peer of the same run | ratio | budget | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for figure in figures:
        peer = (
            f"{_number(figure.peer)} {figure.unit} ({figure.peer_name})"
            if figure.peer is not None
            else "-"
        )
        holds = {None: "-", True: "yes", False: "NO"}[figure.holds]
        rows.append(
            f"| {figure.name} | {figure.runs} | {_number(figure.median)} {figure.unit} | {_number(figure.p99)} | {peer} "
            f"| {_number(figure.ratio)} | {figure.budget or '-'} | {holds} |"
        )
    return "\n".join(rows)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
