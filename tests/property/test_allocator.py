"""Live through any history: the laws of the allocator hold, and three ways of planning agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lbctl.model.address import Address, Family, family_of
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.configuration import Accepted, Configured
from lbctl.model.names import ObjectKey, PoolName, ServiceKey
from lbctl.model.outcome import Problem
from lbctl.model.pool import Pool, ServiceAllocation
from lbctl.model.reason import Reason
from lbctl.model.service import FamilyPolicy, ObservedCondition, Request, Service, TrafficPolicy
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.allocation import EMPTY, Plan, plan
from lbctl.plan.sharing import sharing_refusal
from tests.support.allocation_oracle import World, allocate
from tests.support.builders import (
    addresses,
    make_port,
    make_ranges,
    make_selector,
    make_service,
    rejected_pool,
)

RANGES = [
    "192.0.2.0/31",
    "192.0.2.1-192.0.2.3",
    "192.0.2.4/30",
    "192.0.2.254-192.0.3.1",
    "198.51.100.8/32",
    "2001:db8::/127",
    "2001:db8::2-2001:db8::4",
]
ADDRESSES = addresses(
    "192.0.2.0", "192.0.2.1", "192.0.2.4", "192.0.2.255", "198.51.100.8", "203.0.113.9",
    "2001:db8::", "2001:db8::2",
)  # fmt: skip
NAMESPACES = ["red", "blue"]
NAMES = ["a", "b", "c", "d", "e"]
POOLS = ["p", "q", "r"]

KEYS = st.builds(ServiceKey, st.sampled_from(NAMESPACES), st.sampled_from(NAMES))
WHICH = st.integers(0, 9)
"""Chooses one of the Services that exist."""
THEN = st.sampled_from(["write", "write", "write", "plan", "wait"])
"""What the controller does before the next thing happens."""
LABELS = st.sampled_from([{}, {"tier": "gold"}, {"tier": "tin"}])
SELECTORS = st.sampled_from([make_selector(), make_selector({"tier": "gold"})])
ALLOCATIONS = st.none() | st.builds(
    ServiceAllocation,
    priority=st.integers(0, 2),
    namespaces=st.frozensets(st.sampled_from(NAMESPACES), max_size=1),
    namespace_selectors=st.lists(SELECTORS, max_size=1).map(tuple),
    service_selectors=st.lists(SELECTORS, max_size=1).map(tuple),
)
BY_FAMILY = {
    family: [address for address in ADDRESSES if family_of(address) is family] for family in Family
}


@st.composite
def requests(draw: st.DrawFn) -> Request:
    kind = draw(
        st.sampled_from(["nothing", "nothing", "address", "two", "pool", "both", "rubbish"])
    )
    if kind == "rubbish":
        return Request(problem=Problem(path="metadata.annotations", message="rubbish"))
    asked: tuple[Address, ...] = ()
    if kind in ("address", "both"):
        asked = (draw(st.sampled_from(ADDRESSES)),)
    if kind == "two":
        asked = tuple(draw(st.sampled_from(BY_FAMILY[family])) for family in reversed(Family))
    pool = PoolName(draw(st.sampled_from(POOLS))) if kind in ("pool", "both") else None
    return Request(addresses=asked, pool=pool)


FAMILIES = st.sampled_from(
    [
        ((Family.IPV4,), FamilyPolicy.SINGLE_STACK),
        ((Family.IPV4,), FamilyPolicy.SINGLE_STACK),
        ((Family.IPV6,), FamilyPolicy.SINGLE_STACK),
        ((Family.IPV4, Family.IPV6), FamilyPolicy.PREFER_DUAL_STACK),
        ((Family.IPV6, Family.IPV4), FamilyPolicy.REQUIRE_DUAL_STACK),
    ]
)
SHARING = st.sampled_from(
    [
        ("", "tcp/80", TrafficPolicy.CLUSTER),
        ("", "tcp/80", TrafficPolicy.CLUSTER),
        ("k", "tcp/80", TrafficPolicy.CLUSTER),
        ("k", "tcp/81", TrafficPolicy.CLUSTER),
        ("k", "udp/80", TrafficPolicy.CLUSTER),
        ("k", "tcp/82", TrafficPolicy.LOCAL),
        ("l", "tcp/81", TrafficPolicy.CLUSTER),
    ]
)


class Allocator(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.services: dict[ServiceKey, Service] = {}
        self.pools: dict[ObjectKey, Configured[Pool]] = {}
        self.namespaces: dict[str, dict[str, str]] = {name: {} for name in NAMESPACES}
        self.plan: Plan = EMPTY
        self.freed: list[Address] = []
        self.changed: set[ServiceKey] = set()
        self.everything = False
        self.faithful = True
        self.births = 0

    # What the world does

    @initialize(
        pools=st.lists(
            st.tuples(
                st.lists(st.sampled_from(RANGES), min_size=1, max_size=3, unique=True), ALLOCATIONS
            ),
            min_size=1,
            max_size=3,
        ),
        services=st.lists(
            st.tuples(KEYS, FAMILIES, SHARING, requests(), LABELS), min_size=3, max_size=10
        ),
        then=THEN,
    )
    def begin(self, pools, services, then):
        for name, (ranges, allocation) in zip(POOLS, pools, strict=False):
            self.apply_pool(name, ranges, True, False, allocation, "wait")
        for fields in services:
            self.create_service(*fields, "wait")
        self._then(then)

    @rule(
        key=KEYS, families=FAMILIES, sharing=SHARING, request=requests(), labels=LABELS, then=THEN
    )
    def create_service(  # noqa: PLR0917 - the strategies name them
        self, key, families, sharing, request, labels, then
    ):
        self.births += 1
        self._put(
            make_service(
                key,
                created=self.births // 2,
                uid=f"uid-{self.births}",
                families=families[0],
                family_policy=families[1],
                sharing_key=sharing[0],
                ports=(sharing[1],),
                traffic_policy=sharing[2],
                labels=labels,
            ),
            request=request,
        )
        self._then(then)

    @precondition(lambda self: self.services)
    @rule(which=WHICH, then=THEN)
    def delete_service(self, which, then):
        service = self._service(which)
        del self.services[service.key]
        self.changed.add(service.key)
        self._then(then)

    @precondition(lambda self: self.services)
    @rule(which=WHICH, request=requests(), then=THEN)
    def edit_request(self, which, request, then):
        self._put(self._service(which), request=request)
        self._then(then)

    @precondition(lambda self: self.services)
    @rule(which=WHICH, families=FAMILIES, then=THEN)
    def edit_families(self, which, families, then):
        service = self._service(which)
        self._put(
            service,
            families=families[0],
            family_policy=families[1],
            cluster_ips=make_service(families=families[0]).cluster_ips,
        )
        self._then(then)

    @precondition(lambda self: self.services)
    @rule(
        which=WHICH,
        sharing=SHARING,
        selector=st.sampled_from([{"app": "x"}, {"app": "y"}]),
        then=THEN,
    )
    def edit_sharing(self, which, sharing, selector, then):
        self._put(
            self._service(which),
            sharing_key=sharing[0],
            ports=(make_port(sharing[1]),),
            traffic_policy=sharing[2],
            selector=selector,
        )
        self._then(then)

    @precondition(lambda self: self.services)
    @rule(which=WHICH, labels=LABELS, then=THEN)
    def label_service(self, which, labels, then):
        self._put(self._service(which), labels=labels)
        self._then(then)

    @precondition(lambda self: self.services)
    @rule(
        which=WHICH,
        kind=st.sampled_from(["LoadBalancer", "ClusterIP", "headless", "foreign"]),
        then=THEN,
    )
    def flip_type(self, which, kind, then):
        """The API server empties the status of a Service that is no LoadBalancer any more."""
        service = self._service(which)
        load_balancer = kind != "ClusterIP"
        if load_balancer and not service.addresses:
            # What it had comes back, although the status says nothing of it.
            self.faithful = self.faithful and service.key not in dict(self._held(self.plan))
        whole = make_service(families=service.families)
        self._put(
            service,
            type="LoadBalancer" if load_balancer else "ClusterIP",
            load_balancer_class="example.com/other" if kind == "foreign" else None,
            cluster_ips=() if kind == "headless" else whole.cluster_ips,
            addresses=service.addresses if load_balancer else (),
        )
        self._then(then)

    @rule(namespace=st.sampled_from(NAMESPACES), labels=LABELS, then=THEN)
    def label_namespace(self, namespace, labels, then):
        self.namespaces[namespace] = labels
        self.everything = True
        self._then(then)

    @rule(
        name=st.sampled_from(POOLS),
        ranges=st.lists(st.sampled_from(RANGES), min_size=1, max_size=3, unique=True),
        auto_assign=st.sampled_from([True, True, False]),
        avoid_buggy=st.booleans(),
        allocation=ALLOCATIONS,
        then=THEN,
    )
    def apply_pool(  # noqa: PLR0917 - the strategies name them
        self, name, ranges, auto_assign, avoid_buggy, allocation, then
    ):
        entry = self._pool_object(name)
        pool = Pool(
            name=PoolName(name),
            namespace=entry.key.namespace,
            uid=entry.uid,
            created=entry.created,
            generation=entry.generation,
            labels={},
            ranges=make_ranges(*ranges),
            auto_assign=auto_assign,
            avoid_buggy_ips=avoid_buggy,
            allocation=allocation,
        )
        self.pools[entry.key] = replace(entry, spec=pool, problems=())
        self._then(then)

    @rule(name=st.sampled_from(POOLS), then=THEN)
    def edit_pool_into_nonsense(self, name, then):
        entry = self._pool_object(name)
        self.pools[entry.key] = replace(entry, spec=None, problems=rejected_pool().problems)
        self._then(then)

    @precondition(lambda self: self.pools)
    @rule(name=st.sampled_from(POOLS), then=THEN)
    def delete_pool(self, name, then):
        for key in [key for key in self.pools if key.name == name]:
            del self.pools[key]
        self._then(then)

    @precondition(lambda self: self.services)
    @rule(which=WHICH, held=st.lists(st.sampled_from(ADDRESSES), max_size=2), then=THEN)
    def write_status_by_hand(self, which, held, then):
        self._put(self._service(which), addresses=tuple(held))
        self.faithful = False
        self._then(then)

    # What the controller does

    def _then(self, then: str) -> None:
        if then == "wait":
            return
        self._plan()
        if then == "plan":
            self.faithful = False
            return
        self._write()
        self._settle()

    @rule()
    def restart(self):
        """Nothing moves; only the memory of addresses given back is lost."""
        self._then("write")
        self.plan = plan(EMPTY, self._snapshot(), EVERYTHING, load_balancer_class=None)
        self.freed = []

    @invariant()
    def nothing_is_owned_twice(self):
        owners: dict[Address, list[Service]] = {}
        for slot_holders in self.plan.ledger.holders.values():
            assert slot_holders
        for key, outcome in self._held(self.plan):
            assert len({family_of(item) for item in outcome.addresses}) == len(outcome.addresses)
            assert sorted(outcome.addresses, key=lambda item: item.version) == [*outcome.addresses]
            for address in outcome.addresses:
                holders = self.plan.ledger.holders
                owners.setdefault(address, []).append(
                    next(
                        service
                        for services in holders.values()
                        for service in services
                        if service.key == key
                    )
                )
        for sharers in owners.values():
            for one, other in combinations(sharers, 2):
                assert sharing_refusal(one, [other]) is None

    # How

    def _service(self, which: int) -> Service:
        return self.services[sorted(self.services)[which % len(self.services)]]

    def _put(self, service: Service, **fields: object) -> None:
        self.services[service.key] = replace(service, **fields)  # type: ignore[arg-type]
        self.changed.add(service.key)

    def _pool_object(self, name: str) -> Configured[Pool]:
        for entry in self.pools.values():
            if entry.key.name == name:
                return replace(entry, generation=entry.generation + 1)
        self.births += 1
        entry = rejected_pool(name, created=self.births, generation=1)
        return replace(entry, uid=f"uid-{self.births}")

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            services=dict(self.services), pools=dict(self.pools), namespaces=dict(self.namespaces)
        )

    def _plan(self) -> None:
        snapshot, before = self._snapshot(), self.plan
        changed = Changed(services=frozenset(self.changed), everything=self.everything)
        present = plan(before, snapshot, changed, load_balancer_class=None)
        whole = plan(before, snapshot, EVERYTHING, load_balancer_class=None)
        if self.faithful:
            assert present.outcomes == whole.outcomes
            assert present.touched == whole.touched
        if self._nothing_to_clear(before):
            assert self._without_words(present) == self._without_words(whole)
            assert present.counters == whole.counters
        assert present.touched == self._differences(before, present)
        assert set(present.outcomes) == set(self.services)
        self._check_lawful(present)
        if self.faithful:
            memory = plan(before.memory(), snapshot, EVERYTHING, load_balancer_class=None)
            assert memory.outcomes == present.outcomes
            self._ask_the_oracle(before, present)
        else:
            self.freed = [address for address in self.freed if address not in self._in_use(present)]
            gone = self._in_use(before) - self._in_use(present)
            self.freed.extend(sorted(gone, key=lambda item: (item.version, int(item))))
        self.plan = present
        self.changed, self.everything = set(), False

    def _write(self) -> None:
        """Write every status and condition, as the controller would."""
        for key, decision in self.plan.outcomes.items():
            service = self.services[key]
            if isinstance(decision, NotOurs):
                if decision.release:
                    self._put(service, addresses=(), mark="")
                continue
            reason = decision.reason
            yes = reason in (Reason.ALLOCATED, Reason.PARTIALLY_ALLOCATED)
            condition = ObservedCondition(
                type="lbctl.io/Allocated",
                status=str(yes),
                reason=reason,
                message="",
                observed_generation=service.generation,
            )
            self._put(
                service,
                addresses=decision.addresses,
                mark=",".join(dict.fromkeys(decision.pools)),
                conditions=(condition,),
            )
        for pool_key, verdict in self.plan.verdicts.items():
            entry = self.pools[pool_key]
            shown = Accepted(
                status=str(verdict.accepted),
                reason=verdict.reason,
                message=verdict.message,
                observed_generation=entry.generation,
            )
            self.pools[pool_key] = replace(entry, accepted=shown)
        self.faithful = True

    def _settle(self) -> None:
        """Plan again on what was written: nothing moves, and a restart decides all the same."""
        before = {key: outcome.addresses for key, outcome in self._held(self.plan)}
        self._plan()
        assert before == {key: outcome.addresses for key, outcome in self._held(self.plan)}
        fresh = plan(EMPTY, self._snapshot(), EVERYTHING, load_balancer_class=None)
        assert fresh.outcomes == self.plan.outcomes
        assert fresh.verdicts == self.plan.verdicts

    def _ask_the_oracle(self, before: Plan, present: Plan) -> None:
        world = World(
            snapshot=self._snapshot(),
            pools=list(present.book.ranked),
            limbo={str(name): pool for name, pool in present.book.limbo.items()},
            freed=list(self.freed),
            in_use=self._in_use(before),
            waiting={key for key, service in self.services.items() if self._waits(service)},
        )
        answer = allocate(world)
        ours = {key for key, item in present.outcomes.items() if isinstance(item, Outcome)}
        assert ours == set(answer)
        assert {key: set(got.values()) for key, got in answer.items() if got} == {
            key: set(outcome.addresses) for key, outcome in self._held(present)
        }
        held = self._in_use(present)
        self.freed = [address for address in world.freed if address not in held]

    @staticmethod
    def _waits(service: Service) -> bool:
        return any(
            item.status == "False" or item.reason == Reason.PARTIALLY_ALLOCATED
            for item in service.conditions
        )

    @staticmethod
    def _held(present: Plan) -> Iterable[tuple[ServiceKey, Outcome]]:
        return (
            (key, decision)
            for key, decision in present.outcomes.items()
            if isinstance(decision, Outcome) and decision.addresses
        )

    def _in_use(self, present: Plan) -> set[Address]:
        return {address for _, outcome in self._held(present) for address in outcome.addresses}

    def _nothing_to_clear(self, before: Plan) -> bool:
        """Return whether no status shows an address that was taken away already.

        As long as that is not written, whoever looks again may find it lawful to adopt.
        """
        held = dict(self._held(before))
        return all(
            key in self.changed or (key in held and held[key].addresses == service.addresses)
            for key, service in self.services.items()
            if service.addresses
        )

    @staticmethod
    def _without_words(present: Plan) -> dict[ServiceKey, object]:
        """Return the decisions without how they came about: "gave" becomes "keeps" in time."""
        return {
            key: decision
            if isinstance(decision, NotOurs)
            else (
                decision.addresses,
                decision.pools,
                decision.refused,
                tuple(words for words in decision.trace if words.reason is not None)
                if not decision.addresses
                else (),
            )
            for key, decision in present.outcomes.items()
        }

    @staticmethod
    def _differences(before: Plan, present: Plan) -> set[ServiceKey]:
        keys = set(before.outcomes) | set(present.outcomes)
        return {key for key in keys if before.outcomes.get(key) != present.outcomes.get(key)}

    def _check_lawful(self, present: Plan) -> None:
        for one, other in combinations(present.book.ranked, 2):
            assert not any(a.overlaps(b) for a in one.ranges for b in other.ranges)
        by_name = {pool.name: pool for pool in present.book.ranked}
        for key, outcome in self._held(present):
            for address, name in zip(outcome.addresses, outcome.pools, strict=True):
                assert family_of(address) in self.services[key].families
                assert name in present.book.limbo or address in by_name[name]
        for name, counters in present.counters.items():
            held = [item for item in self._in_use(present) if item in by_name[name]]
            assert counters[0] + counters[1] == len(held)
            assert min(counters) >= 0


Allocator.TestCase.settings = settings(
    max_examples=300,
    stateful_step_count=25,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAllocator = Allocator.TestCase
