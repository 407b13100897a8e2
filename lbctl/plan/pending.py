"""Hold Services on their way to an address, and those that wait for one. Pure.

A freed address goes to the oldest waiting Service that can use it. To find it without looking at
every waiting Service, they stand in lines by what they wait for: an address of one family from any
of their pools, something particular (an address by name, a sharing partner, two families at once),
or an edit of the Service itself. Each line is sorted by age.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from lbctl.model.address import Family
from lbctl.model.allocation import Tried
from lbctl.model.names import PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.service import FamilyPolicy, Service
from lbctl.plan.slots import FAMILIES

Order = tuple[str, str, str, str]
"""The age of a Service: created, namespace, name, and its uid (who comes again is new)."""


age: Callable[[Service], Order] = attrgetter("created", "key.namespace", "key.name", "uid")
"""Return what orders Services: the older first, by name within one second."""


class Pick(NamedTuple):
    """Hold one address that a Service has or may have: from where, and what the pools said."""

    slot: int
    pool: PoolName
    shelf: int | None
    trace: tuple[Tried, ...]

    @property
    def family(self) -> Family:
        return FAMILIES[self.slot >> 128]


@dataclass(slots=True)
class Pending:
    """Collect what one Service of ours gets. Mutable: it lives for one plan only."""

    service: Service
    wanted: tuple[Family, ...]
    """The families that the Service needs, IPv4 first."""
    picks: tuple[Pick, ...] = ()
    """The addresses that it has, IPv4 first."""
    lost: tuple[Refused, ...] = ()

    @property
    def missing(self) -> tuple[Family, ...]:
        """Return the families without an address."""
        if not self.picks:
            return self.wanted
        return tuple(family for family in self.wanted if not self.has(family))

    def has(self, family: Family) -> bool:
        return any(pick.family is family for pick in self.picks)

    def add(self, pick: Pick) -> None:
        # Slots of IPv4 are smaller than those of IPv6, and a Service has one of each at most.
        self.picks = tuple(sorted((*self.picks, pick))) if self.picks else (pick,)

    @property
    def all_or_nothing(self) -> bool:
        """Return whether one address alone is refused.

        RequireDualStack asks for both. An address that the Service has already stays when its
        other family is not to be had: taking it away would help nobody.
        """
        return not self.picks and self.service.family_policy is not FamilyPolicy.PREFER_DUAL_STACK


class Line(enum.IntEnum):
    """Name what a waiting Service waits for."""

    IPV4 = 0
    IPV6 = 1
    PARTICULAR = 2
    EDIT = 3


_FAMILY_LINE = {Family.IPV4: Line.IPV4, Family.IPV6: Line.IPV6}


def line_of(pending: Pending) -> Line:
    """Return the line in which an incomplete Service waits."""
    service, missing = pending.service, pending.missing
    if service.request.problem is not None or not missing:
        return Line.EDIT
    if service.request.addresses or service.sharing_key or len(missing) > 1:
        return Line.PARTICULAR
    return _FAMILY_LINE[missing[0]]


class Lines:
    """Hold who waits, in which line, for one plan.

    Mutable while its plan is made: `Lines(before)` copies `before` when it is first changed, and
    the lines of a finished plan are never changed again.
    """

    def __init__(self, before: Lines | None = None) -> None:
        self._where: dict[ServiceKey, tuple[Line, Order]] = {}
        self._lines: tuple[list[Order], ...] = tuple([] for _ in Line)
        self._owned = before is None
        if before is not None:
            self._where, self._lines = before.contents()

    def contents(self) -> tuple[dict[ServiceKey, tuple[Line, Order]], tuple[list[Order], ...]]:
        """Return what the lines of the next plan begin with, and copy before a change."""
        return self._where, self._lines

    def __getitem__(self, line: Line) -> Sequence[Order]:
        return self._lines[line]

    def order(self, key: ServiceKey) -> Order | None:
        """Return the place of a waiting Service, or None if it does not wait."""
        place = self._where.get(key)
        return place[1] if place else None

    def discard(self, key: ServiceKey) -> None:
        """Take the Service out of the line it stands in, if any."""
        if not self._where or key not in self._where:
            return
        self._own()
        line, order = self._where.pop(key)
        del self._lines[line][bisect_left(self._lines[line], order)]

    def add(self, line: Line, service: Service) -> None:
        """Put the Service into a line instead of the one it stands in."""
        order = age(service)
        if self._where.get(service.key) == (line, order):
            return
        self.discard(service.key)
        self._own()
        self._where[service.key] = (line, order)
        queue = self._lines[line]
        if not queue or queue[-1] < order:
            queue.append(order)
        else:
            queue.insert(bisect_left(queue, order), order)

    def _own(self) -> None:
        if not self._owned:
            self._owned = True
            self._where = dict(self._where)
            self._lines = tuple(map(list, self._lines))
