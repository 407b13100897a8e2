"""The loop of lb-speaker: whatever happens wakes it, and it does what the conductor says.

Events only fold into what is known (reflectors, links, the fast path's reports) and set a flag;
one step then plans and hands the differences to those who perform them. What the statuses of
Services say is no input of a plan: it is only compared with what they should say. Idle, a step follows its
event at once; under load the pause after a step grows with its cost, so planning never takes
more than about a third of a core. Started by `speaker.main`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lbctl.api.errors import ApiRefused, ApiUnreachable
from lbctl.api.events import EventRecorder
from lbctl.api.reflector import ALL, Changes, Reflector
from lbctl.api.session import ApiSession
from lbctl.api.writer import Writer
from lbctl.kube.crds.service_l2_status import ServiceL2Status, parse_service_l2_status
from lbctl.kube.fold import Projection, Source, World, inputs
from lbctl.kube.groups import SECRETS, SERVICE_L2_STATUS, SPEAKER_STATUS, Groups
from lbctl.kube.secrets import PASSWORDS, parse_password
from lbctl.model.address import Address
from lbctl.model.membership import Instant, Member
from lbctl.model.node import Owner
from lbctl.model.outcome import Problem
from speaker.agent.conductor import NOTHING, Intentions, Situation, conduct
from speaker.agent.contact import Contact, claimed, judged
from speaker.agent.peering import Ground
from speaker.agent.table import Commanded
from speaker.drivers.node.fastpath import FastpathClient
from speaker.drivers.node.links import NodeLinks
from speaker.drivers.node.routers import Routers
from speaker.drivers.node.sessions import NodeSessions
from speaker.drivers.node.statuses import StatusPublisher
from speaker.wire.control import Heard, Hello
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac, parse_mac

PROBE_S: Final = 10.0
"""With nothing heard for so long, ask; watches of a quiet cluster are silent for a minute."""
LOAD_FACTOR: Final = 2.0
PAUSE_MAX_S: Final = 0.2
FAREWELL_S: Final = 2.0
"""How long a speaker that is stopped before its first plan tries to say so: an API server that
answers does so in milliseconds, and one that does not has nobody else either."""

logger = logging.getLogger(__name__)


class SpeakerLoop:
    """Own what is known and the tasks that learn it; `run` is its life."""

    def __init__(
        self,
        *,
        session: ApiSession,
        table: Groups,
        namespace: str,
        me: Member,
        socket: Path,
        load_balancer_class: str | None,
        owners: tuple[Owner, ...],
        excluded_links: re.Pattern[str],
        ignore_exclude_label: bool,
        shutdown_wait_s: float,
        clock: Callable[[], Instant],
    ) -> None:
        self.node = me.node
        self.intentions: Intentions = NOTHING
        self.contact = Contact()
        self.plans = 0
        self.plan_s = 0.0
        self.done = asyncio.Event()
        """Set once a stopping speaker has nothing left to hand over."""
        self._session = session
        self._me = me
        self._class = load_balancer_class
        self._owners = owners
        self._ignore_exclude_label = ignore_exclude_label
        self._shutdown_wait_s = shutdown_wait_s
        self._clock = clock
        self._stopping_at: Instant | None = None
        self._awake = asyncio.Event()
        self._due = True
        self._yielded: set[Address] = set()
        self._floor = 0
        self._bgp_synced = False
        self._probed_at: Instant | None = None
        self._probe_path = f"{table[SPEAKER_STATUS].collection(namespace)}/{me.node}"
        self._world = World(self._items, (source for source in Source if source in _SOURCES))
        self.reflectors: dict[Source, Reflector[Any, Any]] = {
            row.source: self._reader(row.path, row.project, self._on_change(row.source))
            for row in inputs(table, namespace)
            if row.source in _SOURCES
        }
        statements = table[SERVICE_L2_STATUS].collection(namespace)
        self.statements: Reflector[str, ServiceL2Status] = self._reader(
            statements, _project_statement, self._on_statements
        )
        self.passwords: Reflector[str, str | Problem] = self._reader(
            SECRETS.collection(namespace), parse_password, lambda _: self._wake(), PASSWORDS
        )
        self.links = NodeLinks(self._wake, excluded_links)
        self.routers = Routers(self._wake)
        self.fastpath = FastpathClient(
            socket,
            hello=Hello(node=me.node, incarnation=me.incarnation),
            clock=clock,
            on_change=self._wake,
            on_heard=self._heard,
            on_yielded=self._on_yielded,
            on_stale=self._stale,
        )
        self.writer = Writer(session, may_write=lambda: True, clock=clock)
        self.recorder = EventRecorder(session, component="lb-speaker", instance=str(me.node))
        self.publisher = StatusPublisher(
            session=session,
            writer=self.writer,
            recorder=self.recorder,
            table=table,
            namespace=namespace,
            node=me.node,
            reports=self.reflectors[Source.SPEAKERS],
            statements=self.statements,
            on_reported=self._wake,
        )
        self.sessions = self._node_sessions(table, namespace)

    def _reader(
        self,
        path: str,
        project: Projection,
        on_change: Callable[[Changes[Any]], None],
        params: Mapping[str, str] | None = None,
    ) -> Reflector[Any, Any]:
        return Reflector(
            self._session,
            path,
            project=project,
            on_change=on_change,
            params=params,
            clock=self._clock,
        )

    def _node_sessions(self, table: Groups, namespace: str) -> NodeSessions:
        return NodeSessions(
            session=self._session,
            writer=self.writer,
            recorder=self.recorder,
            table=table,
            namespace=namespace,
            me=self._me,
            owners=self._owners,
            beside=self.links.beside,
        )

    async def run(self) -> None:
        """Run every part until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for reflector in (*self.reflectors.values(), self.statements, self.passwords):
                    group.create_task(reflector.run())
                group.create_task(self.sessions.run())
                group.create_task(self.links.run())
                group.create_task(self.routers.run())
                group.create_task(self.fastpath.run())
                group.create_task(self.writer.run())
                group.create_task(self.recorder.run())
                group.create_task(self._probe())
                group.create_task(self._plan())
        finally:
            await self.publisher.stop()

    def stop(self) -> None:
        """Begin to hand every address over; `done` tells the end."""
        self._stopping_at = self._clock()
        self._wake()

    def problems(self) -> Iterable[str]:
        """Return what keeps this speaker from doing its job, one sentence each."""
        without_bgp = self._without_bgp
        for source, reflector in self.reflectors.items():
            if not reflector.synced.is_set() and not (without_bgp and source in _OF_BGP):
                yield reflector.problem or f"{reflector.path} has not been read yet"
        if not self.statements.synced.is_set():
            yield self.statements.problem or f"{self.statements.path} has not been read yet"
        if self.fastpath.problem is not None:
            yield self.fastpath.problem
        if self.publisher.problem is not None:
            yield self.publisher.problem
        if self.sessions.problem is not None:
            yield self.sessions.problem

    @property
    def last_contact(self) -> Instant | None:
        """Return when the API server was last heard, by any way."""
        heard = [reflector.contact_at for reflector in self.reflectors.values()]
        moments = [at for at in (*heard, self.statements.contact_at, self._probed_at) if at]
        return max(moments, default=None)

    @property
    def inputs_contact(self) -> Instant | None:
        """Return when the input of layer 2 that has been silent longest was heard."""
        heard = [one.contact_at for source, one in self.reflectors.items() if source not in _OF_BGP]
        return min((at or 0.0 for at in heard), default=None)

    @property
    def _without_bgp(self) -> bool:
        """Return whether the API server has none of BGP's kinds: an older installation's CRDs."""
        return all(self.reflectors[source].absent for source in _OF_BGP)

    def _items(self, source: Source) -> Mapping[Any, Any]:
        reflector = self.reflectors.get(source)
        return {} if reflector is None else reflector.items

    def _on_change(self, source: Source) -> Callable[[Changes[Any]], None]:
        def changed(keys: Changes[Any]) -> None:
            self._world.changed(source, None if keys is ALL else keys)
            self._wake()

        return changed

    def _on_statements(self, names: Changes[str]) -> None:
        self.publisher.statements_changed(names)
        self._awake.set()

    def _wake(self) -> None:
        """Have everything planned anew, as soon as the pace allows."""
        self._due = True
        self._awake.set()

    def _heard(self, heard: Heard) -> None:
        self.contact = claimed(self.contact, self._clock(), heard.address)
        self._wake()

    def _on_yielded(self, address: Address) -> None:
        self._yielded.add(address)
        self._wake()

    def _stale(self, known: int) -> None:
        logger.warning("lb-fastpath knows a newer view, %d; ours are renewed above it", known)
        self._floor = max(self._floor, known + 1)
        self._wake()

    async def _plan(self) -> None:
        while True:
            began = self._clock()
            self._awake.clear()
            due, self._due = self._due, False
            if due:
                self._step(began)
            else:
                self.publisher.look()
            spent = self._clock() - began
            if due:
                self.plans += 1
                self.plan_s += spent
            await asyncio.sleep(min(PAUSE_MAX_S, LOAD_FACTOR * spent))
            await self._until_awake()

    async def _until_awake(self) -> None:
        ends = (self.intentions.deadline, self.contact.deadline, self._farewell_ends)
        moment = min((at for at in ends if at is not None), default=None)
        wait_s = None if moment is None else max(0.0, moment - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._awake.wait()
        if moment is not None and self._clock() >= moment:
            # Also if something else, which needs no plan, ended the wait.
            self._due = True

    @property
    def _farewell_ends(self) -> Instant | None:
        """Return when a speaker that has announced nothing yet ends at the latest."""
        if self._stopping_at is None or self.intentions.table is not None or self.done.is_set():
            return None
        return self._stopping_at + FAREWELL_S

    def _step(self, now: Instant) -> None:
        self.contact = judged(self.contact, now, self.last_contact, self.inputs_contact)
        yielded, self._yielded = frozenset(self._yielded), set()
        # Once for all: a plan of routes follows each change, and must not miss one.
        self._bgp_synced = self._bgp_synced or all(
            one.synced.is_set() for one in self.reflectors.values()
        )
        snapshot = self._world.snapshot()
        self.intentions = conduct(
            self.intentions,
            Situation(
                now=now,
                me=self._me,
                snapshot=snapshot,
                changed=self._world.take_changed(),
                synced=all(
                    one.synced.is_set()
                    for source, one in self.reflectors.items()
                    if source not in _OF_BGP
                ),
                bgp_synced=self._bgp_synced or self._without_bgp,
                links=self.links.current,
                fastpath=self.fastpath.state,
                stopping=self._stopping_at is not None,
                released=self.contact.released,
                yielded=yielded,
                floor=self._floor,
                load_balancer_class=self._class,
                owners=self._owners,
                ignore_exclude_label=self._ignore_exclude_label,
                ground=Ground(
                    passwords=self.passwords.items if self.passwords.synced.is_set() else None,
                    routers=self.routers.current or {},
                    wait_s=self._shutdown_wait_s,
                ),
            ),
        )
        if self.intentions.table is not None:
            self.fastpath.command(self._commanded())
        if self.intentions.speaking is not None:
            self.sessions.consider(self.intentions.speaking)
            self.sessions.bgp.look_again()
            self.routers.watch(self.intentions.speaking.unnumbered, self.intentions.peers)
        self.publisher.consider(self.intentions, snapshot.services)
        ends = self._farewell_ends
        if self._has_left() or (ends is not None and now >= ends):
            self.done.set()

    def _has_left(self) -> bool:
        return (
            self.intentions.handed_over
            # Before the first list nobody knows what a process before us has left there.
            and self.reflectors[Source.SPEAKERS].synced.is_set()
            and not self.publisher.reporting
        )

    def _commanded(self) -> Commanded:
        table, speaking = self.intentions.table, self.intentions.speaking
        return Commanded(
            entries={} if table is None else table.entries,
            links=tuple(link.name for link in self.links.current or ()),
            peers=tuple(sorted(_macs(self.intentions.peers))),
            # Such a router knows us by our advertisements, as we know it by its own.
            router_links=() if speaking is None else tuple(sorted(speaking.unnumbered)),
        )

    async def _probe(self) -> None:
        while True:
            last = self.last_contact
            now = self._clock()
            if last is not None and now - last < PROBE_S:
                await asyncio.sleep(last + PROBE_S - now)
                continue
            await asyncio.sleep(PROBE_S / 4 if last is None else 0)
            try:
                await self._session.request("GET", self._probe_path, timeout_s=PROBE_S)
            except ApiRefused:
                # Any answer is contact, also "not found" before our first report.
                pass
            except ApiUnreachable:
                await asyncio.sleep(PROBE_S / 4)
                continue
            self._probed_at = self._clock()
            self._wake()


_SOURCES: Final = frozenset(Source) - {Source.NAMESPACES}
"""Namespaces decide about allocation only."""
_OF_BGP: Final = frozenset((Source.PEERS, Source.BGP_ADVERTISEMENTS, Source.COMMUNITIES))
"""Without these, in a cluster that lacks the kinds or the right to read them, layer 2 goes on."""


def _project_statement(body: dict[str, Any]) -> tuple[str, ServiceL2Status] | None:
    found = parse_service_l2_status(body)
    return None if found is None else (found.name, found)


def _macs(texts: Iterable[str]) -> Iterable[Mac]:
    for text in texts:
        try:
            yield parse_mac(text)
        except WireError:
            # A peer's report holds nonsense; its other links still count.
            continue
