"""Live through any history: the laws of the allocator hold, and three ways of planning agree.

A Hypothesis machine over API objects (`tests.support.allocation_world`). After each batch of
changes the allocator plans incrementally and from everything, the dumb oracle answers the same
question, and what was decided is written, half written, or not written at all before the next
change. `tests/property` runs some hundred histories, `make soak` 100,000 steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lbctl.model.address import Address
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.names import ServiceKey
from lbctl.model.service import Service
from lbctl.model.snapshot import EVERYTHING, Changed
from lbctl.plan.allocation import EMPTY, Decision, Plan, plan
from lbctl.plan.sharing import sharing_refusal
from tests.support import allocation_inputs as drawn
from tests.support.allocation_laws import (
    check_lawful,
    check_losses,
    differences,
    foreign_conditions,
    without_words,
)
from tests.support.allocation_oracle import Oracle, counters
from tests.support.allocation_reading import read_pool
from tests.support.allocation_world import AllocationWorld, Body, ingress_of

WHICH = st.integers(0, 9)
"""Chooses one of the Services, pools or ranges that exist."""
THEN = st.sampled_from(["write", "write", "write", "plan", "wait"])
"""What the controller does before the next thing happens."""
OWN_MARK = "lbctl.io/ip-allocated-from-pool"


class Allocator(RuleBasedStateMachine):
    seen: ClassVar[Counter[str]] = Counter()
    """Steps, plans and plans compared with the oracle, of all histories: for `make soak`."""

    def __init__(self) -> None:
        super().__init__()
        self.world = AllocationWorld(drawn.NAMESPACES)
        self.own_class: str | None = None
        self.plan: Plan = EMPTY
        self.oracle = Oracle(None)
        self.changed: set[ServiceKey] = set()
        self.everything = False
        self.faithful = True
        """Whether the objects show all that was planned."""
        self.moved: set[ServiceKey] = set()
        """Services whose decision differs from the one at the last write."""
        self.unheard: set[ServiceKey] = set()
        """Services that showed already what was decided: no write made the planner look at them
        again, so the decision keeps the words of its transition ("gave", and what was lost)."""

    # What the world does

    @initialize(
        own_class=st.sampled_from([None, None, drawn.OWN_CLASS]),
        pools=st.lists(drawn.pool_specs(), min_size=1, max_size=3),
        services=st.lists(
            st.tuples(
                drawn.KEYS,
                drawn.BORN,
                drawn.FAMILIES,
                drawn.sharing(),
                drawn.requests(),
                drawn.LABELS,
            ),
            min_size=3,
            max_size=10,
        ),
        then=THEN,
    )
    def begin(self, own_class, pools, services, then):
        self.own_class = own_class
        self.oracle = Oracle(own_class)
        for name, spec in zip(drawn.POOLS, pools, strict=False):
            self.world.apply_pool(name, spec)
        for fields in services:
            self.create_service(*fields, "wait")
        self._then(then)

    @rule(
        key=drawn.KEYS,
        kind=drawn.BORN,
        families=drawn.FAMILIES,
        sharing=drawn.sharing(),
        request=drawn.requests(),
        labels=drawn.LABELS,
        then=THEN,
    )
    def create_service(  # noqa: PLR0917 - the strategies name them
        self, key, kind, families, sharing, request, labels, then
    ):
        """Make a Service, perhaps in the place of another of its name."""
        annotations = {**sharing[0], **request[0]}
        spec = {**drawn.families(families), **sharing[1], **request[1]}
        self.world.create_service(
            key, annotations, drawn.turned_into(kind, spec, self.own_class), labels
        )
        self.changed.add(key)
        self._then(then)

    @precondition(lambda self: self.world.services)
    @rule(which=WHICH, then=THEN)
    def delete_service(self, which, then):
        key = self._key(which)
        self.world.delete_service(key)
        self.changed.add(key)
        self._then(then)

    @precondition(lambda self: self.world.services)
    @rule(which=WHICH, request=drawn.requests(), then=THEN)
    def edit_request(self, which, request, then):
        self._edit(which, request=request)
        self._then(then)

    @precondition(lambda self: self.world.services)
    @rule(which=WHICH, families=drawn.FAMILIES, then=THEN)
    def edit_families(self, which, families, then):
        self._edit(which, families=families)
        self._then(then)

    @precondition(lambda self: self.world.services)
    @rule(which=WHICH, sharing=drawn.sharing(), then=THEN)
    def edit_sharing(self, which, sharing, then):
        self._edit(which, sharing=sharing)
        self._then(then)

    @precondition(lambda self: self.world.services)
    @rule(which=WHICH, labels=drawn.LABELS, then=THEN)
    def label_service(self, which, labels, then):
        self._edit(which, labels=labels)
        self._then(then)

    @precondition(lambda self: self.world.services)
    @rule(which=WHICH, kind=drawn.KINDS, then=THEN)
    def flip_type(self, which, kind, then):
        self._edit(which, kind=kind)
        self._then(then)

    @precondition(lambda self: self.world.services)
    @rule(
        which=WHICH,
        kind=drawn.KINDS,
        families=drawn.FAMILIES,
        sharing=drawn.sharing(),
        request=drawn.requests(),
        then=THEN,
    )
    def edit_everything_at_once(  # noqa: PLR0917 - the strategies name them
        self, which, kind, families, sharing, request, then
    ):
        """Judged by the result, never by the path."""
        self._edit(which, kind=kind, families=families, sharing=sharing, request=request)
        self._then(then)

    @rule(namespace=st.sampled_from(drawn.NAMESPACES), labels=drawn.LABELS, then=THEN)
    def label_namespace(self, namespace, labels, then):
        self.world.namespaces[namespace] = labels
        self.everything = True
        self._then(then)

    @rule(name=st.sampled_from(drawn.POOLS), spec=drawn.pool_specs(), then=THEN)
    def apply_pool(self, name, spec, then):
        self.world.apply_pool(name, spec)
        self._then(then)

    @precondition(lambda self: self.world.pools)
    @rule(
        which=WHICH,
        harm=st.sampled_from(["nonsense", "delete", *("shrink" for _ in range(4))]),
        item=WHICH,
        then=THEN,
    )
    def harm_pool(self, which, harm, item, then):
        """One rule for all three, or most histories would have no pool left."""
        name = self._pool(which)
        spec = self.world.pools[name]["spec"]
        if harm == "delete":
            self.world.delete_pool(name)
        elif harm == "nonsense":
            self.world.apply_pool(name, {"addresses": ["nonsense"]})
        else:
            # Without its last range it is a pool without an address.
            ranges = list(spec["addresses"])
            if ranges:
                del ranges[item % len(ranges)]
            self.world.apply_pool(name, {**spec, "addresses": ranges})
        self._then(then)

    @precondition(lambda self: self.world.pools)
    @rule(which=WHICH, name=st.sampled_from(drawn.POOLS), then=THEN)
    def rename_pool(self, which, name, then):
        """What kubectl makes of it: the old object goes, one of another name comes."""
        old = self._pool(which)
        spec = self.world.pools[old]["spec"]
        self.world.delete_pool(old)
        self.world.apply_pool(name, spec)
        self._then(then)

    @precondition(lambda self: self.world.pools)
    @rule(which=WHICH, name=st.sampled_from(drawn.POOLS), between=THEN, then=THEN)
    def delete_and_create_pool(self, which, name, between, then):
        """The same, and the controller has time for a plan in between: who lost an address in
        the first step has it again after the second, if nobody older came before."""
        old = self._pool(which)
        spec = self.world.pools[old]["spec"]
        self.world.delete_pool(old)
        self._then(between)
        self.world.apply_pool(name, spec)
        self._then(then)

    @precondition(lambda self: self.world.services)
    @rule(which=WHICH, ingress=drawn.ingresses(), mark=drawn.MARKS, then=THEN)
    def write_status_by_hand(self, which, ingress, mark, then):
        """Also what MetalLB leaves behind: its addresses and its mark."""
        key = self._key(which)
        self.world.write_status(key, ingress, mark)
        self.changed.add(key)
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
        self.plan = plan(
            EMPTY, self.world.snapshot(), EVERYTHING, load_balancer_class=self.own_class
        )
        self.moved, self.unheard = set(), set()
        self.oracle.forget()
        self.oracle.believe(self.plan, self.world)

    @rule(written=st.lists(st.booleans(), max_size=10))
    def crash(self, written):
        """Die with some of the writes done; whoever starts next knows what the objects show."""
        self._plan()
        keys = sorted(self.world.services)
        for key, goes in zip(keys, written, strict=False):
            patch = self.world.patch_of(key, self.plan)
            if goes and patch is not None and not self._must_wait(key):
                self.world.patch_service(key, patch)
        if len(written) % 2:
            self.world.write_pools(self.plan)
        self.plan = EMPTY
        self.oracle.forget()
        self._begin_anew()

    @rule()
    def lead_again(self):
        """Lose the Lease and gain it again: of the past only the order of releases counts."""
        self.plan = self.plan.memory()
        self.oracle.new_term()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.changed = set(self.world.services)
        self.everything = True
        self.faithful = True
        self.moved, self.unheard = set(), set()

    @invariant()
    def nothing_is_owned_twice(self):
        self.seen["steps"] += 1
        holders = [
            (address, service)
            for services in self.plan.ledger.holders.values()
            for service in services
            for address in self._outcome(service).addresses
        ]
        owners: dict[Address, dict[ServiceKey, Service]] = {}
        for address, service in holders:
            owners.setdefault(address, {})[service.key] = service
        for sharers in owners.values():
            for one, other in combinations(sharers.values(), 2):
                assert sharing_refusal(one, [other]) is None
        held = {address for _, outcome in self._held(self.plan) for address in outcome.addresses}
        assert held == set(owners)

    # How

    def _key(self, which: int) -> ServiceKey:
        return sorted(self.world.services)[which % len(self.world.services)]

    def _pool(self, which: int) -> str:
        return sorted(self.world.pools)[which % len(self.world.pools)]

    def _edit(self, which: int, **fields: Any) -> None:
        """Change some of a Service's fields, as one update."""
        key = self._key(which)

        def change(body: Body) -> None:
            self._change(body, **fields)

        self.world.edit_service(key, change)
        service = self.world.service(key)
        if service.type == "LoadBalancer" and not service.addresses:
            # What it had comes back, although the status says nothing of it.
            self.faithful = self.faithful and key not in dict(self._held(self.plan))
        self.changed.add(key)

    def _change(
        self,
        body: Body,
        *,
        request: tuple[Body, Body] | None = None,
        families: tuple[list[str], str] | None = None,
        sharing: tuple[Body, Body] | None = None,
        labels: Body | None = None,
        kind: str | None = None,
    ) -> None:
        metadata, spec = body["metadata"], body["spec"]
        annotations = metadata["annotations"]
        if labels is not None:
            metadata["labels"] = labels
        if request is not None:
            _drop(annotations, "loadBalancerIPs", "address-pool")
            annotations.update(request[0])
            spec.pop("loadBalancerIP", None)
            spec.update(request[1])
        if sharing is not None:
            _drop(annotations, "allow-shared-ip")
            annotations.update(sharing[0])
            spec.update(sharing[1])
        if families is not None:
            has_cluster_ip = spec.get("clusterIP", "None") != "None"
            fields = drawn.families(families)
            if not has_cluster_ip:
                del fields["clusterIP"], fields["clusterIPs"]
            spec.update(fields)
        if kind is not None:
            body["spec"] = drawn.turned_into(kind, spec, self.own_class)

    def _plan(self) -> None:
        snapshot, before = self.world.snapshot(), self.plan
        changed = Changed(services=frozenset(self.changed), everything=self.everything)
        present = plan(before, snapshot, changed, load_balancer_class=self.own_class)
        whole = plan(before, snapshot, EVERYTHING, load_balancer_class=self.own_class)
        definite = self._nothing_to_clear(before)
        if self.everything:
            self.unheard.clear()
        self.unheard -= self.changed
        if self.faithful:
            memory = plan(before.memory(), snapshot, EVERYTHING, load_balancer_class=self.own_class)
            assert memory.outcomes == whole.outcomes
            assert self._heard(present.outcomes) == self._heard(whole.outcomes)
            assert present.touched ^ whole.touched <= self.unheard
        if definite or self.faithful:
            assert without_words(present) == without_words(whole)
            assert present.counters == whole.counters
        assert present.touched == differences(before, present)
        assert set(present.outcomes) == set(self.world.services)
        check_lawful(present, self.world)
        check_losses(before, present, self.world)
        self.seen["plans"] += 1
        if definite or self.faithful:
            self._ask_the_oracle(present)
        else:
            self.oracle.believe(present, self.world)
        self.plan = present
        self.moved |= present.touched
        self.changed, self.everything = set(), False

    def _heard(self, outcomes: Mapping[ServiceKey, Decision]) -> dict[ServiceKey, Decision]:
        """Return the decisions that are to be the same to the word."""
        return {key: said for key, said in outcomes.items() if key not in self.unheard}

    def _ask_the_oracle(self, present: Plan) -> None:
        self.seen["compared with the oracle"] += 1
        said = self.oracle.answer(self.world)
        for key, decision in present.outcomes.items():
            answer = said[key]
            if isinstance(decision, NotOurs):
                assert not answer.ours, decision
                assert decision.release == answer.release
                continue
            assert answer.ours
            assert decision.addresses == answer.addresses
            assert decision.pools == answer.pools
            assert decision.reason == answer.reason
            self.seen[answer.reason] += 1
        accepted = {key.name for key, verdict in present.verdicts.items() if verdict.accepted}
        assert accepted == {name for name, known in self.oracle.effect.items() if known[2]}
        assert set(present.counters) == accepted
        for name, found in present.counters.items():
            assert found == counters(read_pool(self.world.pools[name]), self.oracle.in_use)

    def _write(self) -> None:
        """Write every status and condition, as the controller would, and find nothing more to do."""
        for key, decision in self.plan.outcomes.items():
            patch = self.world.patch_of(key, self.plan)
            if isinstance(decision, NotOurs) and not decision.release:
                assert patch is None
            if patch is not None:
                foreign = foreign_conditions(self.world.services[key])
                self.world.patch_service(key, patch)
                assert foreign_conditions(self.world.services[key]) == foreign
                self.changed.add(key)
            elif key in self.moved:
                self.unheard.add(key)
            assert self.world.patch_of(key, self.plan) is None
            if isinstance(decision, Outcome):
                body = self.world.services[key]
                shown = [(entry["ip"], entry["ipMode"]) for entry in ingress_of(body)]
                assert shown == [(str(address), "VIP") for address in decision.addresses]
                mark = body["metadata"]["annotations"].get(OWN_MARK, "")
                assert mark == ",".join(dict.fromkeys(decision.pools))
        self.world.write_pools(self.plan)
        assert self.world.write_pools(self.plan) == 0
        self.faithful = True
        self.moved.clear()

    def _must_wait(self, key: ServiceKey) -> bool:
        """Return whether another still shows what this one shall have: see `ServiceDesk`."""
        decision = self.plan.outcomes[key]
        mine = decision.addresses if isinstance(decision, Outcome) else ()
        return any(
            address in self.world.service(other).addresses
            and address not in self._addresses_of(other)
            for address in mine
            for other in self.world.services
            if other != key
        )

    def _addresses_of(self, key: ServiceKey) -> tuple[Address, ...]:
        decision = self.plan.outcomes[key]
        return decision.addresses if isinstance(decision, Outcome) else ()

    def _settle(self) -> None:
        """Plan again on what was written: nothing moves, and a restart decides all the same."""
        before = {key: outcome.addresses for key, outcome in self._held(self.plan)}
        self._plan()
        assert before == {key: outcome.addresses for key, outcome in self._held(self.plan)}
        assert not any(self.world.patch_of(key, self.plan) for key in self.world.services)
        fresh = plan(EMPTY, self.world.snapshot(), EVERYTHING, load_balancer_class=self.own_class)
        assert without_words(fresh) == without_words(self.plan)
        assert self._heard(fresh.outcomes) == self._heard(self.plan.outcomes)
        assert fresh.verdicts == self.plan.verdicts

    def _outcome(self, service: Service) -> Outcome:
        decision = self.plan.outcomes[service.key]
        assert isinstance(decision, Outcome)
        return decision

    @staticmethod
    def _held(present: Plan) -> Iterable[tuple[ServiceKey, Outcome]]:
        return (
            (key, decision)
            for key, decision in present.outcomes.items()
            if isinstance(decision, Outcome) and decision.addresses
        )

    def _nothing_to_clear(self, before: Plan) -> bool:
        """Return whether no status shows an address that was taken away already.

        As long as that is not written, whoever looks again may find it lawful to adopt.
        """
        held = dict(self._held(before))
        return all(
            key in self.changed
            or (key in held and held[key].addresses == self.world.service(key).addresses)
            for key in self.world.services
            if self.world.service(key).addresses
        )


def _drop(annotations: Body, *names: str) -> None:
    for prefix in drawn.PREFIXES:
        for name in names:
            annotations.pop(prefix + name, None)
