"""Addresses, families and ranges: the arithmetic of pools. Pure.

A range is one contiguous block; a CIDR and `first-last` are two spellings of it. Ranges are
kept as first and last address, never expanded, so a /64 costs what a /32 costs. IPv4-mapped
tricks and mixed-family ranges are refused at the parser.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range
from typing import Final

from lbctl.model.outcome import Problem

Address = IPv4Address | IPv6Address


class Family(enum.StrEnum):
    """Name an address family as `spec.ipFamilies` of a Service does."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


_OCTETS: Final = {str(number): number for number in range(256)}


def family_of(address: Address) -> Family:
    return Family.IPV4 if address.version == 4 else Family.IPV6


def parse_address(text: str) -> Address | None:
    """Return the address that `text` spells, or None. A zone (`%eth0`) is not part of an address."""
    try:
        # Thousands are read at a start, and `ipaddress` takes five times as long.
        first, second, third, fourth = map(_OCTETS.__getitem__, text.split("."))
        return IPv4Address(first << 24 | second << 16 | third << 8 | fourth)
    except (KeyError, ValueError):
        pass
    try:
        return None if "%" in text else ip_address(text.strip())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Hold every address from `first` to `last`, both included, of one family."""

    first: Address
    last: Address

    @property
    def family(self) -> Family:
        return family_of(self.first)

    @property
    def size(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __contains__(self, address: Address) -> bool:
        return address.version == self.first.version and int(self.first) <= int(address) <= int(
            self.last
        )

    def overlaps(self, other: Range) -> bool:
        return (
            self.first.version == other.first.version
            and int(self.first) <= int(other.last)
            and int(other.first) <= int(self.last)
        )

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@lru_cache(maxsize=4_096)
def shortest_length(block: Range) -> int:
    """Return the prefix length of the largest of the CIDRs that make up the range."""
    return min(network.prefixlen for network in summarize_address_range(block.first, block.last))


_NO_DESTINATIONS: Final = tuple(
    (Range(first=network[0], last=network[-1]), network.compressed, why)
    for network, why in (
        (ip_network("0.0.0.0/8"), "which no packet can be sent to"),
        (ip_network("127.0.0.0/8"), "which every host takes for its own"),
        (ip_network("169.254.0.0/16"), "which no router forwards"),
        (ip_network("224.0.0.0/4"), "which are groups and no host's"),
        (ip_network("240.0.0.0/4"), "which are reserved and which most hosts refuse"),
        (ip_network("::/128"), "which no packet can be sent to"),
        (ip_network("::1/128"), "which every host takes for its own"),
        (ip_network("fe80::/10"), "which no router forwards"),
        (ip_network("ff00::/8"), "which are groups and no host's"),
    )
)
"""What the IANA special-purpose registries (RFC 6890) keep from being an external address."""


def why_not_external(block: Range) -> str | None:
    """Return which addresses of the range clients cannot reach, and why; None if there are none."""
    found = [f"{name}, {why}" for bad, name, why in _NO_DESTINATIONS if block.overlaps(bad)]
    return "; and of ".join(found) or None


def parse_range(text: str, path: str) -> Range | Problem:
    """Return the range that one item of `spec.addresses` spells, or the problem with it.

    A CIDR's host bits are masked away, as MetalLB does. A bare address is refused, because an
    operator who forgot the prefix length would otherwise own one address and wonder.
    """
    text = text.strip()
    if "/" in text:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            return Problem(
                path=path, message=f"{text!r} is not a CIDR such as 192.0.2.0/24 or 2001:db8::/64"
            )
        return Range(first=network[0], last=network[-1])
    head, dash, tail = text.partition("-")
    if not dash:
        bare = parse_address(text)
        hint = f"{bare}/{bare.max_prefixlen}" if bare else "192.0.2.0/24 or 192.0.2.1-192.0.2.9"
        return Problem(
            path=path, message=f"{text!r} is neither a CIDR nor first-last; write {hint}"
        )
    first, last = parse_address(head), parse_address(tail)
    if first is None or last is None:
        return Problem(path=path, message=f"{text!r} is not a range such as 192.0.2.1-192.0.2.9")
    if first.version != last.version:
        return Problem(path=path, message=f"{text!r} runs from one address family to the other")
    if int(first) > int(last):
        return Problem(path=path, message=f"{text!r} ends before it begins; swap the two addresses")
    return Range(first=first, last=last)
