"""Read what the controller decides from: Services, pools, advertisements, namespaces.

One reflector per kind, folded into one `World`. News wakes the reconciler; an echo of our own
write only waits to be looked at with the next plan. Every replica reads and judges the pools,
leading or not, since each serves the admission webhook: `published_pools` is the one value that
another thread may read. The callers are `lbctl.controller.main` and the reconciler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from lbctl.api.pace import Pace
from lbctl.api.reflector import ALL, Changes, Reflector
from lbctl.api.session import ApiSession
from lbctl.kube.fold import Input, Source, World, inputs
from lbctl.kube.groups import Groups
from lbctl.model.snapshot import Changed, Snapshot
from lbctl.plan.pools import NO_POOLS, PoolBook, judge_pools

SOURCES: Final = (Source.POOLS, Source.ADVERTISEMENTS, Source.SERVICES, Source.NAMESPACES)
PLANNED_FROM: Final = (Source.SERVICES, Source.NAMESPACES)
"""Changes of these are named to the plan."""

AnyReflector: TypeAlias = Reflector[Any, Any]


class Inputs:
    """The reflectors, the world they fill, and what changed; for one event loop."""

    def __init__(
        self,
        session: ApiSession,
        *,
        groups: Groups,
        namespace: str,
        pace: Pace | None = None,
    ) -> None:
        self.groups = groups
        self.namespace = namespace
        self.pace = pace
        self.reflectors: dict[str, AnyReflector] = {}
        self.on_news: Callable[[], None] = _nobody
        self.on_echo: Callable[[], None] = _nobody
        self._echo = False
        self._book = NO_POOLS
        self._by_source: dict[Source, AnyReflector] = {}
        for item in inputs(groups, namespace, to_write=True):
            if item.source in SOURCES:
                reflector: AnyReflector = Reflector(
                    session,
                    item.path,
                    project=item.project,
                    on_change=self._listener(item),
                    pace=pace,
                )
                self._by_source[item.source] = reflector
                self.reflectors[item.kind] = reflector
        self._world = World(self._items, PLANNED_FROM)

    @property
    def synced(self) -> bool:
        """Return whether every kind was listed once."""
        return all(reflector.synced.is_set() for reflector in self.reflectors.values())

    def snapshot(self) -> Snapshot:
        """Return the present moment; true until the loop runs again."""
        return self._world.snapshot()

    def take_changed(self) -> Changed:
        """Return what changed since the last call."""
        return self._world.take_changed()

    def published_pools(self) -> PoolBook:
        """Return the judgement on all pools. May be called from any thread."""
        return self._book

    def problems(self) -> Iterator[str]:
        """Yield why a kind cannot be read, or has not been read yet."""
        for kind, reflector in self.reflectors.items():
            if reflector.problem is not None:
                yield reflector.problem
            elif not reflector.synced.is_set():
                yield f"{kind} objects have not been read yet"

    def observe(self, source: Source, body: dict[str, Any]) -> None:
        """Take in what one of our writes returned, ahead of the watch."""
        self._echo = True
        try:
            self._by_source[source].observe(body)
        finally:
            self._echo = False

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind, reflector in self.reflectors.items():
                group.create_task(reflector.run(), name=f"reflector-{kind}")

    async def until_synced(self) -> None:
        """Return when every kind has been listed once."""
        for reflector in self.reflectors.values():
            await reflector.synced.wait()

    async def relist(self) -> None:
        """Return when every kind was listed after this call."""
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors.values():
                group.create_task(reflector.relist())

    def _items(self, source: Source) -> Mapping[Any, Any]:
        reflector = self._by_source.get(source)
        return {} if reflector is None else reflector.items

    def _listener(self, item: Input) -> Callable[[Changes[Any]], None]:
        def listen(changes: Changes[Any]) -> None:
            self._heard(item.source, changes)

        return listen

    def _heard(self, source: Source, changes: Changes[Any]) -> None:
        if source is Source.POOLS:
            self._book = judge_pools(self.snapshot(), self._book)
        if source is Source.SERVICES or (
            source is Source.NAMESPACES and self._book.reads_namespaces
        ):
            # A plan finds out about pools by itself; a new namespace concerns few clusters.
            self._world.changed(source, None if changes is ALL else changes)
        (self.on_echo if self._echo else self.on_news)()


def _nobody() -> None:
    """Be woken for nothing."""
