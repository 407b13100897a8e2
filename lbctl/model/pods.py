"""Pods behind one Service and the proxy before them, as far as the checklist asks. Pure.

Nothing is decided from them: allocation and announcement go by EndpointSlices. The command lists
them on demand, for the one Service that is explained.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.model.learned import Learned
from lbctl.model.names import NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPort:
    """Hold a port that a container declares; it may have no name."""

    name: str
    number: int
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """Hold a Pod that has not ended and is not being deleted."""

    name: str
    phase: str
    addressed: bool
    """It has an address, without which it is nobody's endpoint."""
    ports: tuple[ContainerPort, ...]


class Proxy(enum.StrEnum):
    """Name what kube-proxy of a node answered when it was asked for its health."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    MISSING = "missing"
    """Nobody answers there, though on another node somebody does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """Hold what stands behind one Service: its selected Pods, and kube-proxy of the owners."""

    pods: Learned[tuple[Pod, ...]]
    proxies: Mapping[NodeName, Learned[Proxy]]


NOTHING_ASKED = Backing(pods=(), proxies={})
