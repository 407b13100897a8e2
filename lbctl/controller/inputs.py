"""Read what the controller decides from, and what it tells from.

It decides from Services, pools, advertisements and namespaces: one reflector per kind, folded
into one `World`. News wakes the reconciler; an echo of our own write only waits to be looked at
with the next plan. Every replica reads and judges the pools, leading or not, since each serves the
admission webhook: `published_pools` is the one value that another thread may read.

Whether addresses are announced it tells from what speakers report, and from nodes and endpoints.
These `witnesses` are read once somebody asks for them, and nothing but that condition waits for
them. BGP's kinds are among them: no address hangs on them, so a cluster that does not have them,
or does not let us read them, allocates all the same. The callers are `lbctl.controller.main`, the
reconciler and `lbctl.controller.announcing`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from lbctl.api.pace import Pace
from lbctl.api.reflector import ALL, Changes, Reflector
from lbctl.api.session import ApiSession
from lbctl.kube.fold import (
    Input,
    SentKey,
    Source,
    World,
    inputs,
    project_profile,
    project_sent,
    project_session,
)
from lbctl.kube.groups import (
    BFD_PROFILE,
    BGP_SESSION_STATUS,
    SERVICE_L2_STATUS,
    SERVICES,
    Groups,
)
from lbctl.model.configuration import Configured
from lbctl.model.names import ObjectKey
from lbctl.model.peer import BFDProfile
from lbctl.model.session import SessionReport
from lbctl.model.snapshot import Changed, Snapshot
from lbctl.plan.announced import Sent
from lbctl.plan.pools import NO_POOLS, PoolBook, judge_pools
from lbctl.plan.tally import SessionKey

SOURCES: Final = (Source.POOLS, Source.ADVERTISEMENTS, Source.SERVICES, Source.NAMESPACES)
PLANNED_FROM: Final = (Source.SERVICES, Source.NAMESPACES)
"""Changes of these are named to the plan."""

WITNESSES: Final = frozenset(Source) - set(SOURCES)
"""Read for the condition lbctl.io/Announced, beside what speakers report."""
BGP: Final = (Source.PEERS, Source.BGP_ADVERTISEMENTS, Source.COMMUNITIES)
"""Of the witnesses: those that are configuration, and have a verdict to show."""

WITNESS_REST_S: Final = 0.1
"""How much later their news may come in a burst, as when all Nodes report. It costs half the CPU;
what depends on them, a condition, shows a False after seconds only."""

FOLLOW_AFTER_S: Final = 5.0
"""How long a follower that has just started leaves the API server to the leader."""

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
        self.on_witness: Callable[[Source, Changes[Any]], None] = _unheard
        """Told of changes of `WITNESSES`, pools and advertisements."""
        self.on_sent: Callable[[Changes[SentKey]], None] = _unheard_sent
        self.on_session: Callable[[Changes[SessionKey]], None] = _unheard_session
        self._echo = False
        self._book = NO_POOLS
        self._by_source: dict[Source, AnyReflector] = {}
        self.witnesses: dict[str, AnyReflector] = {}
        self._reading_witnesses = False
        patient = replace(pace or Pace(), rest_s=WITNESS_REST_S)
        for item in inputs(groups, namespace, to_write=True):
            witness = item.source in WITNESSES
            reflector: AnyReflector = Reflector(
                session,
                item.path,
                project=item.project,
                on_change=self._listener(item),
                pace=patient if witness else pace,
            )
            self._by_source[item.source] = reflector
            kinds = self.witnesses if witness else self.reflectors
            kinds[item.kind] = reflector
        self._sent: Reflector[SentKey, Sent] = Reflector(
            session,
            groups[SERVICE_L2_STATUS].collection(namespace),
            project=project_sent,
            on_change=self._heard_sent,
            pace=patient,
        )
        self.witnesses[SERVICE_L2_STATUS] = self._sent
        self._profiles: Reflector[ObjectKey, Configured[BFDProfile]] = Reflector(
            session,
            groups[BFD_PROFILE].collection(namespace),
            project=project_profile,
            on_change=lambda _: self._heard_bgp(),
            pace=patient,
        )
        self.witnesses[BFD_PROFILE] = self._profiles
        self._sessions: Reflector[SessionKey, SessionReport] = Reflector(
            session,
            groups[BGP_SESSION_STATUS].collection(namespace),
            project=project_session,
            on_change=self._heard_session,
            pace=patient,
        )
        self.witnesses[BGP_SESSION_STATUS] = self._sessions
        self._bgp: tuple[AnyReflector, ...] = (
            *(self._by_source[source] for source in BGP),
            self._profiles,
        )
        self._world = World(self._items, PLANNED_FROM)

    @property
    def synced(self) -> bool:
        """Return whether every kind was listed once."""
        return all(reflector.synced.is_set() for reflector in self.reflectors.values())

    def snapshot(self) -> Snapshot:
        """Return the present moment; true until the loop runs again."""
        return self._world.snapshot()

    @property
    def sent(self) -> Mapping[SentKey, Sent]:
        """Return what speakers report, by Service and family."""
        return self._sent.items

    @property
    def sessions(self) -> Mapping[SessionKey, SessionReport]:
        """Return what speakers report of their BGP sessions."""
        return self._sessions.items

    @property
    def profiles(self) -> Mapping[ObjectKey, Configured[BFDProfile]]:
        """Return the BFDProfiles; no plan asks for them."""
        return self._profiles.items

    @property
    def bgp_settled(self) -> bool:
        """Return whether BGP's kinds have been read, or will not be."""
        nodes = self._by_source[Source.NODES]
        return all(one.settled.is_set() for one in (*self._bgp, nodes))

    @property
    def bgp_known(self) -> bool:
        """Return whether it is known which objects of BGP's kinds there are."""
        nodes = self._by_source[Source.NODES]
        known = all(one.absent or one.synced.is_set() for one in self._bgp)
        return known and nodes.synced.is_set()

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

    def witness_problems(self) -> Iterator[str]:
        """Yield why it cannot be told whether addresses are announced."""
        if self._reading_witnesses:
            for kind, reflector in self.witnesses.items():
                if reflector.problem is not None:
                    yield reflector.problem
                elif not reflector.synced.is_set():
                    yield f"{kind} objects have not been read yet"

    def observe(self, kind: str, body: dict[str, Any]) -> None:
        """Take in what one of our writes returned, ahead of the watch."""
        self._echo = True
        try:
            (self.reflectors.get(kind) or self.witnesses[kind]).observe(body)
        finally:
            self._echo = False

    async def run(self, leading: asyncio.Event) -> None:
        """Read until cancelled; Services, which are many, at once only while `leading` is set.

        A follower that starts beside the leader would ask for the same thousands at the same
        time, and both would wait for the API server twice as long. It needs them later.
        """
        async with asyncio.TaskGroup() as group:
            for kind, reflector in self.reflectors.items():
                if reflector is not self._by_source[Source.SERVICES]:
                    group.create_task(reflector.run(), name=f"reflector-{kind}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FOLLOW_AFTER_S):
                    await leading.wait()
            services = self._by_source[Source.SERVICES]
            group.create_task(services.run(), name=f"reflector-{SERVICES.kind}")

    async def run_witnesses(self) -> None:
        """Read what tells whether addresses are announced, until cancelled."""
        self._reading_witnesses = True
        async with asyncio.TaskGroup() as group:
            for kind, reflector in self.witnesses.items():
                group.create_task(reflector.run(), name=f"reflector-{kind}")

    async def until_witnesses(self) -> None:
        """Return when each of them has been listed once; kinds of BGP may be missing."""
        for reflector in self.witnesses.values():
            if reflector in (*self._bgp, self._sessions):
                await reflector.settled.wait()
            if not reflector.absent:
                await reflector.synced.wait()

    async def until_bgp_settled(self) -> None:
        """Return when BGP's kinds have been read, or will not be."""
        for reflector in (*self._bgp, self._by_source[Source.NODES]):
            await reflector.settled.wait()

    async def until_synced(self) -> None:
        """Return when every kind has been listed once."""
        for reflector in self.reflectors.values():
            await reflector.synced.wait()

    def relist(self) -> Awaitable[object]:
        """Return what is done when every kind was listed after this call."""
        return asyncio.gather(*(reflector.relist() for reflector in self.reflectors.values()))

    def _items(self, source: Source) -> Mapping[Any, Any]:
        return self._by_source[source].items

    def _listener(self, item: Input) -> Callable[[Changes[Any]], None]:
        def listen(changes: Changes[Any]) -> None:
            self._heard(item.source, changes)

        return listen

    def _heard(self, source: Source, changes: Changes[Any]) -> None:
        if source in WITNESSES:
            self._world.changed(source, None if changes is ALL else changes)
            self.on_witness(source, changes)
            if source in BGP or (source is Source.NODES and self._by_source[Source.PEERS].items):
                # A peer is judged beside the nodes that it selects.
                self._heard_bgp()
            return
        if source is Source.POOLS:
            self._book = judge_pools(self.snapshot(), self._book)
        if source is Source.SERVICES or (
            source is Source.NAMESPACES and self._book.reads_namespaces
        ):
            # A plan finds out about pools by itself; a new namespace concerns few clusters.
            self._world.changed(source, None if changes is ALL else changes)
        if source in (Source.POOLS, Source.ADVERTISEMENTS):
            self.on_witness(source, changes)
        (self.on_echo if self._echo else self.on_news)()

    def _heard_bgp(self) -> None:
        """Have BGP's objects judged with the next plan: nothing waits for what they show."""
        if self.bgp_settled:
            self.on_echo()

    def _heard_session(self, changes: Changes[SessionKey]) -> None:
        self.on_session(changes)

    def _heard_sent(self, changes: Changes[SentKey]) -> None:
        self.on_sent(changes)


def _nobody() -> None:
    """Be woken for nothing."""


def _unheard(source: Source, changes: Changes[Any]) -> None:
    """Be told for nothing."""


def _unheard_sent(changes: Changes[SentKey]) -> None:
    """Be told for nothing."""


def _unheard_session(changes: Changes[SessionKey]) -> None:
    """Be told for nothing."""
