"""What the allocator says of one Service: addresses or a refusal, and how it came to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lbctl.model.address import Address
from lbctl.model.names import PoolName, ServiceKey
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Say what one pool answered: None as reason means that it gave an address."""

    pool: PoolName
    reason: Reason | None
    detail: str


class Outcome(NamedTuple):
    """Hold the decision on one Service that is ours.

    A named tuple: a plan of 10,000 Services makes and compares as many, and a frozen dataclass
    takes four times as long for both. Name the fields all the same.

    `addresses` and `pools` run in parallel, IPv4 first; both empty with `refused` set means that
    the status must be empty. A partial dual-stack allocation has one address and `refused` saying
    what is missing.
    """

    service: ServiceKey
    addresses: tuple[Address, ...]
    pools: tuple[PoolName, ...]
    refused: Refused | None
    trace: tuple[Tried, ...]
    lost: tuple[Refused, ...] = ()
    """Why each address that the Service had until now is not kept: Event ClearAssignment."""

    @property
    def reason(self) -> Reason:
        """Return the reason of the condition lbctl.io/Allocated.

        A Service whose request cannot be read keeps its addresses: it is allocated, and `refused`
        with InvalidRequest is a warning (Event LoadBalancerFailed).
        """
        if self.refused is None:
            return Reason.ALLOCATED
        if self.addresses and self.refused.reason is Reason.INVALID_REQUEST:
            return Reason.ALLOCATED
        return Reason.PARTIALLY_ALLOCATED if self.addresses else self.refused.reason

    @property
    def cause(self) -> Reason:
        """Return the reason whose check and cure help: of a partial allocation, what is missing."""
        if self.refused is None or self.reason is Reason.ALLOCATED:
            return self.reason
        return self.refused.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOurs:
    """Say why a Service is none of our business: it is never written to.

    `release` is True when it carries our mark and so our address must be cleared (a Service whose
    type or class changed away from us).
    """

    service: ServiceKey
    reason: Reason
    detail: str
    release: bool
