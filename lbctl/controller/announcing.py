"""Find out whether the addresses of Services are announced, and tell it when it has lasted.

What speakers report by ServiceL2Status makes the condition lbctl.io/Announced True at once. A
False waits until it has lasted `settle_s`, so that neither a hand-over nor a new address shows one
for a moment; so does a True that rests on BGP, because the status of a session names no address,
and one that came before the address would speak of other routes. A Service whose every address is
reported costs two look-ups and no plan, whatever happens to nodes and endpoints; only the others
are judged, one by one, and again when something that they were judged by has changed, at most once
per `settle_s`. Who hears of it by BGP is followed for all of them (`lbctl.controller.hearing`).

This is secondary to allocation. Its inputs are read after the first plan of the first term; while
many statuses wait to be written nothing is looked at for its sake; and a failure in here leaves
the conditions as they are and is tried again with everything. The reconciler runs it and is told
which Services to look at; `lbctl.controller.services` asks for the `word` on each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lbctl.api.reflector import ALL, Changes
from lbctl.controller.hearing import Hearing
from lbctl.controller.inputs import Inputs
from lbctl.kube.fold import SentKey, Source
from lbctl.kube.groups import L2_ADVERTISEMENT
from lbctl.kube.patches import ANNOUNCED
from lbctl.model.address import Address, Family
from lbctl.model.names import NodeName, ServiceKey
from lbctl.model.service import Service
from lbctl.model.snapshot import Snapshot
from lbctl.plan.announced import (
    Announced,
    Reports,
    announced,
    may_speak,
    not_announced,
    reports_on,
    silent_address,
)
from lbctl.plan.announcement import judge_addresses
from lbctl.plan.claims import LOAD_BALANCER
from lbctl.plan.eligibility import believed
from lbctl.plan.reach import Reaches, moved, renewed, survey
from lbctl.plan.tally import SessionKey

logger = logging.getLogger(__name__)

JUDGED: Final = 32
"""Services judged in one turn, and at most so many statuses wanted by it."""
COMPARED: Final = 512
"""Services compared with what they show in one turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncingPace:
    """Seconds. `settle_s`: how long a False must last; `pause_s`: between two turns."""

    settle_s: float = 2.0
    pause_s: float = 0.05
    after_failure_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """Hold a judgement, and what of the Service it rests on."""

    subject: tuple[object, ...]
    word: Announced


class Announcing:
    """What is known of the Services that nobody announces; `run` is its life.

    `look` has a Service looked at with the next plan, `busy` says that statuses of more weight
    wait, and `holders` names the Services that were given an address.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        look: Callable[[ServiceKey], None],
        busy: Callable[[], bool],
        holders: Callable[[Address], Collection[ServiceKey]],
        pace: AnnouncingPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inputs = inputs
        self._look = look
        self._busy = busy
        self._holders = holders
        self._pace = pace or AnnouncingPace()
        self._clock = clock
        self._wanted = asyncio.Event()
        self._awake = asyncio.Event()
        self._reading = False
        self._everything = True
        self._queue: dict[ServiceKey, None] = {}
        # In the order of the instants, since the pause is the same for all.
        self._due: dict[ServiceKey, float] = {}
        self._told: dict[ServiceKey, _Told] = {}
        self._nodes: set[NodeName] = set()
        self._blind = False
        self._speaking: frozenset[NodeName] = frozenset()
        self._reaches: Reaches | None = None
        self._policies: Mapping[Any, object] = {}
        self._policies_changed = False
        self.on_heard: Callable[[ServiceKey], None] = lambda _: None
        """Told of a Service whose sessions are counted otherwise."""
        self.hearing = Hearing(inputs, claimants=self._claimants, moved=self._moved)
        inputs.on_witness = self._heard
        inputs.on_sent = self._heard_sent
        inputs.on_session = self._heard_session

    def begin_term(self) -> None:
        """Look at every Service anew: what was told before may have been undone since."""
        self._everything = True
        self._wanted.set()
        self._awake.set()

    def word(self, service: Service, addresses: tuple[Address, ...]) -> Announced | None:
        """Return what is known of a Service that was given `addresses`; None: nothing new yet."""
        if not addresses:
            self.forget(service.key)
            return None
        if not self._reading or addresses != service.addresses:
            # What it will show is not on the wire before it shows it.
            return None
        self.hearing.look(service)
        if self.hearing.waiting:
            self._awake.set()
        reports = self._reports(service)
        yes = announced(service, reports)
        if yes is not None:
            self._settled(service.key)
            return yes
        told = self._told.get(service.key)
        if told is not None and told.subject == _subject(service, reports):
            return told.word
        self._settle(service.key)
        return None

    def forget(self, key: ServiceKey) -> None:
        """Drop what is known of a Service that is gone, or has no address."""
        self._settled(key)
        self.hearing.forget(key)

    def _settled(self, key: ServiceKey) -> None:
        """Drop the judgement on a Service that needs none."""
        self._due.pop(key, None)
        self._told.pop(key, None)

    async def run(self) -> None:
        """Read, judge and have Services looked at, until cancelled."""
        await self._wanted.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._inputs.run_witnesses(), name="witnesses")
            group.create_task(self._turns(), name="announcing")

    async def _turns(self) -> None:
        await self._inputs.until_witnesses()
        self._reading = True
        while True:
            self._awake.clear()
            try:
                wait_s = self._turn(self._clock())
            except Exception:
                # A bug in here must not end the process that allocates.
                logger.exception("cannot judge what is announced; trying again with everything")
                self._everything = True
                await asyncio.sleep(self._pace.after_failure_s)
                continue
            # Events of one moment make one turn.
            await asyncio.sleep(self._pace.pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._awake.wait()

    def _turn(self, now: float) -> float | None:
        """Do what is due; return the seconds until there is more to do, None: not known yet."""
        snapshot = self._inputs.snapshot()
        self._follow_nodes(snapshot)
        self._follow_policies(snapshot)
        if self._everything:
            self._begin_anew(snapshot)
        if self._busy():
            return self._pace.pause_s
        self.hearing.turn(snapshot, self._sharers)
        for key in _first(self._due, JUDGED):
            if self._due[key] > now:
                break
            del self._due[key]
            self._judge(snapshot, key)
        wanted = 0
        for key in _first(self._queue, COMPARED):
            del self._queue[key]
            service = snapshot.services.get(key)
            if service is not None and not self._shows(service):
                self._look(key)
                wanted += 1
                if wanted == JUDGED:
                    break
        if self._queue or self.hearing.waiting:
            return 0.0
        return next((max(0.0, at - self._clock()) for at in self._due.values()), None)

    def _shows(self, service: Service) -> bool:
        """Return whether the Service shows what is known of it, or is not ours to tell of."""
        if any(service.key not in self._holders(address) for address in service.addresses):
            return True
        word = self.word(service, service.addresses)
        if word is None:
            return True
        return any(
            (one.status == "True", one.reason, one.message)
            == (word.holds, word.reason, word.message)
            for one in service.conditions
            if one.type == ANNOUNCED
        )

    def _begin_anew(self, snapshot: Snapshot) -> None:
        self._everything = False
        self._due.clear()
        self._told.clear()
        self._reaches = None
        self.hearing.begin_anew()
        self._queue = dict.fromkeys(
            key for key, service in snapshot.services.items() if service.type == LOAD_BALANCER
        )

    def _follow_nodes(self, snapshot: Snapshot) -> None:
        """Take over changed Nodes and SpeakerStatuses: whose word counts, and who could announce."""
        names, self._nodes = self._nodes, set()
        if not names and not self._everything:
            return
        nodes = believed(snapshot.nodes)
        was_blind, self._blind = self._blind, nodes is not snapshot.nodes
        if self._everything or self._blind or was_blind:
            names = {*nodes, *self._speaking}
        before = self._speaking
        speaking = {name for name in names if may_speak(name, nodes, snapshot.speakers)}
        self._speaking = (before - names) | speaking
        differ = before ^ self._speaking
        if differ:
            sent = self._inputs.sent.items()
            self._queue |= dict.fromkeys(key for (key, _), one in sent if one.node in differ)
        if self._reaches is not None and not self._everything:
            former, self._reaches = self._reaches, renewed(self._reaches, snapshot, names)
            if self._reaches is None or moved(former, self._reaches):
                self._settle_all()

    def _follow_policies(self, snapshot: Snapshot) -> None:
        """Take over pools and advertisements, if what they say has changed, not what they show."""
        if not self._policies_changed and not self._everything:
            return
        self._policies_changed = False
        policies: dict[Any, object] = {
            key: (entry.created, entry.spec)
            for kind in (snapshot.pools, snapshot.advertisements)
            for key, entry in kind.items()
        }
        if policies != self._policies:
            self._policies = policies
            self._reaches = None
            self._settle_all()

    def _judge(self, snapshot: Snapshot, key: ServiceKey) -> None:
        service = snapshot.services.get(key)
        if service is None:
            return
        reports = self._reports(service)
        if None in reports:
            told = _Told(
                subject=_subject(service, reports), word=self._word(snapshot, service, reports)
            )
            if self._told.get(key) == told:
                return
            self._told[key] = told
        self._queue[key] = None

    def _word(self, snapshot: Snapshot, service: Service, reports: Reports) -> Announced:
        """Return what is to be said of a Service that ARP and NDP alone do not announce."""
        peers = self.hearing.peers(service)
        yes = announced(service, reports, peers)
        if yes is not None:
            return yes
        if self._reaches is None:
            self._reaches = survey(snapshot)
        claimants = {
            address: self._claimants(snapshot, service.key, address) | {service.key}
            for address in service.addresses
        }
        address = silent_address(service, reports, peers)
        assert address is not None, "or it would be announced"
        return not_announced(
            service,
            address,
            judge_addresses(snapshot, self._reaches, claimants),
            unheard=self.hearing.why_not(service, address),
            advertisements=snapshot.advertisements,
            api_version=self._inputs.groups[L2_ADVERTISEMENT].api_version,
        )

    def _claimants(
        self, snapshot: Snapshot, key: ServiceKey, address: Address
    ) -> frozenset[ServiceKey]:
        """Return the Services that were given the address and show it; `key` is one that asks."""
        holders = self._holders(address)
        if holders == (key,):
            return frozenset(holders)
        return frozenset(
            one
            for one in holders
            if (service := snapshot.services.get(one)) is not None and address in service.addresses
        )

    def _moved(self, key: ServiceKey, louder: bool) -> None:
        """Take note that BGP peers hear otherwise of a Service."""
        self.on_heard(key)
        if louder and key in self._told:
            self._settle(key)

    def _reports(self, service: Service) -> Reports:
        found = (self._inputs.sent.get((service.key, family)) for family in Family)
        sent = [one for one in found if one is not None]
        return reports_on(service.addresses, sent, self._speaking)

    def _sharers(self, key: ServiceKey) -> Collection[ServiceKey]:
        """Return the Service and those that share an address with it."""
        service = self._inputs.snapshot().services.get(key)
        if service is None or not service.sharing_key:
            return (key,)
        return {key, *(one for address in service.addresses for one in self._holders(address))}

    def _settle(self, key: ServiceKey) -> None:
        """Have the Service judged when its present state has lasted."""
        if key not in self._due:
            self._due[key] = self._clock() + self._pace.settle_s
            if len(self._due) == 1:
                self._awake.set()

    def _settle_all(self) -> None:
        for key in self._told:
            self._settle(key)

    def _heard(self, source: Source, changes: Changes[Any]) -> None:
        if not self._reading:
            return
        self.hearing.heard(source, changes)
        if changes is ALL:
            self._everything = True
        elif source is Source.SLICES:
            for service in {service for service, _ in changes}:
                for key in self._sharers(service):
                    if key in self._told:
                        self._settle(key)
            if self.hearing.waiting:
                self._awake.set()
            return
        elif source in (Source.NODES, Source.SPEAKERS):
            self._nodes |= changes
        else:
            self._policies_changed = True
        self._awake.set()

    def _heard_session(self, changes: Changes[SessionKey]) -> None:
        if self._reading:
            self.hearing.heard_sessions(changes)
            self._awake.set()

    def _heard_sent(self, changes: Changes[SentKey]) -> None:
        if not self._reading:
            return
        if changes is ALL:
            self._everything = True
        else:
            self._queue |= dict.fromkeys(service for service, _ in changes)
        self._awake.set()


def _subject(service: Service, reports: Reports) -> tuple[object, ...]:
    """Return what of a Service decides who may announce it; endpoints are followed by event."""
    return (
        reports,
        service.addresses,
        service.labels,
        service.traffic_policy,
        service.sharing_key,
        service.mark,
        service.created,
    )


def _first(keys: Iterable[ServiceKey], count: int) -> list[ServiceKey]:
    return [key for _, key in zip(range(count), keys, strict=False)]
