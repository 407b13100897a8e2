"""Measure what the speaker's two processes of a node need: memory at 100 Services, idle CPU.

The Services have addresses that are announced and endpoints that are ready, so the processes hold
what they hold in use. A process is found by its program and its network namespace, which is the
node's. The worst of the three nodes counts.
"""

from __future__ import annotations

import time

from lbctl.lab import records
from lbctl.lab.demo import SAMPLES
from lbctl.lab.records import Progress
from tests.bench import processes
from tests.bench.figures import Figure, median
from tests.bench.product import installed
from tests.support.cluster import Cluster, eventually, service

SERVICES = 100
SETTLE_S = 15.0
IDLE_S = 60.0
MEMORY_MIB = {"lb-speaker": 60, "lb-fastpath": 30}
IDLE_PERCENT = 1.0

Processes = dict[str, dict[str, int]]
"""Node, program, process id."""


def figures(progress: Progress) -> list[Figure]:
    with installed(progress) as cluster:
        _announce(cluster, progress)
        nodes = {node: _processes(cluster, node) for node in cluster.nodes}
        # What creation left to do (Events, statuses, garbage) belongs to no idle minute.
        time.sleep(SETTLE_S)
        progress(f"idle for {IDLE_S:.0f} s")
        percent = _idle_percent(nodes)
        memory = {
            program: [processes.resident_mib(pids[program]) for pids in nodes.values()]
            for program in MEMORY_MIB
        }
    rows = [
        Figure(
            name=f"resident memory of {program}, {SERVICES} Services, worst node",
            unit="MiB",
            runs=len(mib),
            median=median(mib),
            p99=max(mib),
            budget=f"worst <= {MEMORY_MIB[program]} MiB",
            holds=max(mib) <= MEMORY_MIB[program],
        )
        for program, mib in memory.items()
    ]
    idle = Figure(
        name=f"CPU of a node's two processes, idle {IDLE_S:.0f} s, worst node",
        unit="% of a core",
        runs=len(percent),
        median=median(percent),
        p99=max(percent),
        budget=f"worst <= {IDLE_PERCENT:g} %",
        holds=max(percent) <= IDLE_PERCENT,
    )
    return [*rows, idle]


def _announce(cluster: Cluster, progress: Progress) -> None:
    progress(f"creating {SERVICES} Services")
    for sample in ("echo.yaml", "pool.yaml"):
        cluster.kube("apply", "-f", str(SAMPLES / sample))
    cluster.kube("rollout", "status", "deployment/echo", "--timeout=60s")
    cluster.apply(*(service(f"web-{number}") for number in range(SERVICES)))

    def addressed() -> bool:
        found = cluster.list("services")
        return sum(bool(one["status"]["loadBalancer"]) for one in found) == SERVICES

    eventually("every Service has an address", addressed)
    eventually(
        "every address is announced",
        lambda: len(cluster.list("servicel2statuses.lbctl.io")) == SERVICES,
    )


def _processes(cluster: Cluster, node: str) -> dict[str, int]:
    home = records.network(cluster.lab, node).stat().st_ino
    found = {
        program: pid
        for program in MEMORY_MIB
        for pid in processes.running(program)
        if processes.network(pid) == home
    }
    assert found.keys() == MEMORY_MIB.keys(), f"{node} runs only {sorted(found)}"
    return found


def _idle_percent(nodes: Processes) -> list[float]:
    """Return for each node what share of a core its processes used."""
    before = {node: processes.cpu_s(pids.values()) for node, pids in nodes.items()}
    begun = time.monotonic()
    time.sleep(IDLE_S)
    seconds = time.monotonic() - begun
    return [
        100 * (processes.cpu_s(pids.values()) - before[node]) / seconds
        for node, pids in nodes.items()
    ]
