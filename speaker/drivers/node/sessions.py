"""Hold this node's BGP sessions as planned, and tell the cluster how they stand.

`consider` hands the wanted peers to the sessions and notes what is to be told of each; what
happens to a session wakes the writer. A BGPSessionStatus is written when it would say something
else, a session's changes of state at once, mere counts at most once a second. Whether the peer has
acknowledged everything is no event of TCP: it is asked for while an answer is missing.

An object that another life of this node left is replaced, because it would vanish with that life's
pod; one of a peer that is gone is deleted. Started by `speaker.drivers.node.loop`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from lbctl.api.events import EventRecorder, EventType, ObjectRef
from lbctl.api.lease import wall_clock
from lbctl.api.publish import StatusObject, publish
from lbctl.api.reflector import Reflector
from lbctl.api.session import ApiSession
from lbctl.api.writer import GaveUp, Missing, Refused, WriteOutcome, Writer, Written, delete
from lbctl.kube.crds.bgp_session_status import (
    parse_session_status,
    render_session_status,
    session_status_name,
)
from lbctl.kube.crds.reading import is_label_value
from lbctl.kube.groups import BGP_PEER, BGP_SESSION_STATUS, Groups
from lbctl.kube.loose import metadata_of
from lbctl.kube.status_objects import bgp_session_status
from lbctl.kube.times import rfc3339
from lbctl.model.address import Address, Family
from lbctl.model.membership import Member
from lbctl.model.names import PeerName
from lbctl.model.node import Owner
from lbctl.model.peer import BGPPeer
from lbctl.model.session import SessionReport
from speaker.agent.peering import NOBODY, Speaking
from speaker.agent.sessions import Course, Turn, course_after, session_report, told_from
from speaker.drivers.node.bgp_peers import BgpPeers
from speaker.protocols.bgp_inputs import Changed
from speaker.protocols.bgp_routes import Table
from speaker.wire.bgp_fault import SHUTDOWN, cease

COUNTS_EVERY_S: Final = 1.0
"""Pause between two writes of one status that differ by counts only."""
LOOK_EVERY_S: Final = 0.2
"""Pause between two looks while an acknowledgement is missing."""
LOOK_ANYWAY_S: Final = 60.0
"""Pause between two looks when nothing has happened: a peer's routes are counted, not told of."""
AGAIN_S: Final = 1.0
"""Pause after a write that failed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """Hold what an object says; nothing if its maker died before writing the status."""

    report: SessionReport | None
    resource_version: str


class NodeSessions:
    """Hold the sessions and what the cluster was told of them; `run` is its life."""

    def __init__(
        self,
        *,
        session: ApiSession,
        writer: Writer,
        recorder: EventRecorder,
        table: Groups,
        namespace: str,
        me: Member,
        owners: tuple[Owner, ...],
        beside: Callable[[Address], tuple[Address, ...]],
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self.bgp = BgpPeers(beside=beside, on_change=self._changed)
        self.courses: dict[PeerName, Course] = {}
        self._writer = writer
        self._recorder = recorder
        self._table = table
        self._namespace = namespace
        self._me = me
        self._owners = owners
        self._wall = wall
        self._speaking: Speaking = NOBODY
        self._problems: dict[str, str] = {}
        """What cannot be written or deleted, by the name of the object."""
        self._awake = asyncio.Event()
        self._due: dict[PeerName, float] = {}
        """When a status may be written next, for counts or after a failure."""
        self._urgent: set[PeerName] = set()
        self._behind: dict[PeerName, float] = {}
        """Since when an acknowledgement is missing."""
        self._counted: dict[int, tuple[Table, Counter[Family]]] = {}
        """The routes of tables by family; a table is held, so that no other has its id."""
        resource = table[BGP_SESSION_STATUS]
        mine = {"labelSelector": f"{resource.group}/node={me.node}"}
        self.shown: Reflector[str, _Shown] = Reflector(
            session,
            resource.collection(namespace),
            project=_project,
            on_change=lambda _: self._awake.set(),
            params=mine if is_label_value(me.node) else {},
        )

    @property
    def problem(self) -> str | None:
        """Return what keeps the cluster from being told, if anything does."""
        return next(iter(self._problems.values()), None)

    def consider(self, speaking: Speaking) -> None:
        """Speak to exactly these peers, and have the cluster told; never blocks."""
        before, self._speaking = self._speaking, speaking
        if (before.peerings, before.absent) == (speaking.peerings, speaking.absent):
            return
        present = {id(one.table) for one in speaking.peerings.values()}
        self._counted = {key: one for key, one in self._counted.items() if key in present}
        now = rfc3339(self._wall())
        for name in speaking.peers:
            self.courses.setdefault(name, Course(since=now))
        for name in [name for name in self.courses if name not in speaking.peers]:
            del self.courses[name]
            self._behind.pop(name, None)
        self.bgp.apply(speaking.peerings)
        self._awake.set()

    async def run(self) -> None:
        """Tell until cancelled; then the sessions end as if the process had died."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.shown.run())
                group.create_task(self._tell())
        finally:
            await self.bgp.close(None)

    async def leave(self) -> None:
        """End every session with a word, so that no peer waits for us to come back."""
        await self.bgp.close(cease(SHUTDOWN, f"lb-speaker on {self._me.node} stops"))

    def reports(self) -> Iterator[tuple[BGPPeer, SessionReport]]:
        """Yield what the cluster should know of each session now."""
        now = asyncio.get_running_loop().time()
        for name, peer in self._speaking.peers.items():
            held = self.bgp.peers.get(name)
            yield (
                peer,
                session_report(
                    self._me,
                    peer,
                    self.courses[name],
                    now=now,
                    status=None if held is None else held.status,
                    wanted=self._wanted(name),
                    absent=self._speaking.absent.get(name, ""),
                    own=None if held is None else held.own_address,
                    other=None if held is None else held.config.address,
                ),
            )

    def _changed(self, name: PeerName, change: Changed) -> None:
        course = self.courses.get(name)
        if course is None:
            return
        self.courses[name], turn = course_after(course, change, rfc3339(self._wall()))
        # Also a state that is not told, or not yet: `_write_all` looks when it will be.
        self._awake.set()
        if turn is not None:
            self._urgent.add(name)
            self._record(name, turn)

    async def _tell(self) -> None:
        while True:
            self._awake.clear()
            wait_s = await self._write_all() if self.shown.synced.is_set() else None
            try:
                async with asyncio.timeout(wait_s):
                    await self._awake.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(0)

    async def _write_all(self) -> float | None:
        """Write what may be written now; return when to look again, None: when something happens."""
        loop = asyncio.get_running_loop()
        waits: list[float] = []
        wanted: dict[str, PeerName] = {}
        for peer, report in list(self.reports()):
            wanted[session_status_name(self._me.node, peer.name)] = peer.name
            due = self._due.get(peer.name, 0.0)
            held = self.bgp.peers.get(peer.name)
            told_at = None if held is None else told_from(held.status)
            if told_at is not None and told_at > loop.time():
                waits.append(told_at - loop.time())
            if self._is_under_way(peer.name):
                waits.append(LOOK_EVERY_S)
                # Most acknowledgements are a moment away: one write then says it all.
                since = self._behind.setdefault(peer.name, loop.time())
                due = max(due, since + LOOK_EVERY_S)
            else:
                self._behind.pop(peer.name, None)
            found = self._shown_of(peer.name)
            if found is not None and same_report(report, found.report):
                self._urgent.discard(peer.name)
                continue
            if peer.name not in self._urgent and loop.time() < due:
                waits.append(due - loop.time())
                continue
            self._urgent.discard(peer.name)
            done = await self._write(peer.name, report, found)
            pause_s = COUNTS_EVERY_S if done else AGAIN_S
            self._due[peer.name] = loop.time() + pause_s
            if not done:
                waits.append(AGAIN_S)
        for name, found in list(self.shown.items.items()):
            void = name not in wanted and _is_of(found, self._me)
            if void and not await self._remove(name, found):
                waits.append(AGAIN_S)
        for name in self._problems.keys() - wanted.keys() - self.shown.items.keys():
            del self._problems[name]
        if self._speaking.peers:
            waits.append(LOOK_ANYWAY_S)
        return min(waits, default=None)

    def _wanted(self, name: PeerName) -> Counter[Family]:
        """Return how many routes of each family the peer is to have; a table is counted once."""
        peering = self._speaking.peerings.get(name)
        if peering is None:
            return Counter()
        key = id(peering.table)
        if key not in self._counted:
            count = Counter(prefix.family for prefix in peering.table)
            self._counted[key] = peering.table, count
        return self._counted[key][1]

    def _is_under_way(self, name: PeerName) -> bool:
        """Return whether the session will get further without telling anybody."""
        held, course = self.bgp.peers.get(name), self.courses.get(name)
        if held is None or course is None or not course.up:
            return False
        return not held.observed or held.status.routes_wanted != self._wanted(name).total()

    def _shown_of(self, name: PeerName) -> _Shown | None:
        return self.shown.items.get(session_status_name(self._me.node, name))

    async def _write(self, name: PeerName, report: SessionReport, found: _Shown | None) -> bool:
        if found is not None and (
            found.report is None or found.report.incarnation != self._me.incarnation
        ):
            await self._remove(session_status_name(self._me.node, name), found)
            found = None
        wanted = bgp_session_status(self._table, self._namespace, self._owners, report)
        outcome = await publish(
            self._writer,
            StatusObject(
                collection=wanted.collection,
                api_version=wanted.resource.api_version,
                kind=wanted.resource.kind,
                metadata=wanted.metadata,
                status=wanted.status,
            ),
            resource_version=None if found is None else found.resource_version,
        )
        if isinstance(outcome, Written):
            self._problems.pop(wanted.name, None)
            self.shown.observe(outcome.body)
            return True
        self._failed("write", wanted.name, outcome)
        return False

    async def _remove(self, name: str, found: _Shown) -> bool:
        """Return whether the object is gone; the watch tells it, too."""
        path = f"{self._table[BGP_SESSION_STATUS].collection(self._namespace)}/{name}"
        outcome = await self._writer.submit(
            delete(path, resource_version=found.resource_version or None)
        )
        if isinstance(outcome, Written | Missing):
            self._problems.pop(name, None)
            return True
        self._failed("delete", name, outcome)
        return False

    def _failed(self, verb: str, name: str, outcome: WriteOutcome) -> None:
        """Keep what the server will not or cannot do; the watch or a retry settles the rest.

        What it refuses of one object it refuses of all, most often: the first is logged.
        """
        if isinstance(outcome, Refused | GaveUp):
            said = f"cannot {verb} {BGP_SESSION_STATUS} {name}: {outcome.message}"
            if not self._problems:
                logger.error("%s", said)
            self._problems[name] = said
        else:
            logger.debug("%s: %s", name, outcome)

    def _record(self, name: PeerName, turn: Turn) -> None:
        peer = self._speaking.peers.get(name)
        if peer is None:
            return
        where = f"session of node {self._me.node} with peer {name}"
        self._recorder.record(
            ObjectRef(
                api_version=self._table[BGP_PEER].api_version,
                kind=BGP_PEER,
                name=peer.name,
                namespace=peer.namespace,
                uid=peer.uid,
            ),
            EventType.NORMAL if turn.up else EventType.WARNING,
            "SessionUp" if turn.up else "SessionDown",
            f"the {where} is established" if turn.up else f"the {where} is down: {turn.text}",
        )


def _project(body: dict[str, Any]) -> tuple[str, _Shown] | None:
    metadata = metadata_of(body)
    if metadata is None:
        return None
    return metadata.name, _Shown(
        report=parse_session_status(body), resource_version=metadata.resource_version
    )


def _is_of(found: _Shown, me: Member) -> bool:
    return found.report is not None and found.report.node == me.node


def same_report(one: SessionReport, found: SessionReport | None) -> bool:
    """Return whether the API server shows the report already."""
    return found is not None and render_session_status(found) == render_session_status(one)
