"""Choose the next address of a pool, at a cost that does not grow with the pool. Pure.

A shelf holds one family of one pool. Addresses are given in the order of `spec.addresses`,
ascending, those that nobody had yet first; then those given back, the longest free first. So an
address that a client may still have in its caches rests as long as the pool allows, and nothing
ever waits for it. The Service that had it last gets it before all that (`lbctl.plan.choosing`).

Two small things make that cheap for a /64: a cursor below which every address is in use or was
given back, and an ordered dict of the addresses given back. A shelf is changed only by the draft
of a plan that made or copied it (`lbctl.plan.ledger`); a finished plan's shelves stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass, field
from typing import Final

from lbctl.model.address import Family
from lbctl.model.allocation import Tried
from lbctl.model.names import PoolName
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.plan.slots import block_of, is_buggy_slot

MEMORY: Final = 16_384
"""How many addresses given back a shelf remembers at least (at most twice as many).

Without a bound, Services that come and go for a year on a /64 would fill the memory; the longest
free are forgotten, half of them at once so that the search from the start is rare.
"""

COUNTER_LIMIT: Final = (1 << 63) - 1
"""The counters of a pool are int64 in its status and saturate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfLabel:
    """Hold what never changes about a shelf, with the answers that its pool gives."""

    pool: PoolName
    family: Family
    blocks: tuple[tuple[int, int], ...]
    avoid_buggy: bool
    capacity: int
    full: Tried
    reserved: Tried
    spare: Tried
    fresh: Tried
    reused: Tried
    returned: Tried
    shared: Tried
    asked: Tried
    kept: Tried


def label_shelf(pool: Pool, family: Family) -> ShelfLabel:
    """Return the label of the pool's shelf for one family; without a range its capacity is 0."""
    blocks = tuple(block_of(block) for block in pool.ranges if block.family is family)
    avoid_buggy = pool.avoid_buggy_ips and family is Family.IPV4
    name = pool.name

    def gave(detail: str) -> Tried:
        return Tried(pool=name, reason=None, detail=detail)

    return ShelfLabel(
        pool=name,
        family=family,
        blocks=blocks,
        avoid_buggy=avoid_buggy,
        capacity=sum(usable(first, last, avoid_buggy) for first, last in blocks),
        full=Tried(
            pool=name,
            reason=Reason.POOL_EXHAUSTED,
            detail=f"every {family} address of the pool is in use",
        ),
        reserved=Tried(
            pool=name,
            reason=Reason.POOL_EXHAUSTED,
            detail=f"every free {family} address of the pool is asked for by a waiting Service",
        ),
        spare=Tried(
            pool=name,
            reason=None,
            detail=f"has an {family} address, but the Service needs one of each family",
        ),
        fresh=gave(f"gave the next {family} address that no Service had yet"),
        reused=gave(f"gave the {family} address that has been free for longest"),
        returned=gave(f"gave the {family} address that the Service had last"),
        shared=gave(f"gave an {family} address to share, by the sharing key"),
        asked=gave(f"gave the {family} address that the Service asks for"),
        kept=gave(f"keeps its {family} address"),
    )


def usable(first: int, last: int, avoid_buggy: bool) -> int:
    """Return how many slots of a block may be given; `avoid_buggy` is for IPv4 only."""
    size = last - first + 1
    if not avoid_buggy:
        return size
    ending_0 = last // 256 - (first - 1) // 256
    ending_255 = (last + 1) // 256 - first // 256
    return size - ending_0 - ending_255


@dataclass(slots=True)
class Shelf:
    """Hold the free addresses of one family of one pool. Mutable: see the module's docstring."""

    label: ShelfLabel
    taken: int = 0
    """Distinct addresses of the shelf that are in use."""
    given_back: dict[int, int] = field(default_factory=dict)
    """Free slots that somebody had, in the order of their release, with its number."""
    block: int = 0
    """Where the search for a fresh address goes on: the block and the slot in it."""
    cursor: int = -1
    _queue: list[int] | None = None
    """`given_back` reversed, made when first needed: a dict's front is slow to pop."""

    def copy(self) -> Shelf:
        return Shelf(self.label, self.taken, self.given_back.copy(), self.block, self.cursor)

    @property
    def full(self) -> bool:
        return self.taken >= self.label.capacity

    @property
    def free(self) -> int:
        return self.label.capacity - self.taken

    def remember(self, slot: int, number: int) -> None:
        """Note that a free slot was in use before, so that it is chosen last.

        `number` counts releases, so it grows from call to call.
        """
        self.given_back.pop(slot, None)
        self.given_back[slot] = number
        self._queue = None
        if len(self.given_back) > 2 * MEMORY:
            self.given_back = dict(list(self.given_back.items())[-MEMORY:])
            self.block, self.cursor = 0, -1

    def choose(self, held: Container[int], avoid: Collection[int] = ()) -> tuple[int, Tried] | None:
        """Return the next free slot outside `avoid`, and the pool's words; take nothing.

        `held` answers whether a slot is in use. A full shelf is slow to say so: ask `full` first.
        """
        slot = self.fresh(held)
        if slot is not None and avoid and slot in avoid:
            slot = next((later for later in self._beyond(slot, held) if later not in avoid), None)
        if slot is not None:
            return slot, self.label.fresh
        slot = self._longest_free(avoid)
        return None if slot is None else (slot, self.label.reused)

    def order(self, slot: int) -> tuple[int, int]:
        """Return the key that sorts slots as `spec.addresses` does."""
        for index, (first, last) in enumerate(self.label.blocks):
            if first <= slot <= last:
                return index, slot
        return len(self.label.blocks), slot

    def fresh(self, held: Container[int]) -> int | None:
        """Return the next slot that is not in use and never was, or None; the cursor moves there."""
        blocks, given_back = self.label.blocks, self.given_back
        avoid_buggy = self.label.avoid_buggy
        while self.block < len(blocks):
            first, last = blocks[self.block]
            slot = max(first, self.cursor)
            while slot <= last and (
                slot in held
                or (given_back and slot in given_back)
                or (avoid_buggy and is_buggy_slot(slot))
            ):
                slot += 1
            self.cursor = slot
            if slot <= last:
                return slot
            self.block, self.cursor = self.block + 1, -1
        return None

    def _beyond(self, slot: int, held: Container[int]) -> Iterator[int]:
        """Yield the slots after `slot`, which the cursor is at, that would be fresh too."""
        ahead = [(slot + 1, self.label.blocks[self.block][1])]
        ahead.extend(self.label.blocks[self.block + 1 :])
        for first, last in ahead:
            for later in range(first, last + 1):
                buggy = self.label.avoid_buggy and is_buggy_slot(later)
                if not (buggy or later in held or later in self.given_back):
                    yield later

    def _longest_free(self, avoid: Collection[int]) -> int | None:
        if avoid:
            return next((slot for slot in self.given_back if slot not in avoid), None)
        if self._queue is None:
            self._queue = list(reversed(self.given_back))
        while self._queue and self._queue[-1] not in self.given_back:
            self._queue.pop()
        return self._queue[-1] if self._queue else None
