"""The Service as the product sees it: a small projection of the API object. Pure.

Everything here is already parsed; what could not be parsed is a `Problem` inside the value, so
that one bad annotation is reported on its Service and stops nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.model.address import Address, Family
from lbctl.model.names import PoolName, ServiceKey
from lbctl.model.outcome import Problem


class TrafficPolicy(enum.StrEnum):
    CLUSTER = "Cluster"
    LOCAL = "Local"


class FamilyPolicy(enum.StrEnum):
    SINGLE_STACK = "SingleStack"
    PREFER_DUAL_STACK = "PreferDualStack"
    REQUIRE_DUAL_STACK = "RequireDualStack"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """Hold one item of spec.ports. Sharing compares (protocol, port) only."""

    protocol: str
    port: int
    name: str = ""
    target_port: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Hold what the Service asks for: addresses (annotation or spec.loadBalancerIP) and a pool.

    `problem` says why the request cannot be read; then the other fields mean nothing.
    """

    addresses: tuple[Address, ...] = ()
    pool: PoolName | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedCondition:
    """Hold one of *our* conditions (`lbctl.io/...`) as the API server has it now."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Hold one Service of any type."""

    key: ServiceKey
    uid: str
    created: str
    generation: int
    resource_version: str
    labels: Mapping[str, str]
    type: str
    load_balancer_class: str | None
    cluster_ips: tuple[Address, ...]
    """Empty for a headless or ExternalName Service."""
    families: tuple[Family, ...]
    family_policy: FamilyPolicy
    traffic_policy: TrafficPolicy
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str]
    health_check_node_port: int
    request: Request
    sharing_key: str
    """Empty: the Service shares its address with nobody."""
    uses_deprecated_annotations: tuple[str, ...]
    mark: str
    """The annotation ip-allocated-from-pool, own or metallb.io spelling; empty without it."""
    addresses: tuple[Address, ...]
    """status.loadBalancer.ingress, in its order."""
    hostnames: tuple[str, ...]
    """Ingress entries that are host names: always somebody else's."""
    vip_mode: bool
    """Whether every ingress entry has ipMode VIP (the API server's default) already."""
    conditions: tuple[ObservedCondition, ...]

    @property
    def sharing_ports(self) -> frozenset[tuple[str, int]]:
        return frozenset((port.protocol, port.port) for port in self.ports)
