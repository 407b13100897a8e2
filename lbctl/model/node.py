"""Nodes and their speakers, as the API server tells. Pure.

`SpeakerReport` is the SpeakerStatus object that each node's own speaker writes; eligibility reads
Node and report together, in the controller, in every speaker and in the command alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from lbctl.model.address import Address
from lbctl.model.names import Incarnation, LinkName, NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: NodeName
    labels: Mapping[str, str]
    ready: bool
    """Condition Ready is True; Unknown (the kubelet went silent) counts as not ready."""
    network_unavailable: bool
    out_of_service: bool
    """Has the taint node.kubernetes.io/out-of-service."""
    drain_requested: bool
    """Has the annotation lbctl.io/drain (any value but "false")."""
    addresses: tuple[Address, ...] = ()
    """Its InternalIPs, in the order of status.addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Hold one kernel interface that could announce."""

    name: LinkName
    index: int
    mac: str
    """Lower case, colon-separated."""
    up: bool
    carrier: bool
    subnets: tuple[IPv4Interface | IPv6Interface, ...]
    has_link_local: bool
    """An IPv6 link-local address is usable: without one NDP cannot answer (RFC 4861 7.2.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Name an object with whose deletion another one vanishes (metadata.ownerReferences)."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerReport:
    """Hold the SpeakerStatus of one node, written by that node's speaker only."""

    node: NodeName
    incarnation: Incarnation
    draining: bool
    links: tuple[Link, ...]
    faults: tuple[tuple[LinkName, str], ...]
    """Links on which the fast path cannot work, with its sentence (no CAP_NET_RAW, ...)."""
    fastpath_connected: bool
    owners: tuple[Owner, ...] = ()
    """The speaker's Pod: a pod that vanished without a word takes its report with it."""
    ignores_exclude_label: bool = False
    """Its node announces in spite of the label; said here, so that every speaker judges alike."""
    resource_version: str = ""
