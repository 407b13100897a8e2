"""Endpoints of a Service: one value per EndpointSlice, with the three states of DESIGN 7. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from lbctl.model.address import Family
from lbctl.model.names import NodeName, ServiceKey


class EndpointState(enum.StrEnum):
    """Name what an endpoint may still do.

    READY: `ready` true or absent. DRAINING: not ready, `serving` (absent counts as `ready`) and
    `terminating`. UNUSABLE: everything else.
    """

    READY = "ready"
    DRAINING = "draining"
    UNUSABLE = "unusable"


def endpoint_state(
    *, ready: bool | None, serving: bool | None, terminating: bool | None
) -> EndpointState:
    """Return the state that the three conditions of an endpoint mean (DESIGN 7)."""
    is_ready = ready is None or ready
    if is_ready:
        return EndpointState.READY
    is_serving = is_ready if serving is None else serving
    return EndpointState.DRAINING if is_serving and terminating else EndpointState.UNUSABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Hold one endpoint; `node` is None when the slice does not say (it is local to no node)."""

    address: str
    state: EndpointState
    node: NodeName | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    """Hold one slice; `family` is None for FQDN slices, which count for no address."""

    namespace: str
    name: str
    service: ServiceKey
    family: Family | None
    endpoints: tuple[Endpoint, ...]
