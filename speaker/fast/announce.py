"""Announcing: which address is announced on which link, when, and how fast. Pure.

Each address on each link gets six rounds, because clients, switches and their caches miss frames,
and a client that missed all would need 15 to 45 s by its own means. Rounds are paced per link, so
that taking over thousands of addresses at once does not fill a switch's queue; under pacing, the
first rounds of all addresses go out before the second round of any. A round's successor is timed
from when the round really left, so at most one round per address and link waits.

Whether a round may still be sent is asked of `AddressTable.may_answer` by the conductor, at the
moment of sending. The machine shape of HOUSE 4: `receive`, `expire`, `deadline`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final, assert_never

from lbctl.model.address import Address
from lbctl.model.names import LinkName
from speaker.fast.instant import Instant

SCHEDULE_S: Final = (0.0, 0.05, 0.2, 1.0, 2.2, 4.4)
"""When the rounds are due after the start: dense while loss hurts, then for the slow ones."""
FRAMES_PER_SECOND: Final = 2000
"""Of each link; a node that takes over 200 addresses has announced them all in 0.2 s."""
BURST_FRAMES: Final = 64
"""Frames that may leave at once after a pause: a few addresses are never paced at all."""
FRAMES_PER_ROUND: Final = {4: 2, 6: 1}
"""IPv4 has two forms (request and reply), IPv6 one (unsolicited advertisement)."""


_ROUNDING: Final = 1e-3
"""Frames; lets a call at exactly `deadline` through although the clock is a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Begin the rounds for `address` on `link`, or begin them again."""

    address: Address
    link: LinkName


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Send no further round for `address` on `link`."""

    address: Address
    link: LinkName


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Announce `address` on `link` now; `number` counts from 0."""

    address: Address
    link: LinkName
    number: int


@dataclass(order=True, slots=True)
class _Waiting:
    """A round in the queue; ordered by due time, then by age, so equals leave in order."""

    due: Instant
    serial: int
    address: Address = field(compare=False)
    number: int = field(compare=False)


@dataclass(slots=True)
class _Line:
    """The queue of one link and its token bucket, in frames."""

    queue: list[_Waiting] = field(default_factory=list)
    current: dict[Address, int] = field(default_factory=dict)
    """The serial of the one valid round of each address; others in the queue are left-overs."""
    tokens: float = BURST_FRAMES
    counted: Instant = 0.0


class Announcer:
    """Plan the rounds of every address on every link."""

    def __init__(self) -> None:
        self._lines: dict[LinkName, _Line] = {}
        self._serial = 0

    def receive(self, now: Instant, command: Start | Stop) -> tuple[Round, ...]:
        """Take a command; rounds come out of `expire`, also the one that is due at once."""
        match command:
            case Start():
                line = self._lines.setdefault(command.link, _Line(counted=now))
                self._push(line, now, command.address, 0)
            case Stop():
                stopped = self._lines.get(command.link)
                if stopped is not None:
                    stopped.current.pop(command.address, None)
                    self._tidy(command.link, stopped)
            case _:
                assert_never(command)
        return ()

    def expire(self, now: Instant) -> tuple[Round, ...]:
        """Return the rounds that are due and that the pace of their link allows."""
        rounds: list[Round] = []
        for link, line in list(self._lines.items()):
            refill = (now - line.counted) * FRAMES_PER_SECOND
            line.tokens = min(BURST_FRAMES, line.tokens + max(0.0, refill))
            line.counted = now
            while (waiting := _head(line)) is not None and waiting.due <= now:
                cost = FRAMES_PER_ROUND[waiting.address.version]
                if line.tokens < cost - _ROUNDING:
                    break
                line.tokens -= cost
                heapq.heappop(line.queue)
                rounds.append(Round(address=waiting.address, link=link, number=waiting.number))
                self._next(line, now, waiting)
            self._tidy(link, line)
        return tuple(rounds)

    @property
    def deadline(self) -> Instant | None:
        """When the next round is both due and allowed."""
        deadlines = []
        for line in self._lines.values():
            waiting = _head(line)
            if waiting is not None:
                missing = FRAMES_PER_ROUND[waiting.address.version] - line.tokens
                allowed = line.counted + max(0.0, missing) / FRAMES_PER_SECOND
                deadlines.append(max(waiting.due, allowed))
        return min(deadlines, default=None)

    def _next(self, line: _Line, now: Instant, sent: _Waiting) -> None:
        following = sent.number + 1
        if following == len(SCHEDULE_S):
            del line.current[sent.address]
            return
        gap = SCHEDULE_S[following] - SCHEDULE_S[sent.number]
        self._push(line, max(now, sent.due) + gap, sent.address, following)

    def _push(self, line: _Line, due: Instant, address: Address, number: int) -> None:
        self._serial += 1
        line.current[address] = self._serial
        waiting = _Waiting(due=due, serial=self._serial, address=address, number=number)
        heapq.heappush(line.queue, waiting)

    def _tidy(self, link: LinkName, line: _Line) -> None:
        """Drop left-overs when they outnumber the living, so that churn cannot grow the queue."""
        if len(line.queue) > 2 * len(line.current) + 16:
            line.queue = [
                each for each in line.queue if line.current.get(each.address) == each.serial
            ]
            heapq.heapify(line.queue)
        if not line.current and line.tokens >= BURST_FRAMES:
            del self._lines[link]


def _head(line: _Line) -> _Waiting | None:
    """Return the first valid round, dropping left-overs before it."""
    while line.queue:
        waiting = line.queue[0]
        if line.current.get(waiting.address) == waiting.serial:
            return waiting
        heapq.heappop(line.queue)
    return None
