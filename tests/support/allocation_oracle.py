"""Allocate addresses the dumb way: loops over every address of small pools, from nothing each time.

It knows the rules and none of the cleverness: no ledger, no cursor, no lines, no incremental plan,
no parser of the product. It keeps what the rules say matters of the past: who was given what, and
had what last, who waits, which pools were in effect, and which addresses were freed, in their order. The histories of
`tests.support.allocation_machine` ask it the same question as the allocator and compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lbctl.model.allocation import Outcome
from lbctl.plan.allocation import Plan
from tests.support.allocation_reading import (
    Address,
    Body,
    ReadPool,
    ReadService,
    capacity,
    every_address,
    meet,
    read_pool,
    read_service,
    selects,
)
from tests.support.allocation_world import AllocationWorld

Has = dict[int, tuple[Address, str]]
"""What a Service has: by version, the address and its pool."""
Key = tuple[str, str]
LIMIT = 2**63 - 1


class Objects(Protocol):
    """What the oracle is asked about: bodies as the API server has them."""

    @property
    def services(self) -> Mapping[Any, Body]: ...

    @property
    def pools(self) -> Mapping[str, Body]: ...

    @property
    def namespaces(self) -> Mapping[str, Mapping[str, str]]:
        """Labels by name."""


@dataclass(frozen=True)
class Said:
    """What the oracle says of one Service; `ours` False means that it must not be written to."""

    ours: bool
    release: bool = False
    addresses: tuple[Address, ...] = ()
    pools: tuple[str, ...] = ()
    reason: str = ""


@dataclass
class Oracle:
    """Hold what matters of the past; `answer` is asked once for every plan."""

    lb_class: str | None
    given: dict[Key, tuple[str, Has]] = field(default_factory=dict)
    """By Service that was ours in the plan before: its uid and what it had."""
    waited: set[str] = field(default_factory=set)
    in_use: set[Address] = field(default_factory=set)
    freed: list[Address] = field(default_factory=list)
    """The longest free first."""
    last: dict[Key, dict[int, Address]] = field(default_factory=dict)
    """By Service's name and by version, the address that it had last."""
    effect: dict[str, tuple[str, int, bool]] = field(default_factory=dict)
    """By pool judged before: uid, generation and whether it was in effect."""

    def forget(self) -> None:
        """A new process: the past is what the objects show."""
        self.given, self.waited, self.effect, self.in_use, self.freed = {}, set(), {}, set(), []
        self.last = {}

    def new_term(self) -> None:
        """The same process leads again: it remembers which addresses were in use, and by whom."""
        self.given, self.waited, self.effect = {}, set(), {}

    def answer(self, world: Objects) -> dict[Key, Said]:
        """Say who has what, and remember it."""
        return _Round(self, world).run()

    def believe(self, plan: Plan, world: AllocationWorld) -> None:
        """Take over what the product did where the rules leave it a choice."""
        before, self.given, self.waited, self.in_use = self.in_use, {}, set(), set()
        for key, decision in plan.outcomes.items():
            if isinstance(decision, Outcome):
                pairs = zip(decision.addresses, map(str, decision.pools), strict=True)
                has: Has = {address.version: (address, pool) for address, pool in pairs}
                uid = world.service(key).uid
                self.given[key] = (uid, has)
                self.note(key, has)
                self.in_use |= {address for address, _ in has.values()}
                if decision.reason != "Allocated":
                    self.waited.add(uid)
        self.effect = {
            key.name: (plan.book.judged[key].uid, plan.book.judged[key].generation, it.accepted)
            for key, it in plan.verdicts.items()
        }
        self.freed = [item for item in self.freed if item not in self.in_use]
        self.freed.extend(sorted(before - self.in_use, key=_order))

    def note(self, key: Key, has: Has) -> None:
        had = {version: address for version, (address, _) in has.items()}
        self.last[key] = {**self.last.get(key, {}), **had}


class _Round:
    """Answer once."""

    def __init__(self, oracle: Oracle, world: Objects) -> None:
        self.oracle = oracle
        self.world = world
        self.services = sorted(map(read_service, world.services.values()), key=lambda it: it.age)
        self.verdicts: dict[str, str] = {}
        self.pools: list[ReadPool] = []
        self.limbo: dict[str, ReadPool] = {}
        self.holders: dict[Address, list[ReadService]] = {}
        self.judge_pools(map(read_pool, world.pools.values()))

    def run(self) -> dict[Key, Said]:
        said = {it.key: self.refuse(it) for it in self.services}
        ours = [it for it in self.services if said[it.key].ours]
        kept = {it.key: self.adopt(it) for it in ours}
        let_go = self.oracle.in_use - set(self.holders)
        freed = [item for item in self.oracle.freed if item not in let_go]
        self.freed = freed + sorted(let_go, key=_order)
        self.allocate(ours, kept)
        for it in ours:
            has = kept[it.key]
            said[it.key] = Said(
                ours=True,
                addresses=tuple(has[version][0] for version in sorted(has)),
                pools=tuple(has[version][1] for version in sorted(has)),
                reason=self.reason(it, has),
            )
        self.remember(ours, kept, said)
        return said

    def remember(
        self, ours: list[ReadService], kept: dict[Key, Has], said: dict[Key, Said]
    ) -> None:
        oracle = self.oracle
        oracle.given = {it.key: (it.uid, kept[it.key]) for it in ours}
        oracle.waited = {it.uid for it in ours if said[it.key].reason != "Allocated"}
        for key, has in kept.items():
            oracle.note(key, has)
        oracle.in_use = set(self.holders)
        oracle.freed = [item for item in self.freed if item not in self.holders]
        oracle.effect = {
            pool.name: (pool.uid, pool.generation, self.verdicts[pool.name] == "Accepted")
            for pool in map(read_pool, self.world.pools.values())
        }

    # Pools

    def judge_pools(self, pools: Iterable[ReadPool]) -> None:
        """Of two that overlap the one that was in effect stays, else the older."""
        for pool in sorted(pools, key=lambda it: (not self.was_in_effect(it), it.created, it.name)):
            overlaps = pool.blocks is not None and any(
                meet(mine, theirs)
                for other in self.pools
                for mine in pool.blocks
                for theirs in other.blocks or ()
            )
            self.verdicts[pool.name] = (
                "Invalid" if pool.blocks is None else "Overlaps" if overlaps else "Accepted"
            )
            if pool.blocks is None or overlaps:
                self.limbo[pool.name] = pool
            else:
                self.pools.append(pool)
        self.pools = sorted(self.pools, key=_rank)

    def was_in_effect(self, pool: ReadPool) -> bool:
        uid, generation, accepted = self.oracle.effect.get(pool.name, ("", 0, False))
        if uid == pool.uid:
            return accepted and generation == pool.generation
        return pool.accepted

    def owner(self, address: Address) -> ReadPool | None:
        return next((pool for pool in self.pools if address in pool), None)

    def serves(self, pool: ReadPool, it: ReadService) -> bool:
        rule = pool.rule
        if rule is None:
            return True
        names, selectors = rule.get("namespaces") or (), rule.get("namespaceSelectors") or ()
        labels = self.world.namespaces[it.key[0]]
        selected = any(selects(selector, labels) for selector in selectors)
        if (names or selectors) and it.key[0] not in names and not selected:
            return False
        wanted = rule.get("serviceSelectors") or ()
        return not wanted or any(selects(selector, it.labels) for selector in wanted)

    # Whose, and what it keeps

    def refuse(self, it: ReadService) -> Said:
        ours_alone = not it.hostnames and all(map(self.known, it.shown))
        if it.type != "LoadBalancer":
            return Said(ours=False, release=bool(it.mark))
        if it.lb_class != self.oracle.lb_class:
            return Said(ours=False, release=bool(it.mark) and ours_alone)
        had = {address for address, _ in self.had(it).values()}
        foreign = it.hostnames or not all(item in had or self.known(item) for item in it.shown)
        return Said(ours=bool(it.mark) or not foreign)

    def known(self, address: Address) -> bool:
        return any(address in pool for pool in (*self.pools, *self.limbo.values()))

    def had(self, it: ReadService) -> Has:
        uid, has = self.oracle.given.get(it.key, ("", {}))
        return has if uid == it.uid else {}

    def adopt(self, it: ReadService) -> Has:
        kept: Has = {}
        had = self.had(it)
        claims: list[tuple[Address, list[str]]] = [
            (address, [pool, marked(it, address)]) for address, pool in had.values()
        ]
        shown = [address for address in it.shown if address.version not in had]
        claims += [(address, [marked(it, address)]) for address in shown]
        for address, hints in claims:
            if not it.carried or address.version not in it.versions or address.version in kept:
                continue
            if it.asks and address not in it.asks:
                continue
            pool = self.keeper(it, address, hints)
            if pool and self.fits(it, address):
                self.hold(it, address, pool, kept)
        return kept

    def keeper(self, it: ReadService, address: Address, hints: Iterable[str]) -> str:
        """Return the pool from which the Service may keep the address."""
        names = []
        owner = self.owner(address)
        if owner is not None and self.serves(owner, it):
            names.append(owner.name)
        named = [name for name in hints if name in self.limbo]
        inside = [name for name, pool in self.limbo.items() if address in pool]
        names += (named + inside)[:1]
        return next((name for name in names if it.pool in ("", name)), "")

    def hold(self, it: ReadService, address: Address, pool: str, has: Has) -> None:
        self.holders.setdefault(address, []).append(it)
        has[address.version] = (address, pool)

    def fits(self, it: ReadService, address: Address) -> bool:
        return not any(clash(it, other) for other in self.holders.get(address, ()))

    # Who gets what

    def allocate(self, ours: list[ReadService], kept: dict[Key, Has]) -> None:
        """Serve who waits, then who asks by name, then the others, each by age."""
        wanted_by_name = {
            it.key: {address for address, _ in self.wish(it, kept[it.key]).values()}
            for it in ours
            if it.asks
        }
        waiting = [it for it in ours if self.waits(it)]
        fresh = [it for it in ours if not self.waits(it)]
        named = [it for it in fresh if it.asks]
        others = [it for it in fresh if not it.asks]
        for it in (*waiting, *named, *others):
            wanted_by_name.pop(it.key, None)
            avoid: set[Address] = set().union(*wanted_by_name.values())
            for address, pool in self.wish(it, kept[it.key], avoid).values():
                self.hold(it, address, pool, kept[it.key])

    def waits(self, it: ReadService) -> bool:
        return it.uid in self.oracle.waited if it.key in self.oracle.given else it.says_wait

    def wish(self, it: ReadService, has: Has, avoid: Iterable[Address] = ()) -> Has:
        """Return what the Service would get now for the families that it lacks."""
        if it.rubbish or not it.carried:
            return {}
        if it.asks and {item.version for item in it.asks} != set(it.versions):
            return {}
        got: Has = {}
        missing = [version for version in it.versions if version not in has]
        for version in missing:
            found = (
                self.by_name(it, version)
                if it.asks
                else self.first_free(it, version, set(avoid)) or self.first_free(it, version, set())
            )
            if found is not None:
                got[version] = found
        both_or_none = not it.prefers and not has
        return {} if both_or_none and len(got) < len(missing) else got

    def by_name(self, it: ReadService, version: int) -> tuple[Address, str] | None:
        if self.why_not(it, version):
            return None
        address = _asked(it, version)
        pool = self.owner(address)
        return (address, pool.name) if pool is not None else None

    def why_not(self, it: ReadService, version: int) -> str:
        """Return the reason why the Service cannot have the address that it asks for, or ""."""
        address = _asked(it, version)
        pool = self.owner(address)
        if pool is None:
            return "AddressNotInAnyPool"
        if it.pool not in ("", pool.name):
            return "AddressNotInRequestedPool"
        if not self.serves(pool, it):
            return "PoolNotAllowed"
        clashes = (clash(it, other) for other in self.holders.get(address, ()))
        return next((clash for clash in clashes if clash), "")

    def first_free(
        self, it: ReadService, version: int, avoid: set[Address]
    ) -> tuple[Address, str] | None:
        for pool in self.pools_for(it):
            last = self.oracle.last.get(it.key, {}).get(version)
            if last is not None and last in pool and last not in avoid and self.fits(it, last):
                return last, pool.name
            everything = every_address(pool, version)
            shared = (
                a for a in everything if it.sharing_key and a in self.holders and self.fits(it, a)
            )
            used = {*self.freed, *self.holders, *avoid}
            never = (a for a in everything if a not in used)
            again = (a for a in self.freed if a in pool and a.version == version)
            again = (a for a in again if a not in self.holders and a not in avoid)
            for choice in (shared, never, again):
                for address in choice:
                    return address, pool.name
        return None

    def pools_for(self, it: ReadService) -> list[ReadPool]:
        return [
            pool
            for pool in self.pools
            if it.pool in ("", pool.name)
            and self.serves(pool, it)
            and (pool.auto_assign or it.pool)
        ]

    # Reasons and counters

    def reason(self, it: ReadService, has: Has) -> str:
        missing = [version for version in it.versions if version not in has]
        if not it.carried:
            return "NoClusterIP"
        if it.rubbish:
            return "Allocated" if has else "InvalidRequest"
        if not missing:
            return "Allocated"
        return "PartiallyAllocated" if has else self.cause(it, missing)

    def cause(self, it: ReadService, missing: list[int]) -> str:
        asked_pool = next((pool for pool in self.pools if pool.name == it.pool), None)
        if it.pool and asked_pool is None:
            return "UnknownPool"
        if it.asks:
            if {item.version for item in it.asks} != set(it.versions):
                return "FamilyMismatch"
            answers = (self.why_not(it, version) for version in missing)
            return next(filter(None, answers), "PoolExhausted")
        short = [version for version in missing if self.first_free(it, version, set()) is None]
        if not short or any(_has(pool, short[0]) for pool in self.pools_for(it)):
            return "PoolExhausted"
        if asked_pool is not None and not self.serves(asked_pool, it):
            return "PoolNotAllowed"
        return "NoPoolMatches"


def counters(pool: ReadPool, in_use: Iterable[Address]) -> tuple[int, int, int, int]:
    """Return assigned and available addresses as the status of the pool shows them."""
    used = [item for item in in_use if item in pool]
    four, six = (sum(item.version == version for item in used) for version in (4, 6))
    free4, free6 = capacity(pool, 4) - four, capacity(pool, 6) - six
    return (four, six, min(free4, LIMIT), min(free6, LIMIT))


def _has(pool: ReadPool, version: int) -> bool:
    return any(block[0] == version for block in pool.blocks or ())


def _asked(it: ReadService, version: int) -> Address:
    return next(item for item in it.asks if item.version == version)


def clash(it: ReadService, other: ReadService) -> str:
    """Return why the two cannot have one address, or ""."""
    if it.key == other.key:
        return ""
    if not it.sharing_key or not other.sharing_key:
        return "AddressInUse"
    if it.sharing_key != other.sharing_key or it.local != other.local:
        return "SharingKeyDiffers"
    if it.local and it.selector != other.selector:
        return "SharingKeyDiffers"
    return "PortInUse" if it.ports & other.ports else ""


def marked(it: ReadService, address: Address) -> str:
    names = it.mark.split(",", 1)
    return names[-1 if address.version == 6 else 0].strip()


def _rank(pool: ReadPool) -> tuple[bool, float, str]:
    if pool.rule is None:
        return (True, 0, pool.name)
    return (False, pool.rule.get("priority") or float("inf"), pool.name)


def _order(address: Address) -> tuple[int, int]:
    return (address.version, int(address))
