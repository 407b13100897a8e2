"""Measure the controller and the command in a cluster of 10,000 Services and 1,000 Nodes.

Run inside the control plane's network namespace, on the host of a lab with lbctl and no pool:
`python -m tests.bench.scale --kubeconfig FILE --kubectl FILE`. It makes the cluster while no
controller runs, starts two, ends and starts them again, and prints one JSON object. The
floors are the same requests made by this program, to Services of a class that nobody serves.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lbctl.api.credentials import load_kubeconfig
from lbctl.api.session import MERGE_PATCH, ApiSession
from tests.bench import commands, processes
from tests.bench import scale_world as world
from tests.bench.replicas import Replicas
from tests.bench.status_writes import (
    IDLE_GAP_S,
    NAMESPACE,
    POOL,
    Bench,
    bounded,
    make_namespace,
    watching,
)

FLOOR_WRITES = 1_500
"""Half of them before the product writes and half after it."""
LATENCY_RUNS = 200
FREED_RUNS = 100
RESTARTS = 3
BEATS = 2_000
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
NODES = "/api/v1/nodes"
REPORT_S = 10.0
IDLE_S = 10.0


class Scale:
    """The phases, in the order of `measure`; each needs what those before it left."""

    def __init__(
        self,
        session: ApiSession,
        bench: Bench,
        replicas: Replicas,
        services: int,
        kubeconfig: Path,
    ) -> None:
        self.kubeconfig = kubeconfig
        self.session = session
        self.bench = bench
        self.replicas = replicas
        self.names = [f"web-{number:05}" for number in range(services)]
        self.floor = [f"floor-{number:05}" for number in range(FLOOR_WRITES)]
        self.memory: list[tuple[str, float, float]] = []

    async def make(self) -> None:
        """Make everything; the Services wait, because no controller runs."""
        await self.replicas.scale(0)
        for pool in world.pools():
            await self.session.request("POST", POOL, body=pool)
        await self._create(NODES, map(world.node, range(world.NODES)))
        await self._create(SLICES, map(world.endpoint_slice, self.names, itertools.count()))
        await self._create(self.bench.path, map(world.service, self.names))
        await bounded(self.bench.create(name, floor=True) for name in self.floor)
        await self.bench.seen.until({*self.names, *self.floor}, self.bench.seen.added, 120)
        # The controller-manager takes the taint of a new Node away, one Node after the other.
        await _steady(self._node_versions, pause_s=3.0, timeout_s=300.0)

    async def _create(self, collection: str, bodies: Iterable[dict[str, Any]]) -> None:
        await bounded(self.session.request("POST", collection, body=body) for body in bodies)

    async def pending(self) -> dict[str, float]:
        """Return writes per second: the product's for all Services, ours before and after it."""
        half = len(self.floor) // 2
        before = await self.bench.patch_all(set(self.floor[:half]))
        await self.replicas.scale(2)
        await self.bench.seen.until(set(self.names), self.bench.seen.addressed, 900)
        self.remember("all addresses given")
        await self.settled()
        after = await self.bench.patch_all(set(self.floor[half:]))
        return {
            "product": self.bench.rate(set(self.names)),
            "floor_before": before,
            "floor_after": after,
        }

    async def settled(self) -> None:
        """Wait until nothing is written any more: Events and the conditions of less weight."""
        say("waiting for Events and conditions")

        async def written() -> tuple[int, int]:
            return self.bench.seen.changes, await self.bench.events()

        await _steady(written, pause_s=5.0, timeout_s=900.0)

    async def freed(self) -> dict[str, list[float]]:
        """Return ms from the wish to delete the holder of an address to its next holder's status.

        The pool has that one address; the floor deletes a Service and writes the status of another.
        """
        took: dict[str, list[float]] = {"product": [], "floor": []}
        holder = await self._tight(0)
        await self.bench.seen.until({holder}, self.bench.seen.addressed, 30)
        for run in range(1, FREED_RUNS + 1):
            waiting = await self._tight(run)
            await self.bench.seen.until({waiting}, self.bench.seen.judged, 30)
            await asyncio.sleep(IDLE_GAP_S)
            took["product"].append(await self._passed_on(holder, waiting))
            holder = waiting
        names = [f"passed-{run}" for run in range(FREED_RUNS + 1)]
        for name in names:
            await self.bench.create(name, floor=True)
        await self.bench.seen.until(set(names), self.bench.seen.added, 30)
        for former, heir in itertools.pairwise(names):
            await asyncio.sleep(IDLE_GAP_S)
            took["floor"].append(await self._passed_on(former, heir, by_us=True))
        for name in (holder, names[-1]):
            await self.bench.delete(name)
        return took

    async def _tight(self, run: int) -> str:
        name = f"tight-{run}"
        body = world.service(name, annotations={"lbctl.io/address-pool": world.TIGHT})
        await self.session.request("POST", self.bench.path, body=body)
        return name

    async def _passed_on(self, former: str, heir: str, *, by_us: bool = False) -> float:
        begun = time.perf_counter()
        await self.bench.delete(former)
        if by_us:
            await self.bench.patch_status(heir)
        await self.bench.seen.until({heir}, self.bench.seen.addressed, 30)
        return (self.bench.seen.addressed[heir] - begun) * 1000

    async def taken_over(self) -> list[float]:
        """Return seconds from a Lease that its holder gave up to an address of the next leader."""
        took = []
        for run in range(RESTARTS):
            leader = await self.replicas.leader()
            await self.replicas.delete(leader)
            await self.replicas.free_of(leader)
            begun = time.perf_counter()
            took.append(await self._probe(f"taken-{run}") - begun)
            say(f"taken over after {took[-1]:.2f} s")
            await self.replicas.ready(2)
        return took

    async def started(self) -> list[float]:
        """Return seconds from the start of a process, the Lease free, to the first new address."""
        took = []
        for run in range(RESTARTS):
            await self.replicas.scale(0)
            probe = asyncio.create_task(self._probe(f"started-{run}"))
            await asyncio.sleep(1)
            await self.replicas.scale(2)
            seen = await probe
            pids = await self.replicas.processes()
            age = processes.age_s(pids[await self.replicas.leader()])
            took.append(age - (time.perf_counter() - seen))
            say(f"started: first address after {took[-1]:.2f} s")
            await self.replicas.ready(2)
        return took

    async def _probe(self, name: str) -> float:
        """Make a Service and return the moment at which it was seen with an address."""
        await self.session.request("POST", self.bench.path, body=world.service(name))
        await self.bench.seen.until({name}, self.bench.seen.addressed, 120)
        return self.bench.seen.addressed[name]

    async def versions(self) -> dict[str, str]:
        """Return the resourceVersion of each of the 10,000: every write would change it."""
        body = (await self.session.request("GET", self.bench.path)).body
        found = {i["metadata"]["name"]: i["metadata"]["resourceVersion"] for i in body["items"]}
        return {name: found[name] for name in self.names}

    async def _node_versions(self) -> set[str]:
        body = (await self.session.request("GET", NODES)).body
        return {item["metadata"]["resourceVersion"] for item in body["items"]}

    async def events(
        self, collection: str, change: Callable[[int], tuple[str, dict[str, Any]]]
    ) -> dict[str, float]:
        """Return ms of CPU that one event costs the leader, of `BEATS` that concern nobody.

        The floor is a process that reads the same events and does nothing with them.
        """
        pid = (await self.replicas.processes())[await self.replicas.leader()]
        bare = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.bare_watch", str(self.kubeconfig), collection),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert bare.stdout is not None
            async with asyncio.timeout(30):
                assert await bare.stdout.readline() == b"ready\n"
            idle_before = await self._idle(pid)
            begun, before = time.perf_counter(), processes.cpu_s([pid])
            bare_before = processes.cpu_s([bare.pid])
            await bounded(self._patch(*change(number)) for number in range(BEATS))
            await asyncio.sleep(1)
            spent, took = processes.cpu_s([pid]) - before, time.perf_counter() - begun
            floor = processes.cpu_s([bare.pid]) - bare_before
        finally:
            bare.kill()
            await bare.wait()
        # Whatever else it does comes and goes; what it does always is the lesser of the two.
        idle = min(idle_before, await self._idle(pid))
        return {
            "product": (spent - idle * took) / BEATS * 1000,
            "floor": floor / BEATS * 1000,
        }

    @staticmethod
    async def _idle(pid: int) -> float:
        """Return the CPU seconds that a process takes in a second without events."""
        begun, before = time.perf_counter(), processes.cpu_s([pid])
        await asyncio.sleep(IDLE_S)
        return (processes.cpu_s([pid]) - before) / (time.perf_counter() - begun)

    async def _patch(self, path: str, body: dict[str, Any]) -> None:
        await self.session.request("PATCH", path, body=body, content_type=MERGE_PATCH)

    def heartbeat(self, number: int) -> tuple[str, dict[str, Any]]:
        beat = f"2026-01-02T00:{number // 60:02}:{number % 60:02}Z"
        path = f"{NODES}/{world.node_name(number % world.NODES)}/status"
        return path, {"status": {"conditions": world.conditions(beat)}}

    def touched_slice(self, number: int) -> tuple[str, dict[str, Any]]:
        path = f"{SLICES}/{world.slice_name(self.names[number % len(self.names)])}"
        return path, {"endpoints": world.endpoints(number, zone="b")}

    def remember(self, moment: str) -> None:
        """Note the memory of every replica, now and at most."""
        for pid in self.replicas.pids.values():
            now, most = (processes.resident_mib(pid, row) for row in ("VmRSS", "VmHWM"))
            say(f"memory, {moment}: {now:.0f} MiB, at most {most:.0f} MiB")
            self.memory.append((moment, now, most))


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    async with ApiSession(load_kubeconfig(options.kubeconfig)) as session:
        await make_namespace(session)
        bench = Bench(session)
        scale = Scale(session, bench, Replicas(session), options.services, options.kubeconfig)
        async with watching(bench), _reporting(bench, scale.names):
            say(f"making {options.services:,} Services and {world.NODES:,} Nodes")
            await scale.make()
            say("giving every Service an address")
            pending = await scale.pending()
            say(f"one Service at a time, {LATENCY_RUNS} runs")
            latency = await bench.latency(LATENCY_RUNS)
            say(f"freed addresses, {FREED_RUNS} runs")
            freed = await scale.freed()
            await scale.settled()
            before = await scale.versions()
            say("ending and starting the controllers")
            taken_over = await scale.taken_over()
            started = await scale.started()
            await scale.settled()
            scale.remember("after restarts")
            say(f"{BEATS} Node events, {BEATS} EndpointSlice events")
            node_ms = await scale.events(NODES, scale.heartbeat)
            slice_ms = await scale.events(SLICES, scale.touched_slice)
            after = await scale.versions()
            say("the command")
            words = await commands.timed(options.kubeconfig, options.kubectl)
    return {
        "pending": pending,
        "latency_ms": latency,
        "freed_ms": freed,
        "taken_over_s": taken_over,
        "started_s": started,
        "changed": sum(before[name] != after[name] for name in before),
        "node_ms": node_ms,
        "slice_ms": slice_ms,
        "memory_mib": scale.memory,
        "commands_s": words,
    }


async def _steady(look: Callable[[], Any], *, pause_s: float, timeout_s: float) -> None:
    """Return once two looks in a row see the same."""
    before = None
    async with asyncio.timeout(timeout_s):
        while (now := await look()) != before:
            before = now
            await asyncio.sleep(pause_s)


@asynccontextmanager
async def _reporting(bench: Bench, names: Collection[str]) -> AsyncIterator[None]:
    """Say now and then how many Services there are and have an address, while that changes."""

    async def report() -> None:
        before = None
        while True:
            await asyncio.sleep(REPORT_S)
            counts = [
                len(which.keys() & set(names)) for which in (bench.seen.added, bench.seen.addressed)
            ]
            if counts != before:
                say(f"{counts[0]:,} Services seen, {counts[1]:,} with an address")
            before = counts

    task = asyncio.create_task(report())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--kubectl", type=Path, required=True)
    parser.add_argument("--services", type=int, required=True)
    json.dump(asyncio.run(measure(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
