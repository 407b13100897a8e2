"""The snapshot: everything known at one moment, in parsed values. Pure.

The maps belong to the reflectors and are read, never changed, by whoever plans; a plan runs
between two events, so it sees one moment. `changed` tells an incremental plan where to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbctl.model.advertisement import BGPAdvertisement, L2Advertisement
from lbctl.model.community import CommunityAliases
from lbctl.model.configuration import Configured
from lbctl.model.endpoints import EndpointSlice
from lbctl.model.names import NodeName, ObjectKey, ServiceKey
from lbctl.model.node import Node, SpeakerReport
from lbctl.model.peer import BGPPeer
from lbctl.model.pool import Pool
from lbctl.model.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Hold the world. Slices are grouped by Service because every reader wants them so."""

    services: Mapping[ServiceKey, Service] = field(default_factory=dict)
    pools: Mapping[ObjectKey, Configured[Pool]] = field(default_factory=dict)
    advertisements: Mapping[ObjectKey, Configured[L2Advertisement]] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels by namespace name."""
    slices: Mapping[ServiceKey, Mapping[str, EndpointSlice]] = field(default_factory=dict)
    nodes: Mapping[NodeName, Node] = field(default_factory=dict)
    speakers: Mapping[NodeName, SpeakerReport] = field(default_factory=dict)
    bgp_advertisements: Mapping[ObjectKey, Configured[BGPAdvertisement]] = field(
        default_factory=dict
    )
    communities: Mapping[ObjectKey, Configured[CommunityAliases]] = field(default_factory=dict)
    peers: Mapping[ObjectKey, Configured[BGPPeer]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Say what may differ from the snapshot planned before; `everything` asks for a full plan.

    `nodes` are the names whose Node or SpeakerStatus changed: allocation does not read them.
    """

    services: frozenset[ServiceKey] = frozenset()
    nodes: frozenset[NodeName] = frozenset()
    everything: bool = False


EVERYTHING = Changed(everything=True)
