"""Plan the allocation: which Service has which addresses, or why none. Pure.

`plan` judges the pools, adopts every lawful address in order of age, then serves who waits, then
who asks for an address by name, then the rest. First start, restart and every event are this one
function: with `everything`, or when the pools changed their effect, it looks at all Services, else
only at the changed ones and at those that wait for what these set free. Both ways end in the same
outcomes (tests/property/test_allocator.py).

An outcome depends on the snapshot, on who held what before and on which free addresses were in
use before and by whom, never on the order in which events came. Labels of namespaces matter only if
`Plan.book.reads_namespaces`; then a change of them needs `everything`. Called by the controller,
the command (`explain`, `plan`, `simulate`) and the tests.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from lbctl.model.address import Address
from lbctl.model.allocation import NotOurs, Outcome, Tried
from lbctl.model.configuration import Verdict
from lbctl.model.names import ObjectKey, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import Service
from lbctl.model.snapshot import Changed, Snapshot
from lbctl.plan.adoption import (
    Claim,
    adopt,
    claims,
    held_before,
    kept,
    not_ours,
    says_wait,
    wanted_families,
)
from lbctl.plan.choosing import Chooser
from lbctl.plan.ledger import Draft, Ledger, count_up
from lbctl.plan.pending import Line, Lines, Order, Pending, age, line_of
from lbctl.plan.pools import NO_POOLS, PoolBook, judge_pools
from lbctl.plan.serving import Slates
from lbctl.plan.slots import address_of, slot_of

Decision = Outcome | NotOurs
Counters = tuple[int, int, int, int]
"""assignedIPv4, assignedIPv6, availableIPv4, availableIPv6: at most 2^63 - 1 each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Hold what should be, and what the next plan needs to know about the past."""

    outcomes: Mapping[ServiceKey, Decision] = field(default_factory=dict)
    """The decision on every Service of the snapshot, of any type."""
    book: PoolBook = NO_POOLS
    counters: Mapping[PoolName, Counters] = field(default_factory=dict)
    """The status of every pool in effect."""
    touched: frozenset[ServiceKey] = frozenset()
    """The Services whose decision differs from the plan before, with those that are gone."""
    load_balancer_class: str | None = None
    ledger: Ledger = field(default_factory=Ledger)
    lines: Lines = field(default_factory=Lines)

    @property
    def verdicts(self) -> Mapping[ObjectKey, Verdict]:
        """Return the condition `Accepted` of every pool object."""
        return self.book.verdicts

    def memory(self) -> Plan:
        """Return an empty plan that remembers which addresses were in use, and nothing else."""
        return Plan(ledger=self.ledger.without_holders())


EMPTY: Final = Plan()


def plan(
    previous: Plan, snapshot: Snapshot, changed: Changed, *, load_balancer_class: str | None
) -> Plan:
    """Return the plan for the snapshot; `changed` names what may differ since `previous`.

    Changed pools need not be named. Nothing that a snapshot can hold raises.

    Raises:
        InvariantBroken: the allocator itself is wrong (one address was about to get two owners).
    """
    book = judge_pools(snapshot, previous.book)
    whole = (
        changed.everything
        or load_balancer_class != previous.load_balancer_class
        or not book.same_effect(previous.book)
    )
    return _Round(previous, snapshot, book, load_balancer_class, whole=whole).run(changed.services)


class _Round:
    """Make one plan, step by step."""

    def __init__(
        self,
        previous: Plan,
        snapshot: Snapshot,
        book: PoolBook,
        load_balancer_class: str | None,
        *,
        whole: bool,
    ) -> None:
        self._previous = previous
        self._services = snapshot.services
        self._book = book
        self._class = load_balancer_class
        self._whole = whole
        self._draft = Draft(previous.ledger, book, whole=whole)
        self._slates = Slates(book, snapshot.namespaces)
        self._chooser = Chooser(self._draft, self._slates)
        self._lines = Lines() if whole else Lines(previous.lines)
        self._outcomes: dict[ServiceKey, Decision] = {} if whole else dict(previous.outcomes)
        self._touched: set[ServiceKey] = set()
        self._judged: set[ServiceKey] = set()
        """The Services that this round judges from the start, of those that the lines hold."""

    def run(self, changed: Iterable[ServiceKey]) -> Plan:
        known = self._previous.outcomes
        if self._whole:
            services = sorted(self._services.values(), key=age)
            gone = [key for key in known if key not in self._services]
        else:
            dirty = self._with_holders_beside(changed)
            services = sorted(
                (self._services[key] for key in dirty if key in self._services), key=age
            )
            gone = [key for key in dirty if key not in self._services]
            self._release(dirty)
            self._judged = dirty
        for key in gone:
            self._outcomes.pop(key, None)
            self._lines.discard(key)
            if key in known:
                self._touched.add(key)
        pendings = [pending for pending in map(self._adopt, services) if pending is not None]
        self._draft.settle()
        self._explain(self._serve(pendings))
        ledger = self._draft.freeze()
        return Plan(
            outcomes=self._outcomes,
            book=self._book,
            counters=self._counters(ledger),
            touched=frozenset(self._touched),
            load_balancer_class=self._class,
            ledger=ledger,
            lines=self._lines,
        )

    def _with_holders_beside(self, changed: Iterable[ServiceKey]) -> set[ServiceKey]:
        """Return the changed Services and all that hold an address together with one of them.

        Who may stay is decided by age among all of them, so all are judged again.
        """
        found = set(changed)
        ahead = list(found)
        seen: set[int] = set()
        while ahead:
            key = ahead.pop()
            decision = self._previous.outcomes.get(key)
            service = self._services.get(key)
            addresses = decision.addresses if isinstance(decision, Outcome) else ()
            shown = service.addresses if service else ()
            for slot in {slot_of(address) for address in (*addresses, *shown)} - seen:
                seen.add(slot)
                for holder in self._draft.holders.get(slot, ()):
                    if holder.key not in found:
                        found.add(holder.key)
                        ahead.append(holder.key)
        return found

    def _release(self, keys: Iterable[ServiceKey]) -> None:
        for key in keys:
            decision = self._previous.outcomes.get(key)
            if isinstance(decision, Outcome):
                for address in decision.addresses:
                    self._draft.drop(key, slot_of(address))

    def _adopt(self, service: Service) -> Pending | None:
        """Decide on the Service if it keeps all it needs or is not ours; else return what it has."""
        earlier = self._previous.outcomes.get(service.key)
        before = held_before(service, earlier, self._previous.ledger) if earlier else []
        foreign = not_ours(service, self._book, load_balancer_class=self._class, before=before)
        if foreign is not None:
            self._lines.discard(service.key)
            self._decide(service, foreign)
            return None
        held = claims(service, before) if service.addresses else before
        if not service.cluster_ips:
            self._lines.add(Line.EDIT, service)
            self._decide(service, _no_cluster_ip(service, held))
            return None
        if not held:
            return Pending(service, wanted_families(service))
        pending = adopt(service, held, self._draft, self._slates)
        if service.request.problem is None and len(pending.picks) == len(pending.wanted):
            self._conclude(pending)
            return None
        return pending

    def _serve(self, pendings: list[Pending]) -> list[Pending]:
        """Give addresses to those who lack one; return the Services that still do."""
        known = self._previous.outcomes
        waiting: list[tuple[Order, Pending]] = []
        named: list[Pending] = []
        others: list[Pending] = []
        for pending in pendings:
            service = pending.service
            if (service.conditions or service.key in known) and self._waits(service):
                waiting.append((age(service), pending))
            elif service.request.addresses:
                named.append(pending)
            else:
                others.append(pending)
        if not self._whole:
            particular = list(self._particular(self._judged))
            waiting.extend((age(pending.service), pending) for pending in particular)
        waiting.sort(key=itemgetter(0))
        asked = [p for p in (*(p for _, p in waiting), *named) if p.service.request.addresses]
        avoid = self._asked_for(asked) if waiting or self._draft.loosened else {}
        plain: Iterator[tuple[Order, Pending | None]] = ((order, None) for order in self._plain())
        left: list[Pending] = []
        for order, entry in heapq.merge(waiting, plain, key=itemgetter(0)):
            woken = entry or self._again(order)
            # One from a plain line that gets nothing waits on as before, with the same reason.
            if woken is not None and not self._try(woken, avoid) and entry is not None:
                left.append(woken)
        left.extend(pending for pending in (*named, *others) if not self._try(pending, avoid))
        return left

    def _waits(self, service: Service) -> bool:
        """Return whether the Service was told before that it has to wait."""
        if isinstance(self._previous.outcomes.get(service.key), Outcome):
            return self._previous.lines.order(service.key) == age(service)
        return bool(service.conditions) and says_wait(service)

    def _try(self, pending: Pending, avoid: dict[int, Pending]) -> bool:
        """Give the Service what there is; return whether that is all it needs."""
        service, request = pending.service, pending.service.request
        if not (request.addresses or request.problem or pending.picks or len(pending.wanted) != 1):
            # Nearly every Service, so this is written out: any one address will do.
            pick = self._chooser.free(service, pending.wanted[0], avoid)
            if pick is None:
                return False
            self._draft.hold(service, pick.slot, pick.shelf)
            pending.picks = (pick,)
            self._conclude(pending)
            return True
        if avoid:
            for slot in map(slot_of, request.addresses):
                if avoid.get(slot) is pending:
                    del avoid[slot]
        found = self._chooser.find(pending, avoid)
        if found:
            self._chooser.take(pending, found)
        if len(pending.picks) < len(pending.wanted) or request.problem:
            return False
        self._conclude(pending)
        return True

    def _asked_for(self, pendings: Iterable[Pending]) -> dict[int, Pending]:
        """Return the slots that Services ask for by name and could have, with who comes last.

        Who waits longer may take one of them, but only if nothing else is free.
        """
        return {pick.slot: pending for pending in pendings for pick in self._chooser.find(pending)}

    def _particular(self, known: set[ServiceKey]) -> Iterator[Pending]:
        """Yield the waiting Services, not `known` yet, whose particular wish may have come true."""
        if not self._draft.stirred:
            return
        shelves = {self._draft.shelf_of(slot) for slot in self._draft.stirred}
        for order in self._lines[Line.PARTICULAR]:
            service = self._services.get(ServiceKey(order[1], order[2]))
            if service is None or service.key in known or not self._hopes(service, shelves):
                continue
            pending = self._again(order)
            if pending is not None:
                yield pending

    def _hopes(self, service: Service, shelves: set[int | None]) -> bool:
        """Return whether anything changed on what the Service waits for.

        `shelves` are those of the slots whose holders changed. Elsewhere a Service that has
        nothing was told already what is so, once it was told what it lost: thousands that wait
        for one full pool are no work for the other pools.
        """
        asked = service.request.addresses
        if asked:
            return any(slot_of(item) in self._draft.stirred for item in asked)
        told = self._previous.outcomes.get(service.key)
        if isinstance(told, Outcome) and (told.addresses or told.lost):
            return True
        slates = (self._slates.slate(service, family) for family in wanted_families(service))
        return any(not shelves.isdisjoint(slate.shelves) for slate in slates)

    def _plain(self) -> Iterator[Order]:
        """Yield who waits for any address of a family, by age, while a freed one is left."""
        draft, loosened = self._draft, self._draft.loosened
        lines = [
            tuple(self._lines[Line(number)]) for number in sorted({item % 2 for item in loosened})
        ]
        if self._whole or not lines:
            return
        for order in heapq.merge(*lines):
            if not any(draft.shelves[number].free for number in loosened):
                return
            if ServiceKey(order[1], order[2]) not in self._judged:
                yield order

    def _again(self, order: Order) -> Pending | None:
        """Return the waiting Service with what it has; None if the snapshot has another by now."""
        service = self._services.get(ServiceKey(order[1], order[2]))
        decision = self._previous.outcomes.get(service.key) if service else None
        if service is None or service.uid != order[3] or not isinstance(decision, Outcome):
            return None
        pending = Pending(service, wanted_families(service))
        for address, pool in zip(decision.addresses, decision.pools, strict=True):
            pending.add(kept(slot_of(address), pool, self._draft))
        return pending

    def _explain(self, left: list[Pending]) -> None:
        """Decide on those who lack something, now that every address is given."""
        if not self._whole:
            known = {pending.service.key for pending in left} | self._judged
            left = [*left, *self._particular(known)]
        for pending in left:
            if pending.missing or pending.service.request.problem is not None:
                self._conclude(pending, *self._chooser.refusal(pending))

    def _conclude(
        self, pending: Pending, refused: Refused | None = None, tail: tuple[Tried, ...] = ()
    ) -> None:
        service, picks = pending.service, pending.picks
        addresses: tuple[Address, ...]
        pools: tuple[PoolName, ...]
        if len(picks) == 1 and not tail:
            addresses, pools = (address_of(picks[0].slot),), (picks[0].pool,)
            trace = picks[0].trace
        else:
            addresses = tuple(address_of(pick.slot) for pick in picks)
            pools = tuple(pick.pool for pick in picks)
            words = (said for pick in picks for said in pick.trace)
            trace = tuple(dict.fromkeys((*words, *tail)))
        # Past its constructor, a call less: this runs for every Service.
        outcome: Outcome = tuple.__new__(
            Outcome, (service.key, addresses, pools, refused, trace, pending.lost)
        )
        if refused is None or outcome.reason is Reason.ALLOCATED:
            self._lines.discard(service.key)
        else:
            self._lines.add(line_of(pending), service)
        self._decide(service, outcome)

    def _decide(self, service: Service, decision: Decision) -> None:
        key = service.key
        before = self._previous.outcomes.get(key)
        if before is not None and before == decision:
            self._outcomes[key] = before
        else:
            self._touched.add(key)
            self._outcomes[key] = decision

    def _counters(self, ledger: Ledger) -> Mapping[PoolName, Counters]:
        ranks = sorted({number // 2 for number in self._draft.changed_shelves})
        fresh = {self._book.ranked[rank].name: count_up(ledger.shelves, rank) for rank in ranks}
        return fresh if self._whole else {**self._previous.counters, **fresh}


def _no_cluster_ip(service: Service, held: list[Claim]) -> Outcome:
    text = "the Service is headless or has no cluster IP yet, so nothing could carry its traffic"
    return Outcome(
        service=service.key,
        addresses=(),
        pools=(),
        refused=Refused(reason=Reason.NO_CLUSTER_IP, detail=text),
        trace=(),
        lost=tuple(
            Refused(reason=Reason.NO_CLUSTER_IP, detail=f"{address} is not kept: {text}")
            for address, _ in held
        ),
    )
