"""Hold Services on their way to an address, and those that wait for one. Pure.

A freed address goes to the oldest waiting Service that can use it. To find it without looking at
every waiting Service, they stand in lines by what they wait for: an address of one family from any
of their pools, something particular (an address by name, a sharing partner, two families at once),
or an edit of the Service itself. Each line is sorted by age.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from lbctl.model.address import Family
from lbctl.model.allocation import Tried
from lbctl.model.names import PoolName
from lbctl.model.outcome import Refused
from lbctl.model.service import FamilyPolicy, Service

Order = tuple[str, str, str, str]
"""The age of a Service: created, namespace, name, and its uid (who comes again is new)."""


def age(service: Service) -> Order:
    """Return what orders Services: the older first, by name within one second."""
    return (service.created, service.key.namespace, service.key.name, service.uid)


class Pick(NamedTuple):
    """Hold one address that a Service has or may have: from where, and what the pools said."""

    slot: int
    pool: PoolName
    shelf: int | None
    trace: tuple[Tried, ...]


@dataclass(slots=True)
class Pending:
    """Collect what one Service of ours gets. Mutable: it lives for one plan only."""

    service: Service
    wanted: tuple[Family, ...]
    """The families that the Service needs, IPv4 first."""
    picks: dict[Family, Pick] = field(default_factory=dict)
    lost: list[Refused] = field(default_factory=list)

    @property
    def missing(self) -> tuple[Family, ...]:
        picks = self.picks
        return tuple(family for family in self.wanted if family not in picks) if picks else self.wanted

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
    """Hold the lines of one plan; `frozen` hands them to the next, `of` takes them over."""

    def __init__(self, lines: Iterable[tuple[Order, ...]] = ()) -> None:
        self._before = tuple(lines) or ((), (), (), ())
        self._lines: list[list[Order] | None] = [None] * len(Line)

    def __getitem__(self, line: Line) -> tuple[Order, ...] | list[Order]:
        changed = self._lines[line]
        return self._before[line] if changed is None else changed

    def discard(self, order: Order) -> bool:
        """Take a Service out of the line it stands in, and return whether it stood in one."""
        for line in Line:
            at = bisect_left(self[line], order)
            if at < len(self[line]) and self[line][at] == order:
                del self._changed(line)[at]
                return True
        return False

    def add(self, line: Line, order: Order) -> None:
        changed = self._changed(line)
        if not changed or changed[-1] < order:
            changed.append(order)
            return
        at = bisect_left(changed, order)
        if at == len(changed) or changed[at] != order:
            changed.insert(at, order)

    def frozen(self) -> tuple[tuple[Order, ...], ...]:
        return tuple(
            before if changed is None else tuple(changed)
            for before, changed in zip(self._before, self._lines, strict=True)
        )

    def _changed(self, line: Line) -> list[Order]:
        changed = self._lines[line]
        if changed is None:
            changed = self._lines[line] = list(self._before[line])
        return changed
