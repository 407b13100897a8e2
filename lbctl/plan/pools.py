"""Judge pools beside each other: which are in effect, in which rank, and who owns an address. Pure.

One bad pool disables itself and nothing else. Of two pools that overlap the one that was in effect
already keeps working: that is the older object, or, when an edit made the overlap, the one that
was not edited. "Already in effect" is read from the previous judgement and, after a restart, from
the condition on the object, so nothing moves because a process started.

A pool object that exists but is not in effect is in *limbo*: it gives no address, but the Services
that have one from it keep it (`PoolBook.keeper`). `judge_candidate` gives the admission webhook the
same verdict in the same words. Called by `lbctl.plan.allocation`, the webhook and the command.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from lbctl.model.address import Family, why_not_external
from lbctl.model.configuration import Configured, Verdict
from lbctl.model.names import ObjectKey, PoolName
from lbctl.model.outcome import Problem
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.model.snapshot import Snapshot
from lbctl.plan.free import usable
from lbctl.plan.slots import block_of, is_buggy_slot

_MOST_PROBLEMS: Final = 20
"""How many problems one message spells out; a pool of 1,000 wrong ranges would fill the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBook:
    """Hold the judgement on every pool object of one snapshot."""

    verdicts: Mapping[ObjectKey, Verdict] = field(default_factory=dict)
    ranked: tuple[Pool, ...] = ()
    """The pools in effect, in the order in which they are tried."""
    limbo: Mapping[PoolName, Pool | None] = field(default_factory=dict)
    """Pools that exist and are not in effect; None when their fields cannot be read."""
    judged: Mapping[ObjectKey, Configured[Pool]] = field(default_factory=dict)
    """The objects that were judged, to see whether anything is new."""
    rank_of: Mapping[PoolName, int] = field(default_factory=dict)
    starts: tuple[int, ...] = ()
    """First slot of every range in effect, ascending; `ends` and `homes` run in parallel."""
    ends: tuple[int, ...] = ()
    homes: tuple[int, ...] = ()
    """The rank of the pool that owns the range."""

    def locate(self, slot: int) -> int | None:
        """Return the rank of the pool in effect that owns the slot."""
        index = bisect_right(self.starts, slot) - 1
        if index < 0 or slot > self.ends[index]:
            return None
        rank = self.homes[index]
        return None if self.ranked[rank].avoid_buggy_ips and is_buggy_slot(slot) else rank

    def withholder(self, slot: int) -> PoolName | None:
        """Return the pool in effect that holds the slot and never gives it (`avoidBuggyIPs`)."""
        if not is_buggy_slot(slot):
            return None
        index = bisect_right(self.starts, slot) - 1
        if index < 0 or slot > self.ends[index]:
            return None
        pool = self.ranked[self.homes[index]]
        return pool.name if pool.avoid_buggy_ips else None

    def keeper(self, slot: int, hints: Iterable[str] = ()) -> PoolName | None:
        """Return the pool in limbo from which a Service keeps the slot.

        `hints` are the pools that the Service is known to have the address from, the best first.
        """
        if not self.limbo:
            return None
        for hint in hints:
            if hint in self.limbo:
                return PoolName(hint)
        for name, pool in self.limbo.items():
            if pool is None or (pool.avoid_buggy_ips and is_buggy_slot(slot)):
                continue
            if any(first <= slot <= last for first, last in map(block_of, pool.ranges)):
                return name
        return None

    def same_effect(self, other: PoolBook) -> bool:
        """Return whether both judgements give every Service the same."""
        return self is other or (self.ranked == other.ranked and self.limbo == other.limbo)

    @property
    def reads_namespaces(self) -> bool:
        """Return whether labels of namespaces matter: then their change needs a full plan."""
        return any(
            pool.allocation is not None and pool.allocation.namespace_selectors
            for pool in self.ranked
        )


NO_POOLS: Final = PoolBook()


def judge_pools(snapshot: Snapshot, previous: PoolBook = NO_POOLS) -> PoolBook:
    """Return the judgement on the snapshot's pools; `previous` is the one before, if any.

    The very same object comes back when nothing about any pool is new.
    """
    pools = snapshot.pools
    if len(pools) == len(previous.judged) and all(
        previous.judged.get(key) is entry for key, entry in pools.items()
    ):
        return previous
    verdicts: dict[ObjectKey, Verdict] = {}
    in_effect = _Occupied()
    limbo: dict[PoolName, Pool | None] = {}
    for entry in sorted(
        pools.values(),
        key=lambda item: (
            not _was_in_effect(item, previous),
            item.created,
            item.key.name,
            item.key.namespace,
        ),
    ):
        verdict = _judge(entry, in_effect)
        verdicts[entry.key] = verdict
        if verdict.accepted and entry.spec is not None:
            in_effect.add(entry.spec)
        else:
            limbo.setdefault(PoolName(entry.key.name), entry.spec)
    ranked = tuple(sorted(in_effect.pools.values(), key=pool_rank))
    rank_of = {pool.name: rank for rank, pool in enumerate(ranked)}
    return PoolBook(
        verdicts=verdicts,
        ranked=ranked,
        limbo={name: pool for name, pool in limbo.items() if name not in rank_of},
        judged=dict(pools),
        rank_of=rank_of,
        starts=tuple(in_effect.starts),
        ends=tuple(in_effect.ends),
        homes=tuple(rank_of[name] for name in in_effect.names),
    )


def pool_rank(pool: Pool) -> tuple[bool, bool, int, str]:
    """Return the key that orders pools: pinned by priority (0 last) and name, then the others."""
    allocation = pool.allocation
    if allocation is None:
        return (True, True, 0, pool.name)
    return (False, allocation.priority == 0, allocation.priority, pool.name)


def judge_candidate(entry: Configured[Pool], book: PoolBook) -> Verdict:
    """Return the verdict on a pool that would join those in effect, or replace its old form."""
    return _judge(entry, _Occupied.of(book))


def pool_doubts(pool: Pool) -> tuple[Problem, ...]:
    """Return what is doubtful about a pool that is in effect all the same."""
    doubts = [
        Problem(
            path=f"spec.addresses[{index}]",
            message=f"{block} holds addresses of {why}; list others",
        )
        for index, block in enumerate(pool.ranges)
        if (why := why_not_external(block)) is not None
    ]
    four = [block_of(block) for block in pool.ranges if block.family is Family.IPV4]
    if four and pool.avoid_buggy_ips and not any(usable(*block, True) for block in four):
        doubts.append(
            Problem(
                path="spec.avoidBuggyIPs",
                message="every IPv4 address of the pool ends in .0 or .255, so that none is given; "
                "list others, or set it to false",
            )
        )
    return tuple(doubts)


def overlap_problems(candidate: Pool, others: Iterable[Pool]) -> tuple[Problem, ...]:
    """Return a problem for each range of `candidate` that has addresses in common with `others`.

    A pool of the same name and namespace among the others is the candidate's old form. No other
    pool overlaps itself: two pools of 1,000 ranges each are compared in one pass.
    """
    return tuple(
        Problem(
            path=f"spec.addresses[{index}]",
            message=f"{candidate.ranges[index]} of pool {candidate.name} overlaps "
            f"{other.ranges[theirs]} of pool {other.name}; "
            "remove the common addresses from one of the two",
        )
        for index, _, other, theirs in sorted(
            (
                (index, order, other, theirs)
                for order, other in enumerate(others)
                if (other.name, other.namespace) != (candidate.name, candidate.namespace)
                for index, theirs in _common(candidate, other)
            ),
            key=lambda found: (found[0], found[1], found[3]),
        )
    )


def _common(mine: Pool, other: Pool) -> Iterator[tuple[int, int]]:
    """Yield the indexes of ranges with addresses in common."""
    theirs = sorted((*block_of(block), index) for index, block in enumerate(other.ranges))
    starts = [first for first, _, _ in theirs]
    for index, (first, last) in enumerate(map(block_of, mine.ranges)):
        at = max(bisect_right(starts, first) - 1, 0)
        while at < len(theirs) and starts[at] <= last:
            if theirs[at][1] >= first:
                yield index, theirs[at][2]
            at += 1


def inner_overlap_problems(pool: Pool) -> tuple[Problem, ...]:
    """Return a problem for each range that has addresses in common with another of the pool."""
    blocks = sorted((*block_of(block), index) for index, block in enumerate(pool.ranges))
    problems = []
    widest = blocks[0] if blocks else (0, 0, 0)
    for _, block in pairwise(blocks):
        if block[0] <= widest[1]:
            first, second = sorted((widest[2], block[2]))
            problems.append(
                Problem(
                    path=f"spec.addresses[{second}]",
                    message=f"{pool.ranges[second]} overlaps {pool.ranges[first]} "
                    f"(spec.addresses[{first}]) of the same pool; remove one of the two",
                )
            )
        widest = max(widest, block, key=lambda item: item[1])
    return tuple(problems)


def join_problems(problems: Iterable[Problem]) -> str:
    """Return all problems as one message, at most 20 of them in full."""
    texts = [str(problem) for problem in problems]
    more = len(texts) - _MOST_PROBLEMS
    tail = [f"and {more} more problems"] if more > 0 else []
    return "; ".join([*texts[:_MOST_PROBLEMS], *tail])


def _was_in_effect(entry: Configured[Pool], previous: PoolBook) -> bool:
    known = previous.judged.get(entry.key)
    if known is not None and known.uid == entry.uid:
        return known.generation == entry.generation and previous.verdicts[entry.key].accepted
    shown = entry.accepted
    return (
        shown is not None
        and shown.status == "True"
        and shown.observed_generation == entry.generation
    )


def _judge(entry: Configured[Pool], in_effect: _Occupied) -> Verdict:
    pool = entry.spec
    problems = entry.problems
    if pool is not None:
        problems = (*problems, *inner_overlap_problems(pool))
        if not pool.ranges:
            empty = "the pool holds no address; list a CIDR such as 192.0.2.0/24"
            problems = (*problems, Problem(path="spec.addresses", message=empty))
        namesake = in_effect.pools.get(pool.name)
        if namesake is not None and namesake.namespace != pool.namespace:
            text = (
                f"there is a pool {pool.name} in namespace {namesake.namespace} already; rename it"
            )
            problems = (*problems, Problem(path="metadata.name", message=text))
    if problems or pool is None:
        return Verdict(accepted=False, reason=Reason.INVALID, message=join_problems(problems))
    overlaps = overlap_problems(pool, in_effect.rivals(pool))
    if overlaps:
        return Verdict(accepted=False, reason=Reason.OVERLAPS, message=join_problems(overlaps))
    doubts = pool_doubts(pool)
    message = "the pool is in effect" + (f"; but {join_problems(doubts)}" if doubts else "")
    return Verdict(accepted=True, reason=Reason.ACCEPTED, message=message)


class _Occupied:
    """Collect the ranges in effect, sorted, so that each new pool is compared by bisection."""

    def __init__(self) -> None:
        self.pools: dict[PoolName, Pool] = {}
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.names: list[PoolName] = []

    @classmethod
    def of(cls, book: PoolBook) -> _Occupied:
        """Return what the pools in effect occupy."""
        occupied = cls()
        occupied.pools = {pool.name: pool for pool in book.ranked}
        occupied.starts, occupied.ends = list(book.starts), list(book.ends)
        occupied.names = [book.ranked[home].name for home in book.homes]
        return occupied

    def add(self, pool: Pool) -> None:
        self.pools[pool.name] = pool
        for first, last in map(block_of, pool.ranges):
            at = bisect_right(self.starts, first)
            self.starts.insert(at, first)
            self.ends.insert(at, last)
            self.names.insert(at, pool.name)

    def rivals(self, pool: Pool) -> list[Pool]:
        """Return the pools that overlap `pool`, in order of name."""
        names = set()
        for first, last in map(block_of, pool.ranges):
            at = max(bisect_right(self.starts, first) - 1, 0)
            while at < len(self.starts) and self.starts[at] <= last:
                if self.ends[at] >= first:
                    names.add(self.names[at])
                at += 1
        return [self.pools[name] for name in sorted(names)]
