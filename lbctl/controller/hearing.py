"""Follow who hears of each Service by BGP, and what speakers report of the sessions.

Two values are kept, and events move them: the audience of each address that a Service shows
(intent), and the tally of each audience (what was observed). Services by the thousand share an
audience, so a session that comes or goes costs one count for each audience and no look at a
Service, unless what can be said of it differs. A changed endpoint has one Service judged again, a
changed node those whose answer hangs on particular nodes, and a changed policy all of them, some
in each turn.

Where the cluster has neither peers nor BGPAdvertisements nothing is kept at all. The caller is
`lbctl.controller.announcing`, in whose turns all of this happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lbctl.api.reflector import ALL, Changes
from lbctl.controller.inputs import BGP, Inputs
from lbctl.kube.fold import Source
from lbctl.model.address import Address
from lbctl.model.names import NodeName, PeerName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.service import Service
from lbctl.model.snapshot import Snapshot
from lbctl.plan.announced import lives
from lbctl.plan.audience import NO_STAGE, Audience, Heard, Stage, hear, stage_of, united
from lbctl.plan.claims import LOAD_BALANCER
from lbctl.plan.tally import SessionKey, Speaking, Tally, tally, untold

JUDGED: Final = 64
"""Services whose audience is judged again in one turn."""


@dataclass(slots=True)
class _Crowd:
    """Hold the Services that share an audience. Mutable: it lives as long as one of them does."""

    tally: Tally
    members: set[ServiceKey] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Known:
    """Hold what was judged of a Service, and what of the Service it rests on."""

    subject: tuple[object, ...]
    heard: Mapping[Address, Heard]

    @property
    def audiences(self) -> Iterator[Audience]:
        return (one for one in self.heard.values() if not isinstance(one, Refused))

    @property
    def particular(self) -> bool:
        """Return whether the answer hangs on particular nodes."""
        return any(
            isinstance(one, Refused) or any(hearers.nodes is not None for hearers in one)
            for one in self.heard.values()
        )


class Hearing:
    """What is known; `turn` brings it up to date.

    `claimants` names the Services that were given an address and show it. `moved` is told of a
    Service of which something else is to be said, and whether that is more than another count.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        claimants: Callable[[Snapshot, ServiceKey, Address], frozenset[ServiceKey]],
        moved: Callable[[ServiceKey, bool], None],
    ) -> None:
        self._inputs = inputs
        self._claimants = claimants
        self._moved = moved
        self._stage = NO_STAGE
        self._used = False
        self._speaking: Speaking = {}
        self._policies: object = None
        self._known: dict[ServiceKey, _Known] = {}
        self._crowds: dict[Audience, _Crowd] = {}
        self._together: dict[frozenset[Audience], Tally] = {}
        """Counts of audiences that are one Service's, as of dual stack, since the last change."""
        self._stale: dict[ServiceKey, None] = {}
        self.followed = asyncio.Event()
        """Set when everything was taken over once."""
        self._policies_changed = True
        self._nodes_changed = True
        self._sessions: set[NodeName] | None = None
        """Nodes whose sessions have news; None: any."""

    @property
    def used(self) -> bool:
        """Return whether anything in this cluster is about BGP."""
        return self._used

    @property
    def services(self) -> Iterable[ServiceKey]:
        """Return the Services of which something is known."""
        return self._known.keys()

    @property
    def waiting(self) -> bool:
        """Return whether there are Services left to be judged again."""
        return bool(self._stale)

    def begin_anew(self) -> None:
        """Take everything over again, with the next turn."""
        self._policies_changed = self._nodes_changed = True
        self._sessions = None
        self._stale = dict.fromkeys(self._known)

    def heard(self, source: Source, changes: Changes[Any]) -> None:
        """Take note of changed objects."""
        if source in (Source.NODES, Source.SPEAKERS):
            self._nodes_changed = True
        elif source in BGP or source is Source.POOLS:
            self._policies_changed = True
        elif source is Source.SLICES and changes is not ALL and self._used:
            self._stale |= dict.fromkeys(service for service, _ in changes)

    def heard_sessions(self, changes: Changes[SessionKey]) -> None:
        """Take note of changed BGPSessionStatuses."""
        if changes is ALL:
            self._sessions = None
        elif self._sessions is not None:
            self._sessions |= {node for node, _ in changes}

    def look(self, service: Service) -> None:
        """Take note of a Service that was looked at: it may be another one now."""
        known = self._known.get(service.key)
        if self._used and (known is None or known.subject != _subject(service)):
            self._stale[service.key] = None

    def forget(self, key: ServiceKey) -> None:
        """Drop what is known of a Service that is gone, or has no address."""
        self._stale.pop(key, None)
        self._keep(key, None)

    def turn(
        self, snapshot: Snapshot, sharers: Callable[[ServiceKey], Iterable[ServiceKey]]
    ) -> None:
        """Follow what changed, and judge some of the Services that it moved."""
        self._follow(snapshot)
        self.followed.set()
        for key in [key for _, key in zip(range(JUDGED), self._stale, strict=False)]:
            if key in self._stale:
                for one in sharers(key):
                    self._judge(snapshot, one)

    def peers(self, service: Service) -> tuple[tuple[PeerName, ...], ...]:
        """Return beside each address of the Service the peers that have been told of it."""
        if not self._used:
            return ((),) * len(service.addresses)
        heard = self._present(service)
        return tuple(
            ()
            if (one := heard.get(address)) is None or isinstance(one, Refused)
            else self._crowds[one].tally.told
            for address in service.addresses
        )

    def why_not(self, service: Service, address: Address) -> Refused | None:
        """Return why no peer has been told of the address; None: nothing here is about BGP."""
        if not self._used:
            return None
        one = self._present(service).get(address)
        if one is None or isinstance(one, Refused):
            return one
        return untold(self._stage, one, self._inputs.sessions, self._speaking)

    def tally(self, service: Service) -> tuple[tuple[Address, ...], Tally] | None:
        """Return the addresses of the Service that some peer is to hear of, and the count."""
        if not self._used:
            return None
        heard = self._present(service)
        told = {a: one for a, one in heard.items() if not isinstance(one, Refused)}
        if not told:
            return None
        distinct = tuple(dict.fromkeys(told.values()))
        if len(distinct) == 1:
            return tuple(told), self._crowds[distinct[0]].tally
        key = frozenset(distinct)
        if key not in self._together:
            self._together[key] = self._count(united(self._stage, distinct))
        return tuple(told), self._together[key]

    def _present(self, service: Service) -> Mapping[Address, Heard]:
        """Return who hears of the Service, judged anew if that is due."""
        known = self._known.get(service.key)
        if known is None or service.key in self._stale or known.subject != _subject(service):
            self._judge(self._inputs.snapshot(), service.key)
            known = self._known.get(service.key)
        return {} if known is None else known.heard

    def _judge(self, snapshot: Snapshot, key: ServiceKey) -> None:
        self._stale.pop(key, None)
        service = snapshot.services.get(key)
        if service is None or service.type != LOAD_BALANCER or not service.addresses:
            self._keep(key, None)
            return
        heard: dict[Address, Heard] = {}
        for address in service.addresses:
            claimants = self._claimants(snapshot, key, address)
            if key in claimants:
                heard[address] = hear(self._stage, snapshot, key, address, claimants)
        self._keep(key, _Known(_subject(service), heard) if heard else None)

    def _keep(self, key: ServiceKey, known: _Known | None) -> None:
        """Put what is known of a Service in the place of what was."""
        before = self._known.get(key)
        if before is None and known is None:
            return
        former = set() if before is None else set(before.audiences)
        present = set() if known is None else set(known.audiences)
        for audience in present - former:
            if audience not in self._crowds:
                self._crowds[audience] = _Crowd(self._count(audience))
            self._crowds[audience].members.add(key)
        for audience in former - present:
            crowd = self._crowds[audience]
            crowd.members.discard(key)
            if not crowd.members:
                del self._crowds[audience]
                for distinct in [one for one in self._together if audience in one]:
                    del self._together[distinct]
        if known is None:
            del self._known[key]
        else:
            self._known[key] = known
        if before is None or known is None or before.heard != known.heard:
            self._moved(key, True)

    def _follow(self, snapshot: Snapshot) -> None:
        policies_changed, self._policies_changed = self._policies_changed, False
        nodes_changed, self._nodes_changed = self._nodes_changed, False
        if policies_changed:
            policies = _policies(snapshot)
            policies_changed = policies != self._policies
            self._policies = policies
            self._used = bool(snapshot.peers or snapshot.bgp_advertisements)
        if not self._used:
            self._together.clear()
            for key in [*self._known]:
                self.forget(key)
            self._stage, self._nodes_changed = NO_STAGE, True
            return
        sessions, self._sessions = self._sessions, set()
        if policies_changed or nodes_changed or sessions is None or sessions:
            self._together.clear()
        if policies_changed or nodes_changed:
            moved = self._restage(snapshot, anew=policies_changed)
            sessions = None if moved is None or sessions is None else sessions | moved
        if sessions is None:
            self._recount(self._crowds)
        elif sessions:
            self._recount([one for one in self._crowds if self._touches(one, sessions)])

    def _restage(self, snapshot: Snapshot, *, anew: bool) -> set[NodeName] | None:
        """Take over nodes and policies; return the nodes whose word counts otherwise, None: any."""
        before, self._stage = self._stage, stage_of(snapshot)
        lived, self._speaking = self._speaking, lives(snapshot)
        if anew or before.standings.keys() != self._stage.standings.keys():
            self._stale = {
                key: None for key, one in snapshot.services.items() if one.type == LOAD_BALANCER
            }
            return None
        if before.where != self._stage.where or _reasons(before) != _reasons(self._stage):
            self._stale |= {key: None for key, one in self._known.items() if one.particular}
            return None
        return {name for name, _ in lived.items() ^ self._speaking.items()}

    def _touches(self, audience: Audience, nodes: Collection[NodeName]) -> bool:
        return any(not self._stage.nodes(hearers).isdisjoint(nodes) for hearers in audience)

    def _recount(self, audiences: Iterable[Audience]) -> None:
        for audience in list(audiences):
            crowd = self._crowds[audience]
            before, crowd.tally = crowd.tally, self._count(audience)
            # What is said of a Service that nobody hears of names a session and its state.
            louder = crowd.tally.told != before.told or not crowd.tally.told
            if louder or crowd.tally != before:
                for key in crowd.members:
                    self._moved(key, louder)

    def _count(self, audience: Audience) -> Tally:
        return tally(self._stage, audience, self._inputs.sessions, self._speaking)


def _subject(service: Service) -> tuple[object, ...]:
    """Return what of a Service decides who hears of it; endpoints are followed by event."""
    return (
        service.addresses,
        service.labels,
        service.traffic_policy,
        service.sharing_key,
        service.mark,
        service.created,
    )


def _policies(snapshot: Snapshot) -> object:
    """Return what pools and BGP's objects say, without what they show."""
    return [
        {key: (entry.created, entry.spec) for key, entry in kind.items()}
        for kind in (
            snapshot.pools,
            snapshot.peers,
            snapshot.bgp_advertisements,
            snapshot.communities,
        )
    ]


def _reasons(stage: Stage) -> dict[NodeName, str]:
    return {name: refused.reason for name, refused in stage.silent.items()}
