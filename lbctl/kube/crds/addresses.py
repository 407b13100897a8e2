"""Declare how a field spells a range or an address, for the schema and the parser. Pure.

The grammar is the common part of Go's netip (which the API server's CEL uses) and ours: no
leading zeros, no zones, no netmasks, and no IPv4-mapped IPv6 addresses, which would make one
address appear in two families.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from lbctl.kube.crds.reading import shown
from lbctl.kube.crds.table import Rule, Text
from lbctl.model.address import Address, Range, parse_address, parse_range
from lbctl.model.outcome import Problem

RANGE_MAX = 100
ADDRESS_MAX = 64
_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


def strict_address(text: str, path: str) -> Address | Problem:
    """Return the address, or the problem; a mapped address is told its IPv4 spelling."""
    address = parse_address(text)
    if address is None:
        return Problem(path=path, message=f"{shown(text)} is not an IP address such as 192.0.2.10")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return Problem(
            path=path,
            message=f"{shown(text)} is an IPv4-mapped address; write {address.ipv4_mapped}",
        )
    return address


def strict_range(text: str, path: str) -> Range | Problem:
    """Return the range of one `spec.addresses` item, or the problem with it."""
    if "%" in text:
        return Problem(
            path=path, message=f"{shown(text)} has a zone; write the CIDR or range without it"
        )
    head, slash, length = text.strip().partition("/")
    if slash and not _PREFIX_LENGTH.fullmatch(length):
        return Problem(
            path=path,
            message=f"{shown(text)} has no prefix length after the slash; "
            "write a CIDR such as 192.0.2.0/24 or 2001:db8::/64",
        )
    if not slash:
        head, _, tail = head.partition("-")
        if parse_address(tail) is not None and isinstance(strict_address(tail, path), Problem):
            return _mapped(text, path)
    if parse_address(head) is not None and isinstance(strict_address(head, path), Problem):
        return _mapped(text, path)
    return parse_range(text, path)


def _mapped(text: str, path: str) -> Problem:
    return Problem(
        path=path, message=f"{shown(text)} uses IPv4-mapped addresses; write them as IPv4"
    )


def _is_range(value: Any) -> bool:
    """Judge as the CEL rule does: the order of the two ends is beyond it."""
    parsed = strict_range(value, "")
    return not isinstance(parsed, Problem) or "ends before it begins" in parsed.message


_IPV4 = "[0-9]{1,3}([.][0-9]{1,3}){3}"
_IPV4_RANGE = f"^ *{_IPV4} *- *{_IPV4} *$"


def _is_in_order(value: Any) -> bool:
    """Judge as the CEL rule does: it cannot compare IPv6 addresses."""
    if not re.match(_IPV4_RANGE, value):
        return True
    parsed = strict_range(value, "")
    return not isinstance(parsed, Problem) or "ends before it begins" not in parsed.message


def _number(first: int) -> str:
    """Return the CEL number of the four parts of `r` from this one on."""
    return " + ".join(f"int(r[{first + at}]) * {256 ** (3 - at)}" for at in range(4))


RANGE = Text(
    max_length=RANGE_MAX,
    min_length=1,
    rules=(
        Rule(
            # A colon tells the families apart at a quarter of what ip(x).family() is estimated
            # at; the API server allows one rule 10,000 cost units for each of 1,000 items.
            cel="isCIDR(self.trim()) || (self.split('-', 3).size() == 2 && self.split('-', 3)"
            ".all(x, isIP(x.trim()) && x.contains(':') == self.contains(':')))",
            message="must be a CIDR such as 192.0.2.0/24 or a range such as 192.0.2.1-192.0.2.9 "
            "of one address family; a single address is written with /32 or /128",
            holds=_is_range,
        ),
        Rule(
            # A pattern as the guard: all(x, isIP(x)) is estimated at 3 times the whole budget.
            cel=f"!self.matches('{_IPV4_RANGE}') || [self.findAll('[0-9]+')]"
            f".all(r, {_number(0)} <= {_number(4)})",
            message="must not end before it begins; swap the two addresses",
            holds=_is_in_order,
        ),
    ),
    parse=strict_range,
)


def _neighbor(text: str, path: str) -> Address | Problem | None:
    """Return an address that a host can have, or the problem; an empty text says nothing."""
    if not text:
        return None
    address = strict_address(text, path)
    if isinstance(address, Problem):
        return address
    if text != text.strip():
        return Problem(path=path, message=f"{shown(text)} has blanks around the address")
    if not _is_unicast(address):
        return Problem(path=path, message=f"{shown(text)} {_UNICAST}")
    if isinstance(address, IPv6Address) and address.is_link_local:
        return Problem(path=path, message=f"{shown(text)} {_NO_LINK_LOCAL}")
    return address


def _is_unicast(address: Address) -> bool:
    """Judge as Go's netip does, which the CEL rule asks."""
    return not (
        address.is_unspecified or address.is_multicast or address == IPv4Address("255.255.255.255")
    )


def _spells_unicast(value: Any) -> bool:
    address = strict_address(value, "")
    return not value or (
        not isinstance(address, Problem) and value == value.strip() and _is_unicast(address)
    )


def _spells_no_link_local(value: Any) -> bool:
    address = parse_address(value)
    return not (isinstance(address, IPv6Address) and address.is_link_local)


_UNICAST = "must be the IP address of a host, such as 192.0.2.1 or 2001:db8::1"
_NO_LINK_LOCAL = "must not be link-local; name the interface in spec.interface instead"

NEIGHBOR = Text(
    max_length=ADDRESS_MAX,
    rules=(
        Rule(
            cel="self == '' || (isIP(self) && (ip(self).isGlobalUnicast() || "
            "ip(self).isLoopback() || ip(self).isLinkLocalUnicast()))",
            message=_UNICAST,
            holds=_spells_unicast,
        ),
        Rule(
            cel="!isIP(self) || ip(self).family() == 4 || !ip(self).isLinkLocalUnicast()",
            message=_NO_LINK_LOCAL,
            holds=_spells_no_link_local,
        ),
    ),
    parse=_neighbor,
)
"""The address of one end of a session; IPv6 link-local ones mean nothing without an interface."""


def _router_id(text: str, path: str) -> IPv4Address | Problem | None:
    if not text:
        return None
    address = parse_address(text)
    if isinstance(address, IPv4Address) and not address.is_unspecified and text == text.strip():
        return address
    return Problem(path=path, message=f"{shown(text)} {_ROUTER_ID}")


_ROUTER_ID = "must be written as an IPv4 address other than 0.0.0.0"

ROUTER_ID = Text(
    max_length=ADDRESS_MAX,
    rules=(
        Rule(
            cel="self == '' || (isIP(self) && ip(self).family() == 4 && !ip(self).isUnspecified())",
            message=_ROUTER_ID,
            holds=lambda value: not isinstance(_router_id(value, ""), Problem),
        ),
    ),
    parse=_router_id,
)
"""A BGP Identifier: any number of 32 bits but 0 (RFC 6286 2.1)."""
