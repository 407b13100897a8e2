"""Processes, a network and a clock on paper, for simulations of several replicas.

Each process has an event loop of its own, on simulated time, so that the product's coroutines run
in it unchanged. Time goes from one thing to the next; nothing sleeps. A process can be paused (its
timers and answers wait, as with SIGSTOP), suspended with its machine (its monotonic clock stands
too), killed, cut off, and have its wall clock set. The same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


EPSILON_S = 1e-6
"""Sums of floating point instants are off by less."""


class ProcessLoop(asyncio.BaseEventLoop):
    """An event loop that is stepped from outside and takes its time from a function.

    It runs one callback at a time, so that a pause falls between any two of them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock

    def time(self) -> float:
        return self._clock()

    def step(self, running: Callable[[], bool]) -> None:
        """Run what is due now, and whatever that makes ready, for as long as it is `running`."""
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        asyncio._set_running_loop(self)
        try:
            while running() and (self._timers() or ready):
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def go_first(self, work: list[Callable[[], None]]) -> None:
        """Put callbacks ahead of what is ready."""
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        ready.extendleft(asyncio.Handle(what, (), self) for what in reversed(work))

    def next_in(self) -> float | None:
        """Return the seconds until there is something to do, or None."""
        if self._ready:  # type: ignore[attr-defined]
            return 0.0
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False  # type: ignore[attr-defined]
        return max(0.0, timers[0].when() - self.time()) if timers else None

    def _timers(self) -> bool:
        """Move the timers that are over to what is ready; return whether there is any."""
        while (left := self.next_in()) is not None and left <= EPSILON_S:
            if self._ready:  # type: ignore[attr-defined]
                return True
            handle = heapq.heappop(self._scheduled)  # type: ignore[attr-defined]
            handle._scheduled = False
            self._ready.append(handle)  # type: ignore[attr-defined]
        return False


class SimProcess:
    """One replica: a loop, and what can happen to it."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self.name = name
        self.alive = True
        self.running = True
        self.cut = False
        self.wall_ahead_s = 0.0
        self._sim = sim
        self._lost_s = 0.0
        self._stopped_at = 0.0
        self._stands = False
        self._inbox: list[Callable[[], None]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.loop = ProcessLoop(self.monotonic)

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC: stands while the machine is suspended."""
        if self._stands and not self.running:
            return self._stopped_at - self._lost_s
        return self._sim.now - self._lost_s

    def boot(self) -> float:
        """CLOCK_BOOTTIME: never stands."""
        return self._sim.now

    def wall(self) -> dt.datetime:
        return EPOCH + dt.timedelta(seconds=self._sim.now + self.wall_ahead_s)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(self.loop.create_task(work))

    def deliver(self, what: Callable[[], None]) -> None:
        """Hand something to the process: now, or when it runs again."""
        if not self.alive:
            return
        if self.running:
            self.loop.call_soon(what)
        else:
            self._inbox.append(what)

    def deliver_now(self, what: Callable[[], None]) -> None:
        """Do something the process does itself: now, or first of all when it runs again."""
        if self.running:
            what()
        elif self.alive:
            self._inbox.insert(0, what)

    def pause(self, *, with_machine: bool = False) -> None:
        self.running, self._stands, self._stopped_at = False, with_machine, self._sim.now

    def resume(self) -> None:
        if self.running or not self.alive:
            return
        if self._stands:
            self._lost_s += self._sim.now - self._stopped_at
        self.running = True
        # What stood in the kernel or in the current step comes before anything else.
        self.loop.go_first(self._inbox)
        self._inbox = []

    def kill(self) -> None:
        self.alive = self.running = False

    def next_at(self) -> float | None:
        if not (self.alive and self.running):
            return None
        left = self.loop.next_in()
        return None if left is None else self._sim.now + left

    def step(self) -> None:
        self.loop.step(lambda: self.running)
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()

    def end(self) -> None:
        """Cancel what it did, so that nothing is left half done when the test ends."""
        self.alive = self.running = True
        for task in self.tasks:
            task.cancel()


class Simulation:
    """The clock and the things that will happen."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        self.processes: list[SimProcess] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def process(self, name: str) -> SimProcess:
        made = SimProcess(self, name)
        self.processes.append(made)
        return made

    def at(self, instant: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (max(instant, self.now), self._count, what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.at(self.now + seconds, what)

    def run(self, until: float) -> None:
        """Let everything happen that happens until then."""
        while True:
            moments = [at for one in self.processes if (at := one.next_at()) is not None]
            if self._agenda:
                moments.append(self._agenda[0][0])
            if not moments or min(moments) > until:
                self.now = until
                return
            self.now = max(self.now, min(moments))
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            for one in self.processes:
                at = one.next_at()
                if at is not None and at <= self.now + EPSILON_S:
                    one.step()

    def close(self) -> None:
        for one in self.processes:
            one.cut = False
            one.end()
        self.run(self.now + 60.0)
        for one in self.processes:
            assert all(task.done() for task in one.tasks)
            one.loop.close()
