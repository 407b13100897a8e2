"""The table of inputs and the fold: events into a snapshot, alike for every reader. Pure.

The controller, lb-speaker and the `lbctl` command read the same collections through the same
projections and build the same `Snapshot`, so `explain` cannot disagree with what was decided.
A reflector is made from each `Input` (its `project` returns key and value); `World.snapshot`
wraps the reflectors' maps without copying them. Only EndpointSlices are regrouped, by Service,
key by key as they change.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbctl.kube.crds.bfd_profile import parse_bfd_profile
from lbctl.kube.crds.bgp_advertisement import parse_bgp_advertisement
from lbctl.kube.crds.bgp_peer import parse_bgp_peer
from lbctl.kube.crds.bgp_session_status import parse_session_status
from lbctl.kube.crds.communities import parse_communities
from lbctl.kube.crds.ip_address_pool import parse_pool
from lbctl.kube.crds.l2_advertisement import parse_l2_advertisement
from lbctl.kube.crds.service_l2_status import parse_service_l2_status, sent_of
from lbctl.kube.crds.speaker_status import parse_speaker_status
from lbctl.kube.groups import (
    BGP_ADVERTISEMENT,
    BGP_PEER,
    COMMUNITY,
    ENDPOINT_SLICES,
    IP_ADDRESS_POOL,
    L2_ADVERTISEMENT,
    NAMESPACES,
    NODES,
    SERVICES,
    SPEAKER_STATUS,
    Groups,
)
from lbctl.kube.objects import parse_endpoint_slice, parse_namespace, parse_node
from lbctl.kube.service import WrittenService, parse_service, read_service
from lbctl.model.address import Family
from lbctl.model.advertisement import BGPAdvertisement, L2Advertisement
from lbctl.model.community import CommunityAliases
from lbctl.model.configuration import Configured
from lbctl.model.endpoints import EndpointSlice
from lbctl.model.names import NodeName, ObjectKey, ServiceKey
from lbctl.model.node import Node, SpeakerReport
from lbctl.model.peer import BFDProfile, BGPPeer
from lbctl.model.pool import Pool
from lbctl.model.service import Service
from lbctl.model.session import SessionReport
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.announced import Sent
from lbctl.plan.tally import SessionKey

SliceKey = tuple[ServiceKey, str]
"""An EndpointSlice by its Service and its own name: the reflector's key carries the grouping."""

SentKey = tuple[ServiceKey, Family]
"""A report of a speaker: one for each family of a Service."""

Projected = tuple[Any, Any] | None
Projection = Callable[[Any], Projected]


class Source(enum.StrEnum):
    """Name an input; the value is the name of the field in `Snapshot`."""

    SERVICES = "services"
    SLICES = "slices"
    NODES = "nodes"
    NAMESPACES = "namespaces"
    POOLS = "pools"
    ADVERTISEMENTS = "advertisements"
    BGP_ADVERTISEMENTS = "bgp_advertisements"
    COMMUNITIES = "communities"
    PEERS = "peers"
    SPEAKERS = "speakers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Hold one collection to watch. `project` never raises on any JSON object."""

    source: Source
    kind: str
    path: str
    project: Projection


def project_service(body: Any) -> tuple[ServiceKey, Service] | None:
    service = read_service(body)
    return None if service is None else (service.key, service)


def project_written_service(body: Any) -> tuple[ServiceKey, WrittenService] | None:
    service = parse_service(body)
    return None if service is None else (service.key, service)


def project_slice(body: Any) -> tuple[SliceKey, EndpointSlice] | None:
    parsed = parse_endpoint_slice(body)
    return None if parsed is None else ((parsed.service, parsed.name), parsed)


def project_node(body: Any) -> tuple[NodeName, Node] | None:
    node = parse_node(body)
    return None if node is None else (node.name, node)


def project_pool(body: Any) -> tuple[ObjectKey, Configured[Pool]] | None:
    pool = parse_pool(body)
    return None if pool is None else (pool.key, pool)


def project_advertisement(body: Any) -> tuple[ObjectKey, Configured[L2Advertisement]] | None:
    advertisement = parse_l2_advertisement(body)
    return None if advertisement is None else (advertisement.key, advertisement)


def project_bgp_advertisement(
    body: Any,
) -> tuple[ObjectKey, Configured[BGPAdvertisement]] | None:
    advertisement = parse_bgp_advertisement(body)
    return None if advertisement is None else (advertisement.key, advertisement)


def project_communities(body: Any) -> tuple[ObjectKey, Configured[CommunityAliases]] | None:
    aliases = parse_communities(body)
    return None if aliases is None else (aliases.key, aliases)


def project_peer(body: Any) -> tuple[ObjectKey, Configured[BGPPeer]] | None:
    peer = parse_bgp_peer(body)
    return None if peer is None else (peer.key, peer)


def project_speaker(body: Any) -> tuple[NodeName, SpeakerReport] | None:
    report = parse_speaker_status(body)
    return None if report is None else (report.node, report)


def project_sent(body: Any) -> tuple[SentKey, Sent] | None:
    """Return what a ServiceL2Status of ours reports; those of a MetalLB beside us are left out.

    No input of a snapshot: what was sent follows from the plan.
    """
    status = parse_service_l2_status(body)
    sent = None if status is None else sent_of(status)
    if status is None or sent is None or sent.family is None:
        return None
    return (status.service, sent.family), sent


def project_session(body: Any) -> tuple[SessionKey, SessionReport] | None:
    """Return what a speaker reports of a BGP session. No input of a snapshot, as with `Sent`."""
    report = parse_session_status(body)
    return None if report is None else ((report.node, report.peer), report)


def project_profile(body: Any) -> tuple[ObjectKey, Configured[BFDProfile]] | None:
    """Return a BFDProfile. No input of a snapshot: no plan asks for it."""
    profile = parse_bfd_profile(body)
    return None if profile is None else (profile.key, profile)


PROJECTIONS: Mapping[Source, Projection] = {
    Source.POOLS: project_pool,
    Source.ADVERTISEMENTS: project_advertisement,
    Source.BGP_ADVERTISEMENTS: project_bgp_advertisement,
    Source.COMMUNITIES: project_communities,
    Source.PEERS: project_peer,
    Source.SPEAKERS: project_speaker,
    Source.SERVICES: project_service,
    Source.SLICES: project_slice,
    Source.NODES: project_node,
    Source.NAMESPACES: parse_namespace,
}


def inputs(table: Groups, namespace: str, *, to_write: bool = False) -> tuple[Input, ...]:
    """Return every collection that a snapshot is made of; our own kinds from `namespace` only.

    `to_write`: Services with what a patch needs, for the controller.
    """
    written = {Source.SERVICES: project_written_service} if to_write else {}
    rows = (
        (Source.POOLS, table[IP_ADDRESS_POOL], namespace),
        (Source.ADVERTISEMENTS, table[L2_ADVERTISEMENT], namespace),
        (Source.BGP_ADVERTISEMENTS, table[BGP_ADVERTISEMENT], namespace),
        (Source.COMMUNITIES, table[COMMUNITY], namespace),
        (Source.PEERS, table[BGP_PEER], namespace),
        (Source.SPEAKERS, table[SPEAKER_STATUS], namespace),
        (Source.SERVICES, SERVICES, ""),
        (Source.SLICES, ENDPOINT_SLICES, ""),
        (Source.NODES, NODES, ""),
        (Source.NAMESPACES, NAMESPACES, ""),
    )
    return tuple(
        Input(
            source=source,
            kind=resource.kind,
            path=resource.collection(inside),
            project=written.get(source, PROJECTIONS[source]),
        )
        for source, resource, inside in rows
    )


@dataclass(slots=True)
class SlicesByService:
    """Group slices by Service, key by key. Mutable: it follows one reflector's map."""

    groups: dict[ServiceKey, dict[str, EndpointSlice]] = field(default_factory=dict)

    def replace(self, items: Mapping[SliceKey, EndpointSlice]) -> None:
        """Group a whole map anew, as after a list."""
        groups: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        for (service, name), found in items.items():
            groups.setdefault(service, {})[name] = found
        self.groups = groups

    def follow(self, items: Mapping[SliceKey, EndpointSlice], changed: Iterable[SliceKey]) -> None:
        """Take over the changed keys; a key that is not in `items` any more is removed."""
        for key in changed:
            service, name = key
            found = items.get(key)
            if found is not None:
                self.groups.setdefault(service, {})[name] = found
                continue
            group = self.groups.get(service, {})
            group.pop(name, None)
            if not group:
                self.groups.pop(service, None)


class World:
    """Follow the reflectors' maps, build snapshots of them, and say what changed since the last.

    `items` is asked for a source's present map at every use, because a reflector replaces its map
    with every list. `sources` are the inputs that the reader's plan depends on: a change of any
    other (a Node, for the allocator) is no news. Everything runs on one event loop.
    """

    def __init__(
        self,
        items: Callable[[Source], Mapping[Any, Any]],
        sources: Iterable[Source] = tuple(Source),
    ) -> None:
        self._items = items
        self._sources = frozenset(sources)
        self._slices = SlicesByService()
        self._changed: set[ServiceKey] = set()
        self._nodes: set[NodeName] = set()
        self._everything = True

    def changed(self, source: Source, keys: Iterable[Any] | None) -> None:
        """Take note of changed keys of a source; None: its whole map was replaced."""
        if source is Source.SLICES:
            if keys is None:
                self._slices.replace(self._items(source))
            else:
                keys = tuple(keys)
                self._slices.follow(self._items(source), keys)
        if source not in self._sources:
            return
        if keys is None:
            self._everything = True
        elif source is Source.SERVICES:
            self._changed.update(keys)
        elif source is Source.SLICES:
            self._changed.update(service for service, _ in keys)
        elif source in (Source.NODES, Source.SPEAKERS):
            self._nodes.update(keys)
        else:
            self._everything = True

    def snapshot(self) -> Snapshot:
        """Return the present moment; it stays true until the loop runs again."""
        return snapshot_of({source: self._items(source) for source in Source}, self._slices.groups)

    def take_changed(self) -> Changed:
        """Return what changed since the last call, and forget it."""
        changed = (
            EVERYTHING
            if self._everything
            else Changed(services=frozenset(self._changed), nodes=frozenset(self._nodes))
        )
        self._changed, self._nodes = set(), set()
        self._everything = False
        return changed


def snapshot_of(
    maps: Mapping[Source, Mapping[Any, Any]],
    slices: Mapping[ServiceKey, Mapping[str, EndpointSlice]],
) -> Snapshot:
    """Return the snapshot over these maps, which are not copied."""
    return Snapshot(
        services=maps[Source.SERVICES],
        pools=maps[Source.POOLS],
        advertisements=maps[Source.ADVERTISEMENTS],
        bgp_advertisements=maps[Source.BGP_ADVERTISEMENTS],
        communities=maps[Source.COMMUNITIES],
        peers=maps[Source.PEERS],
        namespaces=maps[Source.NAMESPACES],
        slices=slices,
        nodes=maps[Source.NODES],
        speakers=maps[Source.SPEAKERS],
    )


def fold(items: Mapping[Source, Iterable[Any]]) -> Snapshot:
    """Return the snapshot of plain API objects, in one go."""
    return fold_projected(
        {source: map(PROJECTIONS[source], items.get(source, ())) for source in Source}
    )


def fold_projected(items: Mapping[Source, Iterable[Projected]]) -> Snapshot:
    """Return the snapshot of what the projections made of API objects: for the command."""
    maps: dict[Source, dict[Any, Any]] = {
        source: dict(pair for pair in items.get(source, ()) if pair is not None)
        for source in Source
    }
    grouped = SlicesByService()
    grouped.replace(maps[Source.SLICES])
    return snapshot_of(maps, grouped.groups)
