"""Keep who holds which address and what was held before. Pure.

A `Ledger` belongs to a finished plan and is never changed. A `Draft` is the same thing while a
plan is being made: it copies what it changes, so that the plan before it stays true (`simulate`
compares them). The holders are an index of the outcomes by address; the shelves derive from the
pools in effect and are made anew when those change. Called by `lbctl.plan.allocation` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lbctl.model.names import ServiceKey
from lbctl.model.outcome import InvariantBroken
from lbctl.model.service import Service
from lbctl.plan.free import COUNTER_LIMIT, MEMORY, Shelf, label_shelf
from lbctl.plan.joining import Rows
from lbctl.plan.pools import PoolBook
from lbctl.plan.serving import shelf_number
from lbctl.plan.sharing import Port, Sharers, Terms, holder_of, sharing_refusal, terms_of
from lbctl.plan.slots import FAMILIES, address_of

Holders = tuple[Service] | Sharers
"""Who holds an address: nearly always one Service, and then nothing else is kept in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    holders: Mapping[int, Holders] = field(default_factory=dict)
    """Slot -> the Services that hold it, as they were when they were judged."""
    joinable: Mapping[tuple[Terms, int], Rows] = field(default_factory=dict)
    """Terms and number of a shelf -> its addresses that a Service with these terms might join."""
    shelves: tuple[Shelf, ...] = ()
    """Two for each pool in effect, see `shelf_number`; nobody changes them any more."""
    attic: Mapping[int, int] = field(default_factory=dict)
    """What `Shelf.given_back` is, for slots that no pool in effect owns at present."""
    releases: int = 0
    """How many releases there were: numbers the entries of `given_back`."""
    former: Mapping[ServiceKey, tuple[int, ...]] = field(default_factory=dict)
    """What a Service of this name lost last, one slot of each family at most, IPv4 first.

    Of use while the Service lacks that family; whoever loses another address overwrites it.
    """

    def history(self) -> Iterator[tuple[int, int]]:
        """Yield (number of the release, slot) of every free slot that somebody had."""
        for shelf in self.shelves:
            for slot, number in shelf.given_back.items():
                yield number, slot
        for slot, number in self.attic.items():
            yield number, slot

    def without_holders(self) -> Ledger:
        """Return the same memory of addresses, as if nobody held one now."""
        history = sorted(self.history())
        numbers = {slot: number for number, slot in history}
        for count, slot in enumerate(sorted(self.holders), start=1):
            numbers[slot] = self.releases + count
        lost = [(slot, holder.key) for slot in self.holders for holder in self.holders[slot]]
        return Ledger(
            attic=numbers,
            releases=self.releases + len(self.holders),
            former=_remember_losses(self.former, lost),
        )


class Draft:
    """Hold the ledger of a plan in the making."""

    def __init__(self, ledger: Ledger, book: PoolBook, *, whole: bool) -> None:
        self.book = book
        self.releases = ledger.releases
        self.stirred: set[int] = set()
        """Slots whose holders changed."""
        self.loosened: set[int] = set()
        """Shelves that got a free address."""
        self.former = ledger.former
        self._owned: set[int] = set()
        self._own_sharers: set[int] = set()
        self._own_rows: set[tuple[Terms, int]] = set()
        # `_left`: who held which slot before, of those that this draft took from somebody.
        if whole:
            self._left = [(slot, it.key) for slot, them in ledger.holders.items() for it in them]
            self.holders: dict[int, Holders] = {}
            self._joinable: dict[tuple[Terms, int], Rows] = {}
            self.shelves, self._attic = _shelve(ledger, book)
            self._owned.update(range(len(self.shelves)))
        else:
            self._left = []
            self.holders = dict(ledger.holders)
            self._joinable = dict(ledger.joinable)
            self.shelves, self._attic = list(ledger.shelves), dict(ledger.attic)

    def shelf(self, number: int) -> Shelf:
        """Return the shelf, copied so that this draft may change it."""
        if number not in self._owned:
            self._owned.add(number)
            self.shelves[number] = self.shelves[number].copy()
        return self.shelves[number]

    def shelf_of(self, slot: int) -> int | None:
        rank = self.book.locate(slot)
        return None if rank is None else 2 * rank + (slot >> 128)

    def hold(self, service: Service, slot: int, number: int | None = None) -> None:
        """Give the slot to the Service; `number` is its shelf where the caller knows it.

        Raises:
            InvariantBroken: another Service holds it and the two may not share it.
        """
        holders = self.holders.get(slot)
        self.stirred.add(slot)
        if holders:
            refusal = sharing_refusal(service, holders)
            if refusal is not None:
                raise InvariantBroken(
                    f"{address_of(slot)} was about to be given to {service.key}: {refusal.detail}"
                )
            self._sharers(slot, holders).join(service)
        else:
            self.holders[slot] = (service,)
            if number is None:
                number = self.shelf_of(slot)
            if number is not None:
                shelf = self.shelves[number] if number in self._owned else self.shelf(number)
                shelf.taken += 1
                if shelf.given_back:
                    shelf.given_back.pop(slot, None)
            else:
                self._attic.pop(slot, None)
        if service.sharing_key:
            if number is None:
                number = self.shelf_of(slot)
            if number is not None:
                place = self.shelves[number].order(slot)
                self._rows((terms_of(service), number)).occupy(place, service.sharing_ports)

    def to_join(self, terms: Terms, ports: frozenset[Port], number: int) -> int | None:
        """Return the first slot of the shelf on which such a Service may join the holders."""
        rows = self._joinable.get((terms, number))
        return None if rows is None else rows.first(ports)

    def drop(self, key: ServiceKey, slot: int) -> None:
        """Take the slot from the Service; it is free only when `settle` finds it unheld."""
        before = self.holders.get(slot)
        holder = holder_of(before, key) if before else None
        if before is None or holder is None:
            return
        self.stirred.add(slot)
        self._left.append((slot, key))
        number = self.shelf_of(slot)
        last = len(before) == 1
        if holder.sharing_key and number is not None:
            kind = (terms_of(holder), number)
            place = self.shelves[number].order(slot)
            self._rows(kind).vacate(place, holder.sharing_ports, last=last)
            if not self._joinable[kind]:
                del self._joinable[kind]
        if not last:
            self._sharers(slot, before).leave(key)
            return
        del self.holders[slot]
        if number is not None:
            self.shelf(number).taken -= 1

    def settle(self) -> None:
        """Note every address that lost its last holder as given back, and who lost which.

        Called between adopting and allocating, so that what this plan frees is chosen last, but
        first by who had it. The order of the slots, not of the Services, numbers releases of one
        plan: it is the same however the plan was reached.
        """
        holders = self.holders
        lost = [
            (slot, key)
            for slot, key in self._left
            if slot not in holders or holder_of(holders[slot], key) is None
        ]
        if lost:
            self.former = _remember_losses(self.former, lost)
        for slot in sorted({slot for slot, _ in lost if slot not in holders}):
            self.releases += 1
            number = self.shelf_of(slot)
            if number is None:
                self._attic[slot] = self.releases
                continue
            self.shelf(number).remember(slot, self.releases)
            self.loosened.add(number)
        self._left = []
        if len(self._attic) > 2 * MEMORY:
            self._attic = dict(list(self._attic.items())[-MEMORY:])

    @property
    def changed_shelves(self) -> frozenset[int]:
        return frozenset(self._owned)

    def freeze(self) -> Ledger:
        return Ledger(
            holders=self.holders,
            joinable=self._joinable,
            shelves=tuple(self.shelves),
            attic=self._attic,
            releases=self.releases,
            former=self.former,
        )

    def _sharers(self, slot: int, holders: Holders) -> Sharers:
        """Return the holders of the slot as sharers that this draft may change."""
        if isinstance(holders, Sharers):
            if slot in self._own_sharers:
                return holders
            mine = holders.copy()
        else:
            mine = Sharers(holders)
        self._own_sharers.add(slot)
        self.holders[slot] = mine
        return mine

    def _rows(self, kind: tuple[Terms, int]) -> Rows:
        """Return the rows of what may be joined, copied so that this draft may change them."""
        rows = self._joinable.get(kind)
        if rows is None or kind not in self._own_rows:
            self._own_rows.add(kind)
            rows = self._joinable[kind] = Rows() if rows is None else rows.copy()
        return rows


def _remember_losses(
    former: Mapping[ServiceKey, tuple[int, ...]], lost: Iterable[tuple[int, ServiceKey]]
) -> Mapping[ServiceKey, tuple[int, ...]]:
    """Return `former` with these losses, the latest at its end.

    Bounded as the memory of a shelf is: Services with ever new names would fill it otherwise.
    """
    known = dict(former)
    for slot, key in sorted(lost):
        others = (other for other in known.pop(key, ()) if other >> 128 != slot >> 128)
        known[key] = tuple(sorted((*others, slot)))
    return known if len(known) <= 2 * MEMORY else dict(list(known.items())[-MEMORY:])


def _shelve(ledger: Ledger, book: PoolBook) -> tuple[list[Shelf], dict[int, int]]:
    """Return empty shelves for the pools in effect, with the memory of the ledger put on them."""
    shelves = [Shelf(label_shelf(pool, family)) for pool in book.ranked for family in FAMILIES]
    attic: dict[int, int] = {}
    for number, slot in sorted(ledger.history()):
        rank = book.locate(slot)
        if rank is None:
            attic[slot] = number
        else:
            shelves[shelf_number(rank, FAMILIES[slot >> 128])].remember(slot, number)
    return shelves, attic


def count_up(shelves: tuple[Shelf, ...], rank: int) -> tuple[int, int, int, int]:
    """Return assignedIPv4, assignedIPv6, availableIPv4 and availableIPv6 of a pool, saturating."""
    four, six = shelves[2 * rank], shelves[2 * rank + 1]
    return (
        min(four.taken, COUNTER_LIMIT),
        min(six.taken, COUNTER_LIMIT),
        min(four.free, COUNTER_LIMIT),
        min(six.free, COUNTER_LIMIT),
    )
