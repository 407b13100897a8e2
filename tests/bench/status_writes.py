"""Measure how soon and how fast addresses reach `status`, beside the API server's own floor.

Run inside the control plane's network namespace, so that neither side pays for a forwarder:
`python -m tests.bench.status_writes --kubeconfig FILE`; the product must be installed, no pool
may exist. Prints one JSON object. The floor is this program's own create, watch, status patch
and watch on Services of a class that nobody serves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from lbctl.api.credentials import load_kubeconfig
from lbctl.api.errors import ApiRefused, ApiUnreachable
from lbctl.api.session import MERGE_PATCH, ApiSession

NAMESPACE = "bench"
FLOOR_CLASS = "bench.example/floor"
POOL_NAMESPACE = "lbctl-system"
POOL = "/apis/lbctl.io/v1beta1/namespaces/lbctl-system/ipaddresspools"
# Of the range for benchmarks, the part that no pod and no ClusterIP of a lab has.
POOL_ADDRESSES = "198.18.128.0/18"
FIRST_FLOOR_ADDRESS = "198.18.192.0"
IDLE_GAP_S = 0.05
QUIET_S = 4.0
QUIET_WITHIN_S = 120.0
CONCURRENCY = 16


@dataclass
class Seen:
    """Collect when each Service was first seen, with a condition, and with an address."""

    added: dict[str, float] = field(default_factory=dict)
    judged: dict[str, float] = field(default_factory=dict)
    addressed: dict[str, float] = field(default_factory=dict)
    changes: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, names: set[str], which: dict[str, float], timeout_s: float) -> None:
        missing = list(names)

        def complete() -> bool:
            # Looked at with every piece of the watch: among 10,000 names only at the next one.
            while missing and missing[-1] in which:
                missing.pop()
            return not missing

        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(complete)


def service(name: str, *, floor: bool) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": False,
            "ports": [{"port": 80}],
            **({"loadBalancerClass": FLOOR_CLASS} if floor else {}),
        },
    }


class Bench:
    def __init__(self, session: ApiSession) -> None:
        self.session = session
        self.seen = Seen()
        self.path = f"/api/v1/namespaces/{NAMESPACE}/services"
        self.next_address = int(ip_address(FIRST_FLOOR_ADDRESS))

    async def watch(self) -> None:
        """Note what is seen, over and over: the API server ends a watch that falls behind."""
        while True:
            listed = await self.session.request("GET", self.path)
            for found in listed.body["items"]:
                self._saw(found, time.perf_counter())
            await self._tell()
            why = "it ended"
            try:
                await self._follow(listed.body["metadata"]["resourceVersion"])
            except ApiUnreachable as error:
                why = str(error)
            print(f"the bench watches anew: {why}", file=sys.stderr, flush=True)

    async def _follow(self, version: str) -> None:
        params = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "3600"}
        async with self.session.stream(self.path, params=params, inactivity_s=600.0) as stream:
            rest = b""
            while piece := await stream.read():
                now = time.perf_counter()
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._saw(event["object"], now)
                await self._tell()

    async def _tell(self) -> None:
        async with self.seen.changed:
            self.seen.changed.notify_all()

    def _saw(self, found: dict[str, Any], now: float) -> None:
        name = found["metadata"]["name"]
        status = found.get("status", {})
        self.seen.changes += 1
        self.seen.added.setdefault(name, now)
        if status.get("conditions"):
            self.seen.judged.setdefault(name, now)
        if status.get("loadBalancer", {}).get("ingress"):
            self.seen.addressed.setdefault(name, now)

    async def create(self, name: str, *, floor: bool) -> None:
        await self.session.request("POST", self.path, body=service(name, floor=floor))

    async def delete(self, name: str) -> None:
        await self.session.request("DELETE", f"{self.path}/{name}")

    async def patch_status(self, name: str) -> None:
        """Write what a load balancer must write at the least: one ingress and one condition."""
        self.next_address += 1
        body = {
            "metadata": {"annotations": {"bench.example/pool": "floor"}},
            "status": {
                "loadBalancer": {
                    "ingress": [{"ip": str(ip_address(self.next_address)), "ipMode": "VIP"}]
                },
                "conditions": [
                    {
                        "type": "bench.example/Allocated",
                        "status": "True",
                        "reason": "Allocated",
                        "message": "written by the bench to know the floor",
                        "lastTransitionTime": "2026-01-01T00:00:00Z",
                    }
                ],
            },
        }
        await self.session.request(
            "PATCH", f"{self.path}/{name}/status", body=body, content_type=MERGE_PATCH
        )

    async def one(self, name: str, *, floor: bool) -> float:
        start = time.perf_counter()
        await self.create(name, floor=floor)
        if floor:
            await self.seen.until({name}, self.seen.added, 30)
            await self.patch_status(name)
        await self.seen.until({name}, self.seen.addressed, 30)
        took = self.seen.addressed[name] - start
        await self.delete(name)
        await asyncio.sleep(IDLE_GAP_S)
        return took

    async def latency(self, runs: int) -> dict[str, list[float]]:
        """Return milliseconds for both sides, in turn, so that drift hits both alike."""
        result: dict[str, list[float]] = {"product": [], "floor": []}
        for run in range(runs + 5):
            for side, samples in result.items():
                took = await self.one(f"{side}-{run}", floor=side == "floor")
                if run >= 5:
                    samples.append(took * 1000)
        return result

    async def create_many(self, prefix: str, count: int, *, floor: bool) -> set[str]:
        names = [f"{prefix}-{number}" for number in range(count)]
        await bounded([self.create(name, floor=floor) for name in names])
        await self.seen.until(set(names), self.seen.added, 120)
        return set(names)

    def rate(self, names: set[str]) -> float:
        """Return status writes per second, from the first to the last one seen."""
        moments = sorted(self.seen.addressed[name] for name in names)
        return (len(moments) - 1) / (moments[-1] - moments[0])

    async def pending(self, count: int, turn: int) -> dict[str, float]:
        """Return the two rates with `count` Services waiting on each side."""
        mine = await self.create_many(f"pending-{turn}", count, floor=False)
        raw = await self.create_many(f"raw-{turn}", count, floor=True)
        # Every refusal of a pending one is written before a clock starts.
        await self.seen.until(mine, self.seen.judged, 120)
        sides = {"product": lambda: self.serve(mine), "floor": lambda: self.patch_all(raw)}
        rates = {}
        # Who goes first changes, so that what the first leaves behind hits both alike.
        for side in sorted(sides, reverse=turn % 2 == 1):
            await self.quiet()
            rates[side] = await sides[side]()
        await self.quiet()
        await bounded([self.delete(name) for name in sorted(mine | raw)])
        await self.session.request("DELETE", f"{POOL}/bench")
        return rates

    async def serve(self, names: set[str]) -> float:
        await self.make_pool()
        await self.seen.until(names, self.seen.addressed, 300)
        return self.rate(names)

    async def patch_all(self, names: set[str]) -> float:
        await bounded([self.patch_status(name) for name in sorted(names)])
        await self.seen.until(names, self.seen.addressed, 120)
        return self.rate(names)

    async def quiet(self) -> None:
        """Wait until the product has said all that follows from its decisions.

        Events come one at a time after the statuses, and that nobody announces an address is
        written when it has lasted; both would be measured with the other side.
        """
        before = (-1, -1)
        async with asyncio.timeout(QUIET_WITHIN_S):
            while (now := (await self.events(), self.seen.changes)) != before:
                before = now
                await asyncio.sleep(QUIET_S)

    async def events(self) -> int:
        """Return how many Events there are."""
        path = f"/api/v1/namespaces/{NAMESPACE}/events"
        listed = await self.session.request("GET", path, params={"limit": "1"})
        more: int = listed.body["metadata"].get("remainingItemCount", 0)
        return len(listed.body["items"]) + more

    async def make_pool(self) -> None:
        body = {
            "apiVersion": "lbctl.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": "bench", "namespace": POOL_NAMESPACE},
            "spec": {"addresses": [POOL_ADDRESSES]},
        }
        await self.session.request("POST", POOL, body=body)


async def bounded(coroutines: Iterable[Any]) -> None:
    """Await them all, `CONCURRENCY` at a time."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def run(coroutine: Any) -> None:
        async with gate:
            await coroutine

    await asyncio.gather(*(run(coroutine) for coroutine in coroutines))


@asynccontextmanager
async def watching(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def make_namespace(session: ApiSession) -> None:
    try:
        namespace = {"metadata": {"name": NAMESPACE}}
        await session.request("POST", "/api/v1/namespaces", body=namespace)
    except ApiRefused as error:
        if error.status != 409:  # left by a run before: its Services are gone
            raise


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    async with ApiSession(load_kubeconfig(arguments.kubeconfig)) as session:
        await make_namespace(session)
        bench = Bench(session)
        async with watching(bench):
            pending = [
                _told(await bench.pending(arguments.pending, turn))
                for turn in range(arguments.turns)
            ]
            await bench.make_pool()
            latency = await bench.latency(arguments.runs)
        await session.request("DELETE", f"{POOL}/bench")
    return {"latency_ms": latency, "pending_rates": pending}


def _told(rates: dict[str, float]) -> dict[str, float]:
    words = ", ".join(f"{side} {rate:,.0f}/s" for side, rate in sorted(rates.items()))
    print(f"pending: {words}", file=sys.stderr, flush=True)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--pending", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    json.dump(asyncio.run(measure(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
