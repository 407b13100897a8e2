"""Find the first address that sharers of one kind could join, by the ports in use on each. Pure.

A tenant with one sharing key and one port for everything fills address after address, and every
further Service looks for one where its port is free. So the addresses stand in rows, in the order
in which they would be given, and a row has for each port one integer with a bit for each address
that uses it: 512 addresses are asked at once. `Rows` are the addresses of one shelf whose holders
agree on everything but the ports (`lbctl.plan.sharing.Terms`). They derive from the holders;
`lbctl.plan.ledger` alone changes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from lbctl.plan.sharing import Port

Place = tuple[int, int]
"""An address, as `Shelf.order` sorts it: the index of its block, and its slot."""

LENGTH: Final = 512
"""The most addresses of a row: more make an insertion dear, fewer make a search long."""


@dataclass(slots=True, eq=False)
class _Row:
    places: list[Place] = field(default_factory=list)
    busy: dict[Port, int] = field(default_factory=dict)
    """Bit n is set where `places[n]` has a holder that uses the port; no entry is zero."""

    def find(self, place: Place) -> tuple[int, bool]:
        """Return where the place is or belongs, and whether it is there."""
        index = bisect_left(self.places, place)
        return index, index < len(self.places) and self.places[index] == place

    def insert(self, index: int, place: Place) -> None:
        if index < len(self.places):
            low = (1 << index) - 1
            self.busy = {p: bits & low | (bits & ~low) << 1 for p, bits in self.busy.items()}
        self.places.insert(index, place)

    def remove(self, index: int) -> None:
        """Take away an address that no port is in use on any more."""
        low = (1 << index) - 1
        self.busy = {p: bits & low | bits >> 1 & ~low for p, bits in self.busy.items()}
        del self.places[index]

    def split(self) -> _Row:
        """Keep the first half of the row and return the other."""
        half = len(self.places) // 2
        low = (1 << half) - 1
        upper = {port: bits >> half for port, bits in self.busy.items() if bits > low}
        other = _Row(self.places[half:], upper)
        del self.places[half:]
        self.busy = {port: bits & low for port, bits in self.busy.items() if bits & low}
        return other


class Rows:
    """Hold addresses that may be joined. Mutable: copied before a finished plan's would change."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def copy(self) -> Rows:
        twin = Rows()
        twin._rows = [_Row(row.places.copy(), row.busy.copy()) for row in self._rows]
        return twin

    def first(self, ports: Collection[Port]) -> int | None:
        """Return the first slot on which nobody uses one of the ports, or None."""
        for row in self._rows:
            taken = 0
            for port in ports:
                taken |= row.busy.get(port, 0)
            index = (~taken & (taken + 1)).bit_length() - 1  # the lowest bit that is not set
            if index < len(row.places):
                return row.places[index][1]
        return None

    def occupy(self, place: Place, ports: Collection[Port]) -> None:
        """Note that one more holder of the address uses these ports."""
        row = self._row(place)
        index, known = row.find(place)
        if not known:
            if len(row.places) == LENGTH:
                row = self._make_room(row, index)
                index, _ = row.find(place)
            row.insert(index, place)
        for port in ports:
            row.busy[port] = row.busy.get(port, 0) | 1 << index

    def vacate(self, place: Place, ports: Collection[Port], *, last: bool) -> None:
        """Note that a holder left the address; after the `last` one nobody can join there."""
        row = self._row(place)
        index, _ = row.find(place)
        for port in ports:
            bits = row.busy.pop(port) & ~(1 << index)
            if bits:
                row.busy[port] = bits
        if last:
            row.remove(index)
            if not row.places:
                self._rows.remove(row)

    def _row(self, place: Place) -> _Row:
        """Return the row that the place is in, or would be."""
        if not self._rows:
            self._rows.append(_Row())
            return self._rows[0]
        index = bisect_left(self._rows, place, key=lambda row: row.places[-1])
        return self._rows[min(index, len(self._rows) - 1)]

    def _make_room(self, full: _Row, index: int) -> _Row:
        """Make two rows of one; return the one in which an address of the index belongs."""
        # Addresses mostly come in their order: then the rows before the last stay full.
        beyond = index == len(full.places)
        fresh = _Row() if beyond else full.split()
        self._rows.insert(self._rows.index(full) + 1, fresh)
        return fresh if beyond or index > len(full.places) else full
