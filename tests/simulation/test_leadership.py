"""Replicas that are frozen, cut off, killed and lied to about the time: addresses stay single.

Each seed is some minutes of a cluster with too few addresses, users that create, edit and delete,
and two or three replicas to which things happen, the worst at the worst moment: between the last
check of a write and its sending. `pytest -k 'whatever and [17]'` replays seed 17.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import pytest

from lbctl.model.address import Address
from lbctl.model.names import ServiceKey
from tests.support.allocation_oracle import Oracle, clash
from tests.support.allocation_reading import ReadService, read_service
from tests.support.allocation_world import AllocationWorld, Body, cluster_ips, ingress_of
from tests.support.sim_cluster import SimReplica, SimServer
from tests.support.sim_world import Simulation

SEEDS = 200
TROUBLE_S = 150.0
CALM_S = 60.0
"""Longer than a Lease lasts, and than a write waits for its next try."""
EDIT_S = 2.0
"""How long after an edit a write may have been judged by what was before it."""


@dataclass
class Double:
    """Two Services with one address that they do not share."""

    address: Address
    older: ServiceKey
    younger: ServiceKey
    since: float
    written: bool
    """Whether a write made it, and no edit that it could not know of."""
    until: float | None = None


class Run:
    """One simulated cluster."""

    def __init__(self, seed: int, *ranges: str) -> None:
        self.sim = Simulation(seed)
        self.world = AllocationWorld(["web"])
        self.server = SimServer(self.sim, self.world, changed=lambda _: self.look(written=True))
        self.replicas: list[SimReplica] = []
        self.doubles: list[Double] = []
        self.freezes = 0
        self.most_leaders = 0
        self.over = False
        self._edited: dict[ServiceKey, float] = defaultdict(lambda: -EDIT_S)
        self._names = 0
        self.world.apply_pool("p", {"addresses": list(ranges or ("192.0.2.0-192.0.2.5",))})

    def live(self) -> None:
        """Let users and trouble loose, then bring every replica back and wait."""
        rng = self.sim.rng
        for _ in range(8):
            self.create()
        for name in "abc"[: rng.choice((2, 2, 3))]:
            self.start(name)
        self.sim.after(rng.uniform(0.5, 3), self.use)
        self.sim.after(rng.uniform(3, 15), self.trouble)
        self.sim.run(TROUBLE_S)
        self.over = True
        for replica in self.replicas:
            replica.session.before_sending = lambda: None
            replica.process.cut = False
            replica.process.resume()
        self.sim.run(TROUBLE_S + CALM_S)

    # What users do

    def use(self) -> None:
        rng = self.sim.rng
        if self.over:
            return
        keys = sorted(self.world.services)
        what = rng.choice(("replace", "replace", "share", "ask"))
        if what == "replace":
            # Several at once, so that several writes are on their way at once.
            for key in rng.sample(keys, rng.randint(1, 4)):
                self.delete(key)
                self.create()
        elif what == "share":
            self.edit(rng.choice(keys), "allow-shared-ip", rng.choice(("", "k")))
        elif what == "ask":
            self.edit(rng.choice(keys), "loadBalancerIPs", rng.choice(("", "192.0.2.1")))
        self.sim.after(rng.expovariate(1 / 4), self.use)

    def create(self) -> ServiceKey:
        self._names += 1
        spec: Body = {
            "type": "LoadBalancer",
            **cluster_ips(["IPv4"]),
            "ports": [{"protocol": "TCP", "port": 80 + self._names % 3}],
        }
        key = ServiceKey("web", f"s{self._names}")
        self.world.create_service(key, {}, spec, {})
        return key

    def delete(self, key: ServiceKey) -> None:
        self.world.delete_service(key)
        self.look(written=False)

    def edit(self, key: ServiceKey, name: str, value: str) -> None:
        self._edited[key] = self.sim.now

        def change(body: Body) -> None:
            body["metadata"]["annotations"][f"lbctl.io/{name}"] = value

        self.world.edit_service(key, change)
        self.look(written=False)

    # What happens to replicas

    def trouble(self) -> None:
        rng = self.sim.rng
        if self.over:
            return
        leading = [one for one in self.replicas if one.elector.leading.is_set()]
        one = rng.choice(leading or self.replicas)
        lasts = rng.choice((rng.uniform(0.1, 5), rng.uniform(10, 30)))
        what = rng.choice(
            (
                *("freeze", "freeze at a write", "freeze at a write", "suspend", "cut"),
                *("clock", "kill", "delete the Lease"),
            )
        )
        if what == "freeze at a write":
            one.session.before_sending = lambda: self.freeze(one, lasts)
        elif what in ("freeze", "suspend"):
            self.freeze(one, lasts, with_machine=what == "suspend")
        elif what == "cut":
            one.process.cut = True
            self.sim.after(lasts, lambda: setattr(one.process, "cut", False))
        elif what == "clock":
            one.process.wall_ahead_s += rng.choice((-86400.0, -20.0, 20.0, 3600.0))
        elif what == "delete the Lease":
            self.server.lease = None
        elif one.process.running:
            one.process.kill()
            self.replicas.remove(one)
            name = one.elector.identity if rng.random() < 0.5 else f"{one.elector.identity}'"
            self.sim.after(rng.uniform(2, 5), lambda: self.start(name))
        self.sim.after(rng.uniform(5, 35), self.trouble)

    def start(self, name: str) -> SimReplica:
        self.replicas.append(SimReplica(self.sim, self.server, name))
        return self.replicas[-1]

    def freeze(self, one: SimReplica, lasts: float, *, with_machine: bool = False) -> None:
        one.session.before_sending = lambda: None
        if one.process.running:
            self.freezes += 1
            one.process.pause(with_machine=with_machine)
            self.sim.after(lasts, one.process.resume)

    # What is seen

    def shown(self, key: ServiceKey) -> list[str]:
        return [entry["ip"] for entry in ingress_of(self.world.services[key])]

    def look(self, *, written: bool) -> None:
        """Note the doubles that came, and that went, and who thinks that he may write."""
        leaders = [one for one in self.replicas if one.process.running and one.elector.may_write()]
        self.most_leaders = max(self.most_leaders, len(leaders))
        present = set(self._present())
        for double in self.doubles:
            if double.until is None and (
                (double.address, double.older, double.younger) not in present
            ):
                double.until = self.sim.now
        known = {(it.address, it.older, it.younger) for it in self.doubles if it.until is None}
        for address, older, younger in sorted(present - known):
            edited = max(self._edited[older], self._edited[younger]) > self.sim.now - EDIT_S
            self.doubles.append(
                Double(address, older, younger, self.sim.now, written=written and not edited)
            )

    def _present(self) -> Iterator[tuple[Address, ServiceKey, ServiceKey]]:
        showing: dict[Address, list[ReadService]] = defaultdict(list)
        for it in map(read_service, self.world.services.values()):
            for address in it.shown:
                showing[address].append(it)
        for address, sharers in showing.items():
            for one, other in combinations(sorted(sharers, key=lambda it: it.age), 2):
                if clash(one, other):
                    yield address, ServiceKey(*one.key), ServiceKey(*other.key)


@contextmanager
def lived(seed: int, *ranges: str) -> Iterator[Run]:
    run = Run(seed, *ranges)
    try:
        yield run
    finally:
        run.over = True
        run.sim.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_address_is_kept_twice_whatever_happens_to_the_replicas(seed: int) -> None:
    with lived(seed) as run:
        run.live()
        late = [write for write in run.server.landed if write.late]
        assert run.most_leaders == 1
        assert len(late) <= run.freezes, "one write for each freeze at most"
        written = [double for double in run.doubles if double.written]
        assert len(written) <= sum(write.accepted for write in late)
        assert not [double for double in run.doubles if double.until is None]
        # Allocation went on: nobody lacks what he could have.
        for key, said in Oracle(None).answer(run.world).items():
            assert run.shown(ServiceKey(*key)) == list(map(str, said.addresses))


def test_the_one_late_write_of_a_frozen_leader_is_repaired_and_the_older_keeps_its_address() -> (
    None
):
    with lived(1, "192.0.2.0/32") as run:
        holder, older, younger = run.create(), run.create(), run.create()
        first, second = run.start("a"), run.start("b")
        run.sim.run(5)
        assert run.shown(holder) == ["192.0.2.0"]
        if not first.elector.leading.is_set():
            first, second = second, first
        # The leader is about to give the address to the one that waits longer ...
        run.edit(older, "address-pool", "elsewhere")
        run.sim.run(10)
        first.session.before_sending = lambda: run.freeze(first, 40)
        run.delete(holder)
        run.sim.run(12)
        assert run.freezes == 1
        # ... and freezes; meanwhile another, older one may have it too, and gets it.
        run.edit(older, "address-pool", "p")
        run.sim.run(45)
        assert second.elector.leading.is_set()
        assert run.shown(older) == ["192.0.2.0"]
        assert run.shown(younger) == []
        run.sim.run(80)
        late = [write for write in run.server.landed if write.late]
        assert [(write.key, write.accepted) for write in late] == [(younger, True)]
        (double,) = run.doubles
        assert (double.older, double.younger, double.written) == (older, younger, True)
        assert double.until is not None
        assert double.until - double.since < 2
        assert run.shown(older) == ["192.0.2.0"]
        assert run.shown(younger) == []
        (event,) = [said for said in run.server.said if said[0] > double.since]
        assert event[1:3] == (younger, "ClearAssignment")
        assert str(older) in event[3]
        assert not first.elector.leading.is_set()


def test_a_clock_that_jumps_costs_nobody_the_lease() -> None:
    with lived(2) as run:
        first, second = run.start("a"), run.start("b")
        run.sim.run(5)
        leader, other = (first, second) if first.elector.leading.is_set() else (second, first)
        for ahead in (3600.0, -86400.0, 20.0):
            leader.process.wall_ahead_s += ahead
            run.sim.run(run.sim.now + 30)
            other.process.wall_ahead_s -= ahead
            run.sim.run(run.sim.now + 30)
        assert (leader.elector.term, leader.elector.may_write()) == (1, True)
        assert other.elector.term == 0
