"""Measure how soon and how fast addresses reach `status` in a lab, beside the API server's floor.

The measuring program is `tests.bench.status_writes`.
"""

from __future__ import annotations

from typing import Any

from lbctl.lab.records import Progress
from tests.bench.figures import Figure, median, p99, slow_p99
from tests.bench.product import beside_api_server, installed
from tests.support.cluster import Cluster

RUNS = 200
PENDING = 1000
TURNS = 4
"""Even: each side goes first in half of them."""
LATENCY_RATIO = 1.5
P99_ABOVE_MS = 50.0
RATE_RATIO = 0.8
TIMEOUT_S = 900


def figures(progress: Progress) -> list[Figure]:
    with installed(progress) as cluster:
        measured = measure(cluster, progress)
    latency, turns = measured["latency_ms"], measured["pending_rates"]
    mine, floor = latency["product"], latency["floor"]
    ratio = median(mine) / median(floor)
    product, raw = [turn["product"] for turn in turns], [turn["floor"] for turn in turns]
    rate_ratio = median([turn["product"] / turn["floor"] for turn in turns])
    return [
        Figure(
            name="Service created to address in status, idle",
            unit="ms",
            runs=len(mine),
            median=median(mine),
            p99=p99(mine),
            peer=median(floor),
            peer_p99=p99(floor),
            peer_name="create, patch and watch by the bench",
            ratio=ratio,
            budget=f"median <= {LATENCY_RATIO} x, p99 <= the floor's + {P99_ABOVE_MS:.0f} ms",
            holds=ratio <= LATENCY_RATIO and p99(mine) <= p99(floor) + P99_ABOVE_MS,
        ),
        Figure(
            name=f"{PENDING:,} Services pending: addresses written",
            unit="/s",
            runs=len(turns),
            median=median(product),
            p99=slow_p99(product),
            peer=median(raw),
            peer_p99=slow_p99(raw),
            peer_name="status patches by the bench",
            ratio=rate_ratio,
            budget=f"median of turns >= {RATE_RATIO} x",
            holds=rate_ratio >= RATE_RATIO,
        ),
    ]


def measure(cluster: Cluster, progress: Progress) -> Any:
    """Run the measuring program beside the API server of a lab with lbctl and no pool."""
    progress(f"{TURNS} turns of {PENDING} pending Services, then {RUNS} one at a time")
    return beside_api_server(
        cluster,
        "tests.bench.status_writes",
        *("--runs", str(RUNS), "--pending", str(PENDING), "--turns", str(TURNS)),
        timeout_s=TIMEOUT_S,
    )
