"""What BGP peers are told of each address, with a reason for every peer and node. Pure.

For people who ask: `lbctl explain` and `lbctl get` show one moment, so a `Telling` is made of one
snapshot and of what speakers report of their sessions, and remembers what it was asked. Nodes that
give the same answer are listed together. The answers are those of `RoutePlan.verdict`, the value
by which each speaker acts; where a peer is to be told, its session has the rest of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lbctl.model.address import Address, Family, family_of
from lbctl.model.names import NodeName, PeerName, PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.route import Attributes, Prefix, prefix_of
from lbctl.model.service import Service
from lbctl.model.session import SessionReport, SessionState
from lbctl.model.snapshot import Snapshot
from lbctl.plan.announced import lives
from lbctl.plan.audience import NO_STAGE, Audience, Heard, Stage, alike, hear, near_nodes, stage_of
from lbctl.plan.claims import holders_of
from lbctl.plan.routes import Told, routes_alone
from lbctl.plan.tally import Sessions, Speaking, Tally, believed_report, tally, untold

_BEYOND_NODES: Final = frozenset(
    {
        Reason.NO_PEER,
        Reason.PEER_NOT_SELECTED,
        Reason.FAMILY_NOT_ON_SESSION,
        Reason.AGGREGATE_TOO_WIDE,
        Reason.NO_ENDPOINTS,
        Reason.NO_LOCAL_ENDPOINTS,
        Reason.CONFLICTING_ADVERTISEMENTS,
    }
)
"""Refusals of a node that itself could announce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAnswer:
    """Hold one route as a peer is to have it. The local preference is told inside the AS only."""

    prefix: str
    local_preference: int
    communities: tuple[str, ...]
    advertisements: tuple[str, ...]
    """The BGPAdvertisements that ask for it; what they say is united."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAnswer:
    """Say what a peer is told of an address by some nodes, or why it is told nothing.

    `told` is intent; the reason is Announced when the peer has confirmed every route, else why not.
    """

    peer: PeerName | None
    """None: any peer, since the nodes tell nobody."""
    told: bool
    routes: tuple[RouteAnswer, ...]
    reason: Reason
    detail: str
    nodes: tuple[NodeName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Hold what decides; the maps at the end fill while questions are asked."""

    used: bool = False
    """Something in this cluster is about BGP."""
    snapshot: Snapshot = field(default_factory=Snapshot)
    stage: Stage = NO_STAGE
    sessions: Sessions = field(default_factory=dict)
    speaking: Speaking = field(default_factory=dict)
    claimants: Mapping[Address, frozenset[ServiceKey]] = field(default_factory=dict)
    """The Services of ours that show each address."""
    _heard: dict[tuple[ServiceKey, Address], Heard] = field(default_factory=dict, compare=False)
    _tallies: dict[Audience, Tally] = field(default_factory=dict, compare=False)

    def heard(self, key: ServiceKey, address: Address) -> Heard:
        """Return who is to hear of the address for the Service, or why nobody is."""
        asked = (key, address)
        if asked not in self._heard:
            claimants = self.claimants.get(address, frozenset())
            self._heard[asked] = hear(self.stage, self.snapshot, key, address, claimants)
        return self._heard[asked]

    def tally(self, audience: Audience) -> Tally:
        if audience not in self._tallies:
            self._tallies[audience] = tally(self.stage, audience, self.sessions, self.speaking)
        return self._tallies[audience]

    def told(self, key: ServiceKey, address: Address) -> tuple[PeerName, ...]:
        """Return the peers that have confirmed every route of a node that tells of the address."""
        heard = self.heard(key, address) if self.used else None
        return () if heard is None or isinstance(heard, Refused) else self.tally(heard).told

    def why_not(self, key: ServiceKey, address: Address) -> Refused | None:
        """Return why no peer has been told; None where nothing is about BGP."""
        if not self.used:
            return None
        heard = self.heard(key, address)
        if isinstance(heard, Refused):
            return heard
        return untold(self.stage, heard, self.sessions, self.speaking)

    def nodes(self, key: ServiceKey, address: Address) -> frozenset[NodeName]:
        """Return the nodes that are to tell of the address."""
        heard = self.heard(key, address) if self.used else None
        if heard is None or isinstance(heard, Refused):
            return frozenset()
        return frozenset().union(*(self.stage.nodes(hearers) for hearers in heard))

    def covering(self, service: Service, pool: PoolName) -> tuple[str, ...]:
        """Return the advertisements in effect that are about the pool and the Service."""
        ground = self.stage.ground
        if ground is None or pool not in self.stage.pools:
            return ()
        return tuple(one.name for one in ground.matching(service, pool))

    def able(self, service: Service, address: Address) -> frozenset[NodeName]:
        """Return the nodes that could tell of the address, peers and endpoints aside."""
        heard = self.heard(service.key, address) if self.used else None
        if heard is None:
            return frozenset()
        if not isinstance(heard, Refused):
            return self.nodes(service.key, address)
        return frozenset(self.stage.where) if heard.reason in _BEYOND_NODES else frozenset()

    def answers(self, address: Address) -> tuple[PeerAnswer, ...]:
        """Return the answer for every peer and node about an address that a Service shows."""
        if not self.used or address not in self.claimants:
            return ()
        groups: dict[PeerAnswer, list[NodeName]] = {}
        details: dict[PeerAnswer, str] = {}
        for node, found in self._verdicts(address):
            # The details name nodes, so they take no part in what is alike.
            alike_answer = replace(found, detail="")
            groups.setdefault(alike_answer, []).append(node)
            details.setdefault(alike_answer, found.detail)
        answers = [
            replace(answer, detail=details[answer], nodes=tuple(sorted(nodes)))
            for answer, nodes in groups.items()
        ]
        return tuple(sorted(answers, key=lambda one: (one.peer or "", not one.told, one.reason)))

    def session(self, node: NodeName, peer: PeerName) -> SessionReport | None:
        """Return what a living speaker reports of a session."""
        return believed_report(self.sessions.get((node, peer)), self.speaking)

    def _verdicts(self, address: Address) -> Iterator[tuple[NodeName, PeerAnswer]]:
        for node, refused in self.stage.silent.items():
            yield node, _no(None, refused)
        if self._holders(address)[0] is None:
            return
        claimants = {one: self.claimants[one] for one in self._together(address)}
        near = frozenset[NodeName]().union(
            *(near_nodes(self.snapshot, self._holders(one)[1], one) for one in claimants)
        )
        for standing in self.stage.standings.values():
            for one, nodes in alike(standing, near, everywhere=True):
                ground = standing.ground
                if one != ground.node:
                    ground = replace(ground, node=one)
                plan = routes_alone(ground, self.snapshot, claimants)
                common = plan.addresses[address].refused
                for node in sorted(nodes):
                    if common is not None:
                        yield node, _no(None, common)
                        continue
                    for peer in _peers(self.snapshot):
                        verdict = plan.verdict(address, peer)
                        if isinstance(verdict, Told):
                            yield node, self._yes(node, peer, address, verdict)
                        else:
                            yield node, _no(peer, verdict)

    def _holders(self, address: Address) -> tuple[PoolName | None, tuple[Service, ...]]:
        pool, holders, _ = holders_of(
            address, self.claimants[address], self.snapshot.services, self.stage.pools
        )
        return pool, holders

    def _together(self, address: Address) -> Iterator[Address]:
        """Yield the address and all that may be announced by one aggregate with it."""
        ground, family = self.stage.ground, family_of(address)
        offers = () if ground is None else ground.offers.values()
        widest = min(
            (offer.advertisement.length(family) for offer in offers), default=address.max_prefixlen
        )
        if widest == address.max_prefixlen:
            yield address
            return
        block = prefix_of(address, widest)
        yield from (
            one
            for one in self.claimants
            if family_of(one) is family and prefix_of(one, widest) == block
        )

    def _yes(self, node: NodeName, peer: PeerName, address: Address, told: Told) -> PeerAnswer:
        report = self.session(node, peer)
        reason, detail = session_answer(report, family_of(address))
        return PeerAnswer(
            peer=peer,
            told=True,
            routes=tuple(
                route_answer(prefix, told.routes[prefix], told.asked_by[prefix])
                for prefix in sorted(told.routes)
            ),
            reason=reason,
            detail=detail,
            nodes=(),
        )


NOBODY: Final = Telling()


def telling_of(
    snapshot: Snapshot,
    sessions: Sessions,
    claimants: Mapping[Address, frozenset[ServiceKey]],
) -> Telling:
    """Return what is told in this snapshot; `claimants` are the Services of ours by address."""
    if not snapshot.peers and not snapshot.bgp_advertisements:
        return NOBODY
    return Telling(
        used=True,
        snapshot=snapshot,
        stage=stage_of(snapshot),
        sessions=sessions,
        speaking=lives(snapshot),
        claimants=claimants,
    )


def session_answer(
    report: SessionReport | None, family: Family | None = None
) -> tuple[Reason, str]:
    """Return how far a session has come, with the routes of one family or with everything."""
    if report is None:
        return Reason.NOT_REPORTED, "no living speaker has reported on the session"
    said = f": {report.message}" if report.message else ""
    if report.state is not SessionState.ESTABLISHED:
        return Reason.SESSION_DOWN, f"{report.state}{said}"
    routes = report.routes(tuple(Family) if family is None else (family,))
    which = "routes" if family is None else f"{family} routes"
    if not routes.wanted:
        if family is None:
            return Reason.ANNOUNCED, f"there are no routes for the peer{said}"
        return Reason.NOT_REPORTED, f"the speaker has no {which} for the peer yet"
    if not routes.all_acknowledged:
        confirmed = f"the peer has confirmed {routes.acknowledged} of {routes.wanted} {which}"
        return Reason.NOT_REPORTED, f"{confirmed}{said}"
    every = f"its one {which[:-1]}" if routes.wanted == 1 else f"all {routes.wanted} {which}"
    return Reason.ANNOUNCED, f"the peer has confirmed {every}{said}"


def route_answer(prefix: Prefix, attributes: Attributes, asked_by: tuple[str, ...]) -> RouteAnswer:
    """Return a route in words."""
    return RouteAnswer(
        prefix=str(prefix),
        local_preference=attributes.local_preference,
        communities=tuple(map(str, attributes.communities)),
        advertisements=asked_by,
    )


def _no(peer: PeerName | None, refused: Refused) -> PeerAnswer:
    return PeerAnswer(
        peer=peer, told=False, routes=(), reason=refused.reason, detail=refused.detail, nodes=()
    )


def _peers(snapshot: Snapshot) -> list[PeerName]:
    return sorted({PeerName(key.name) for key in snapshot.peers})
