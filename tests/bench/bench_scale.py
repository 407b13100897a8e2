"""Measure the product's promises for a large cluster: 10,000 Services, 100 pools, 1,000 Nodes.

The Nodes and the endpoints are objects only; one real node runs the two controllers, and no
speaker runs. The measuring program is `tests.bench.scale`. Takes about ten minutes; with fewer
Services: python -m tests.bench.bench_scale COUNT
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Final

from lbctl.lab import records
from lbctl.lab.records import Progress
from tests.bench import scale_world as world
from tests.bench.figures import Figure, machine, median, p99, table
from tests.bench.product import beside_api_server, installed

RATE_RATIO: Final = 0.8
P99_ABOVE_MS: Final = 50.0
FREED_MS: Final = 100.0
RESTART_S: Final = 5.0
MEMORY_MIB: Final = 200.0
EVENT_MS: Final = 0.2
EXPLAIN_S: Final = 1.0
HELP_S: Final = 0.3
TIMEOUT_S: Final = 1_800.0
_NOWHERE: Final = r"speaker.nodeSelector.bench\.example/speakers=nowhere"
_AMONG: Final = f"among {world.SERVICES:,} Services"


def figures(progress: Progress, services: int = world.SERVICES) -> list[Figure]:
    # Nobody renews the Nodes' Leases: they must stay Ready for as long as this takes.
    with installed(
        progress, nodes=1, node_grace_s=3_600, values=("controller.replicas=1", _NOWHERE)
    ) as cluster:
        kubectl = str(records.load(cluster.lab).bin / "kubectl")
        measured = beside_api_server(
            cluster,
            "tests.bench.scale",
            *("--kubectl", kubectl, "--services", str(services)),
            timeout_s=TIMEOUT_S,
        )
    return [
        _pending(measured["pending"]),
        _latency(measured["latency_ms"]),
        _freed(measured["freed_ms"]),
        _restart("Lease given up, standby takes over", measured["taken_over_s"]),
        _restart("process started, Lease free", measured["started_s"]),
        _changed(measured["changed"]),
        _memory(measured["memory_mib"]),
        _event("Node heartbeat", measured["node_ms"]),
        _event("EndpointSlice event", measured["slice_ms"]),
        *_commands(measured["commands_s"]),
    ]


def _pending(rates: dict[str, float]) -> Figure:
    floor = median([rates["floor_before"], rates["floor_after"]])
    ratio = rates["product"] / floor
    return Figure(
        name=f"{world.SERVICES:,} Services pending: addresses written",
        unit="/s",
        runs=1,
        median=rates["product"],
        peer=floor,
        peer_name="status patches by the bench, before and after",
        ratio=ratio,
        budget=f">= {RATE_RATIO} x",
        holds=ratio >= RATE_RATIO,
    )


def _latency(latency: dict[str, list[float]]) -> Figure:
    mine, floor = latency["product"], latency["floor"]
    return Figure(
        name=f"Service created to address in status, {_AMONG}",
        unit="ms",
        runs=len(mine),
        median=median(mine),
        p99=p99(mine),
        peer=median(floor),
        peer_p99=p99(floor),
        peer_name="create, patch and watch by the bench",
        ratio=median(mine) / median(floor),
        budget=f"p99 <= the floor's + {P99_ABOVE_MS:.0f} ms",
        holds=p99(mine) <= p99(floor) + P99_ABOVE_MS,
    )


def _freed(took: dict[str, list[float]]) -> Figure:
    mine, floor = took["product"], took["floor"]
    return Figure(
        name=f"holder deleted to the address in the next one's status, {_AMONG}",
        unit="ms",
        runs=len(mine),
        median=median(mine),
        p99=p99(mine),
        peer=median(floor),
        peer_p99=p99(floor),
        peer_name="delete, patch and watch by the bench",
        ratio=median(mine) / median(floor),
        budget=f"p99 <= {FREED_MS:.0f} ms",
        holds=p99(mine) <= FREED_MS,
    )


def _restart(how: str, took: Sequence[float]) -> Figure:
    return Figure(
        name=f"{how}: to the first new address, {_AMONG}",
        unit="s",
        runs=len(took),
        median=median(took),
        p99=max(took),
        budget=f"worst <= {RESTART_S:.0f} s",
        holds=max(took) <= RESTART_S,
    )


def _changed(count: int) -> Figure:
    return Figure(
        name=f"Services changed by restarts, Node and EndpointSlice events, {_AMONG}",
        unit="",
        runs=1,
        median=count,
        budget="none",
        holds=count == 0,
    )


def _memory(found: Sequence[tuple[str, float, float]]) -> Figure:
    most = max(high for _, _, high in found)
    return Figure(
        name=f"resident memory of lb-controller, {_AMONG}; p99: its highest mark",
        unit="MiB",
        runs=len(found),
        median=median([now for _, now, _ in found]),
        p99=most,
        budget=f"highest mark <= {MEMORY_MIB:.0f} MiB",
        holds=most <= MEMORY_MIB,
    )


def _event(what: str, cost_ms: dict[str, float]) -> Figure:
    mine, floor = cost_ms["product"], cost_ms["floor"]
    return Figure(
        name=f"{what} that concerns nobody: CPU of the leader",
        unit="ms",
        runs=1,
        median=mine,
        peer=floor,
        peer_name="read and parsed by a process that does nothing else",
        ratio=mine / floor,
        budget=f"<= {EVENT_MS} ms",
        holds=mine <= EVENT_MS,
    )


def _commands(took: dict[str, list[float]]) -> list[Figure]:
    rows = [_command("lbctl --help", took, "python", "python -c pass", HELP_S)]
    names = [words for words in took if words.startswith("lbctl explain")]
    kubectl = "kubectl get services,nodes -A -o name"
    return [*rows, *(_command(words, took, "kubectl", kubectl, EXPLAIN_S) for words in names)]


def _command(
    words: str, took: dict[str, list[float]], peer: str, peer_name: str, budget_s: float
) -> Figure:
    return Figure(
        name=f"{words}, {_AMONG}",
        unit="s",
        runs=len(took[words]),
        median=median(took[words]),
        p99=p99(took[words]),
        peer=median(took[peer]),
        peer_name=peer_name,
        ratio=median(took[words]) / median(took[peer]),
        budget=f"median <= {budget_s} s",
        holds=median(took[words]) <= budget_s,
    )


def main() -> None:
    # An end from outside takes the lab down too, like Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    services = int(sys.argv[1])
    where = machine()
    found = figures(lambda line: print(line, file=sys.stderr, flush=True), services)
    print(f"{where}; {services:,} Services instead of {world.SERVICES:,}\n\n{table(found)}")


if __name__ == "__main__":
    main()
