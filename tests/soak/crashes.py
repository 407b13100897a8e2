"""Kill lb-controller again and again while users work, and let a witness judge every change.

`python -m tests.soak.crashes [--rounds N] [--seed S] [--first R]`. Two replicas run against a real
API server. Each round is a burst of 300 creates, edits and deletes, in which replicas are struck
at random moments:

* killed: SIGKILL of the leader, of the other one or of both; back at once under the same name;
* replaced: SIGKILL, and back under a new name, as a new pod: the Lease has to expire;
* frozen: SIGSTOP of the leader for longer than the Lease, then SIGCONT: it may have one write
  in flight when it wakes.

A round has settled when everything is as the oracle of the allocator's tests would leave it. The
moments and the things that are done follow from seed and round; what meets what is up to the
scheduler. Prints a table; status 1 if anything was violated.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from lbctl.api.credentials import load_kubeconfig
from lbctl.api.session import ApiSession
from tests.bench.figures import machine, median
from tests.soak.churn import Churn
from tests.soak.plane import Plane, Replica, enter, plane
from tests.soak.witness import Witness

BURST = 300
LEASE = "/apis/coordination.k8s.io/v1/namespaces/lbctl-system/leases/lbctl-controller"
FROZEN_S = 17.0
"""Longer than the Lease lasts (15 s) and than a successor needs to look (2 s)."""
SETTLE_S = 60.0
KINDS = (
    "killed",
    "killed",
    "killed",
    "killed",
    "replaced",
    "killed",
    "killed",
    "killed",
    "killed",
    "frozen",
)
"""What is done to the replicas, round by round."""


@dataclass
class Round:
    """What one round did and found."""

    number: int
    kind: str
    strikes: int
    settled_s: float
    seen: Counter[str]
    doubles: int
    violations: list[str] = field(default_factory=list)


class Crashes:
    def __init__(self, base: Plane, session: ApiSession, seed: int) -> None:
        self._session = session
        self._seed = seed
        self._witness = Witness(session)
        self._churn = Churn(session)
        self._replicas = [Replica(base, name, 9000 + at) for at, name in enumerate("ab")]
        self._later: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def run(self, first: int, rounds: int) -> list[Round]:
        done = []
        for replica in self._replicas:
            replica.start()
        watching = self._watching = asyncio.create_task(self._witness.run())
        try:
            await self._churn.begin()
            while (settled := await self._settle())[1]:
                _say(f"waiting for the first leader: {settled[1]}")
            for number in range(first, first + rounds):
                done.append(await self._round(number))
                _say(_line(done[-1]))
        finally:
            watching.cancel()
            await asyncio.gather(watching, *self._later, return_exceptions=True)
            for replica in self._replicas:
                replica.kill()
        return done

    async def _round(self, number: int) -> Round:
        rng = Random(f"{self._seed}-{number}")
        kind = KINDS[(number - 1) % len(KINDS)]
        moments = set(rng.sample(range(BURST), rng.choice((1, 2, 3)) if kind == "killed" else 1))
        witness = self._witness
        before = (Counter(witness.seen), len(witness.doubles), len(witness.unjust))

        async def strike(index: int) -> None:
            if index in moments:
                await self._strike(kind, rng)

        await self._churn.burst(rng, BURST, strike)
        if self._later:
            await asyncio.gather(*self._later)
        settled_s, differences = await self._settle()
        doubles = witness.doubles[before[1] :]
        late = 0 if kind == "killed" else 1
        return Round(
            number=number,
            kind=kind,
            strikes=len(moments),
            settled_s=settled_s,
            seen=witness.seen - before[0],
            doubles=len(doubles),
            violations=[
                *differences,
                *witness.unjust[before[2] :],
                *(doubles if len(doubles) > late else ()),
                *(text for replica in self._replicas if (text := replica.ended())),
            ],
        )

    async def _strike(self, kind: str, rng: Random) -> None:
        leader = await self._leader()
        if kind == "frozen":
            leader.signal(signal.SIGSTOP)
            self._soon(self._thaw(leader))
            return
        other = next(replica for replica in self._replicas if replica is not leader)
        struck = rng.choice(([leader], [leader], [other], [leader, other]))
        for replica in [leader] if kind == "replaced" else struck:
            replica.kill()
        for replica in self._replicas:
            if not replica.alive:
                self._soon(self._return(replica, rng.random(), anew=kind == "replaced"))

    async def _thaw(self, replica: Replica) -> None:
        await asyncio.sleep(FROZEN_S)
        replica.signal(signal.SIGCONT)

    async def _return(self, replica: Replica, after_s: float, *, anew: bool) -> None:
        await asyncio.sleep(after_s)
        if not replica.alive:  # struck twice: it is on its way already
            replica.start(anew=anew)

    def _soon(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _leader(self) -> Replica:
        lease = await self._session.request("GET", LEASE)
        holder = lease.body["spec"].get("holderIdentity")
        return next((one for one in self._replicas if one.identity == holder), self._replicas[0])

    async def _settle(self) -> tuple[float, list[str]]:
        """Return the seconds until all is as it should be, and what is not in the end."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(0.25)
            if self._watching is not None and self._watching.done():
                self._watching.result()
            differences = self._witness.differences()
            now = time.monotonic()
            if not differences:
                return max(0.0, self._witness.last_event - began), []
            if now - began > SETTLE_S:
                return now - began, differences


def _line(one: Round) -> str:
    words = ", ".join(f"{count} {what}" for what, count in sorted(one.seen.items()))
    text = (
        f"round {one.number}: {one.kind} x {one.strikes}; {words}; settled in {one.settled_s:.1f} s"
    )
    return "\n  VIOLATED ".join([text, *one.violations])


def table(rounds: list[Round]) -> str:
    heads = (
        "replicas were", "rounds", "times", "given", "given up: deleted", "given up: type",
        "taken for a reason", "late writes, repaired", "met an edit", "settled: median, longest",
        "violations",
    )  # fmt: skip
    rows = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for kind in dict.fromkeys(KINDS):
        of_kind = [one for one in rounds if one.kind == kind]
        if not of_kind:
            continue
        seen = sum((one.seen for one in of_kind), Counter[str]())
        waits = [one.settled_s for one in of_kind]
        rows.append(
            f"| {kind} | {len(of_kind)} | {sum(one.strikes for one in of_kind)} "
            f"| {seen['given']:,} | {seen['given up by deletion']:,} | {seen['given up by a type']:,} "
            f"| {seen['taken for a reason']:,} | {sum(one.doubles for one in of_kind)} "
            f"| {seen['met an edit']} | {median(waits):.1f} s, {max(waits):.1f} s "
            f"| {sum(len(one.violations) for one in of_kind)} |"
        )
    return "\n".join(rows)


async def crash(base: Plane, arguments: argparse.Namespace) -> list[Round]:
    async with ApiSession(load_kubeconfig(base.admin)) as session:
        crashes = Crashes(base, session, arguments.seed)
        return await crashes.run(arguments.first, arguments.rounds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.crashes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="number of the first round")
    arguments = parser.parse_args()
    enter("tests.soak.crashes", sys.argv[1:])
    where = machine()
    with tempfile.TemporaryDirectory() as directory, plane(Path(directory)) as base:
        rounds = asyncio.run(crash(base, arguments))
    print(f"{where}; seed {arguments.seed}, {BURST} things a round\n\n{table(rounds)}")
    return int(any(one.violations for one in rounds))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
