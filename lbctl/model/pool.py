"""The pool: a named set of ranges with the rule who may use it. Pure.

Ranges keep the order of `spec.addresses`; addresses are given in that order. A pool here has
passed every check that one object alone can fail; overlap is judged beside the others (plan).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.model.address import Address, Family, Range
from lbctl.model.names import PoolName
from lbctl.model.selector import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAllocation:
    """Say which Services a pool serves (`spec.serviceAllocation`).

    Namespaces and namespaceSelectors are united; that union and serviceSelectors are ANDed.
    Selectors that match nothing serve nobody. Priority 0 means unset, which ranks last.
    """

    priority: int = 0
    namespaces: frozenset[str] = frozenset()
    namespace_selectors: tuple[Selector, ...] = ()
    service_selectors: tuple[Selector, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Hold an IPAddressPool whose fields are valid by themselves."""

    name: PoolName
    namespace: str
    uid: str
    created: str
    """metadata.creationTimestamp, RFC 3339 in UTC, so that text order is time order."""
    generation: int
    labels: Mapping[str, str]
    ranges: tuple[Range, ...]
    auto_assign: bool = True
    avoid_buggy_ips: bool = False
    allocation: ServiceAllocation | None = None

    @property
    def families(self) -> frozenset[Family]:
        return frozenset(block.family for block in self.ranges)

    def __contains__(self, address: Address) -> bool:
        if self.avoid_buggy_ips and is_buggy(address):
            return False
        return any(address in block for block in self.ranges)


def is_buggy(address: Address) -> bool:
    """Return whether old clients mistake the address for a network or broadcast address (.0, .255)."""
    return address.version == 4 and int(address) & 0xFF in (0, 255)
