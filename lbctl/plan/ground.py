"""What one node announces by: its BGP sessions and the advertisements, before any address. Pure.

Made once for all addresses of a plan. Every eligible node announces, so other nodes matter in one
case only: a draining endpoint of a `Local` Service is given up when another node that can announce
has a ready one (DESIGN 7). Readiness of nodes is not asked: a node whose kubelet is silent may
serve, and one that is dead has no session. Called by `lbctl.plan.routes`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lbctl.model.address import Address, Family, family_of
from lbctl.model.advertisement import BGPAdvertisement
from lbctl.model.community import Alias, Community, in_order
from lbctl.model.names import NodeName, PeerName, PoolName
from lbctl.model.node import Node, SpeakerReport
from lbctl.model.outcome import Refused
from lbctl.model.peer import BGPPeer
from lbctl.model.reason import Reason
from lbctl.model.route import DEFAULT_LOCAL_PREFERENCE, Attributes
from lbctl.model.service import Service
from lbctl.model.snapshot import Snapshot
from lbctl.plan.advertisements import covers, selects_service, unknown_communities, wider
from lbctl.plan.claims import PoolsByName, pools_by_name
from lbctl.plan.communities import judge_communities
from lbctl.plan.eligibility import barred, leaving, selects_node
from lbctl.plan.peers import Peers, Sessions, sessions
from lbctl.plan.pools import join_problems

COMMUNITIES_MAX: Final = 63
"""As MetalLB has it: the communities of a route leave room in a message of 4,096 octets."""

_NAMED_PEERS: Final = 3
"""Peers that a summary of refusals names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Hold an advertisement in effect, with the names of its communities looked up."""

    advertisement: BGPAdvertisement
    attributes: Attributes

    @property
    def name(self) -> str:
        return self.advertisement.name

    def reaches(self, peer: BGPPeer, family: Family) -> bool:
        """Return whether the peer is to hear of this advertisement's addresses of the family."""
        return family in peer.families and self.tells(peer.name)

    def tells(self, peer: PeerName) -> bool:
        return not self.advertisement.peers or peer in self.advertisement.peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Hold what a plan of one node needs of everything but Services and endpoints.

    The maps at the end hold derived values and fill while a plan runs.
    """

    node: NodeName
    refused: Refused | None
    """Why the node announces nothing at all."""
    sessions: Sessions
    offers: Mapping[str, Offer]
    """Advertisements in effect, by name, in the order of names."""
    selected: frozenset[str]
    """Those of them that select this node."""
    waiting: tuple[tuple[BGPAdvertisement, Refused], ...]
    """Valid advertisements that are not in effect."""
    pools: PoolsByName
    nodes: Mapping[NodeName, Node] = field(compare=False, repr=False)
    speakers: Mapping[NodeName, SpeakerReport] = field(compare=False, repr=False)
    peers: Peers = field(compare=False, repr=False)
    _covering: dict[PoolName, tuple[tuple[Offer, ...], bool]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Beside the advertisements: whether one of them selects Services."""
    _told: dict[tuple[Family, tuple[str, ...]], tuple[Offer, ...] | Refused] = field(
        default_factory=dict, compare=False, repr=False
    )
    _able: dict[tuple[Family, tuple[str, ...]], frozenset[NodeName]] = field(
        default_factory=dict, compare=False, repr=False
    )
    _sessions: dict[NodeName, Sessions] = field(default_factory=dict, compare=False, repr=False)
    _merged: dict[tuple[str, ...], Attributes | Refused] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def leaving(self) -> bool:
        """Return whether the node gives its addresses away, and can serve them meanwhile."""
        return self.refused is not None and self.refused.reason is Reason.NODE_DRAINING

    def stands_as(self, other: Ground) -> bool:
        """Return whether the node's own part is the same; what others can do may differ."""
        mine = (self.node, self.refused, self.sessions, self.selected)
        return mine == (other.node, other.refused, other.sessions, other.selected)

    def others_moved(self, after: Ground) -> bool:
        """Return whether a set of able nodes that a plan asked for is another one now."""
        return any(
            after.able(family, names) != able for (family, names), able in self._able.items()
        )

    def on(self, name: NodeName) -> Ground:
        """Return the ground of another node of the same snapshot; what they share is not redone."""
        node = self.nodes.get(name)
        return replace(
            self,
            node=name,
            refused=silence(name, node, self.speakers.get(name)),
            sessions=Sessions() if node is None else sessions(self.peers, node),
            selected=_selected(self.offers, node),
            _told={},
        )

    def matching(self, service: Service, pool: PoolName) -> tuple[Offer, ...]:
        """Return the advertisements in effect that are about the pool and the Service.

        Raises:
            KeyError: there is no object of this name.

        """
        if pool not in self._covering:
            covering = [
                one for one in self.offers.values() if covers(one.advertisement, self.pools[pool])
            ]
            choosy = any(one.advertisement.service_selectors for one in covering)
            self._covering[pool] = (tuple(covering), choosy)
        found, choosy = self._covering[pool]
        if not choosy:
            # The very same value for all Services of the pool.
            return found
        return tuple([one for one in found if selects_service(one.advertisement, service)])

    def told(self, matching: tuple[Offer, ...], family: Family) -> tuple[Offer, ...] | Refused:
        """Return those by which this node tells some peer, or why none of them does."""
        key = (family, tuple([one.name for one in matching]))
        if key not in self._told:
            self._told[key] = self._judge_told(matching, family)
        return self._told[key]

    def uncovered(self, service: Service, pool: PoolName) -> Refused:
        """Return what is wrong when no advertisement in effect is about pool and Service."""
        for advertisement, refused in self.waiting:
            if covers(advertisement, self.pools[pool]) and selects_service(advertisement, service):
                return refused
        covering, _ = self._covering[pool]
        names = ", ".join(one.name for one in covering)
        return Refused(
            reason=Reason.NO_ADVERTISEMENT,
            detail=f"the serviceSelectors of {names}, which cover pool {pool}, do not select this "
            "Service"
            if names
            else f"no BGPAdvertisement covers pool {pool}",
        )

    def too_wide(self, offer: Offer, address: Address, pool: PoolName) -> Refused | None:
        """Return why the aggregate reaches beyond the pool, or None if it does not.

        Judged for the entry of the pool that holds the address: the others are announced.
        """
        if offer.advertisement.length(family_of(address)) == address.max_prefixlen:
            return None
        spec = self.pools[pool].spec
        # A pool that cannot be read has no ranges to compare with: what was announced stays.
        for block in spec.ranges if spec is not None else ():
            if address in block and (wide := wider(offer.advertisement, block)) is not None:
                return Refused(
                    reason=Reason.AGGREGATE_TOO_WIDE,
                    detail=f"advertisement {offer.name} aggregates to {wide} of pool {pool}",
                )
        return None

    def able(self, family: Family, names: tuple[str, ...]) -> frozenset[NodeName]:
        """Return the nodes that can announce by one of these advertisements to some peer."""
        key = (family, names)
        if key not in self._able:
            offers = [self.offers[name] for name in names if name in self.offers]
            self._able[key] = frozenset(
                name for name, node in self.nodes.items() if self._is_able(node, family, offers)
            )
        return self._able[key]

    def merged(self, names: tuple[str, ...]) -> Attributes | Refused:
        """Return what a route says that these advertisements announce together, or why it cannot.

        Communities are united. Local preferences must agree: a route has one.
        """
        if names not in self._merged:
            self._merged[names] = merge([self.offers[name] for name in names])
        return self._merged[names]

    def _judge_told(
        self, matching: tuple[Offer, ...], family: Family
    ) -> tuple[Offer, ...] | Refused:
        selected = tuple(one for one in matching if one.name in self.selected)
        if not selected:
            names = ", ".join(one.name for one in matching)
            return Refused(
                reason=Reason.NODE_NOT_SELECTED,
                detail=f"the nodeSelectors of {names} leave node {self.node} out",
            )
        if self.refused is not None and not self.leaving:
            return self.refused
        kept = self.sessions.kept.values()
        told = tuple(one for one in selected if any(one.reaches(peer, family) for peer in kept))
        return told or self._nobody(selected, family)

    def _nobody(self, offers: tuple[Offer, ...], family: Family) -> Refused:
        """Return why no session of the node is to hear of an address."""
        kept = list(self.sessions.kept.values())
        if kept:
            listed = [peer for peer in kept if any(one.tells(peer.name) for one in offers)]
            return untold((listed or kept)[0], offers, family)
        details = [refused.detail for refused in self.sessions.refused.values()]
        if not details:
            return Refused(reason=Reason.NO_PEER, detail="there is no BGPPeer")
        more = f"; and {len(details) - _NAMED_PEERS} more" if len(details) > _NAMED_PEERS else ""
        listing = "; ".join(details[:_NAMED_PEERS])
        return Refused(
            reason=Reason.NO_PEER, detail=f"node {self.node} keeps no BGP session: {listing}{more}"
        )

    def _is_able(self, node: Node, family: Family, offers: Iterable[Offer]) -> bool:
        report = self.speakers.get(node.name)
        if barred(node, report) is not None or leaving(node, report) is not None:
            return False
        if node.name not in self._sessions:
            self._sessions[node.name] = sessions(self.peers, node)
        kept = self._sessions[node.name].kept.values()
        return any(
            selects_node(offer.advertisement, node)
            and any(offer.reaches(peer, family) for peer in kept)
            for offer in offers
        )


def ground_of(snapshot: Snapshot, name: NodeName) -> Ground:
    """Take from the snapshot what decides how one node announces."""
    node = snapshot.nodes.get(name)
    aliases = judge_communities(snapshot.communities).values
    offers: dict[str, Offer] = {}
    waiting: list[tuple[BGPAdvertisement, Refused]] = []
    for _, entry in sorted(snapshot.bgp_advertisements.items(), key=lambda item: item[0]):
        spec = entry.spec
        if spec is None:
            continue
        missing = unknown_communities(spec, aliases)
        if missing:
            detail = f"advertisement {spec.name} is not in effect: {join_problems(missing)}"
            waiting.append((spec, Refused(reason=Reason.MISSING_COMMUNITY, detail=detail)))
        else:
            offers[spec.name] = Offer(advertisement=spec, attributes=_attributes(spec, aliases))
    return Ground(
        node=name,
        refused=silence(name, node, snapshot.speakers.get(name)),
        sessions=Sessions() if node is None else sessions(snapshot.peers, node),
        offers=offers,
        selected=_selected(offers, node),
        waiting=tuple(waiting),
        pools=pools_by_name(snapshot.pools),
        nodes=dict(snapshot.nodes),
        speakers=dict(snapshot.speakers),
        peers=dict(snapshot.peers),
    )


def _selected(offers: Mapping[str, Offer], node: Node | None) -> frozenset[str]:
    """Return the advertisements that select the node."""
    # A node that does not exist is refused as such, not by selectors.
    return frozenset(
        one.name for one in offers.values() if node is None or selects_node(one.advertisement, node)
    )


def untold(peer: BGPPeer, offers: Collection[Offer], family: Family) -> Refused:
    """Return why this peer hears of none of the offers."""
    names = ", ".join(one.name for one in offers)
    if any(one.tells(peer.name) for one in offers):
        return Refused(
            reason=Reason.FAMILY_NOT_ON_SESSION,
            detail=f"the session with peer {peer.name} carries {', '.join(sorted(peer.families))} "
            f"only, not {family}",
        )
    return Refused(
        reason=Reason.PEER_NOT_SELECTED,
        detail=f"spec.peers of {names} leaves peer {peer.name} out",
    )


def merge(offers: list[Offer]) -> Attributes | Refused:
    """Return the attributes of a route that all these offers announce, or their conflict."""
    preferences = {one.name: one.attributes.local_preference for one in offers}
    if len(set(preferences.values())) > 1:
        told = ", ".join(f"{name} {value}" for name, value in preferences.items())
        return Refused(
            reason=Reason.CONFLICTING_ADVERTISEMENTS,
            detail=f"the advertisements of this prefix differ in localPref ({told})",
        )
    communities = in_order(item for one in offers for item in one.attributes.communities)
    if len(communities) > COMMUNITIES_MAX:
        names = ", ".join(preferences)
        return Refused(
            reason=Reason.CONFLICTING_ADVERTISEMENTS,
            detail=f"the advertisements {names} give the prefix {len(communities)} communities; "
            f"at most {COMMUNITIES_MAX} are possible",
        )
    return Attributes(local_preference=next(iter(preferences.values())), communities=communities)


def _attributes(advertisement: BGPAdvertisement, aliases: Mapping[str, Community]) -> Attributes:
    return Attributes(
        local_preference=advertisement.local_preference or DEFAULT_LOCAL_PREFERENCE,
        communities=in_order(
            aliases[one.name] if isinstance(one, Alias) else one
            for one in advertisement.communities
        ),
    )


def silence(name: NodeName, node: Node | None, report: SpeakerReport | None) -> Refused | None:
    """Return why the node announces nothing at all by BGP, or None if it may."""
    if node is None:
        return Refused(reason=Reason.NO_SPEAKER, detail=f"the cluster has no node {name}")
    return barred(node, report) or leaving(node, report)
