"""Number addresses: one integer for each address of both families. Pure.

The allocator asks "who holds this?" several times in every decision. An integer hashes ten times
faster than an `ipaddress` object, and a range is then plain arithmetic. An IPv4 address is its
own number; an IPv6 address has bit 128 set, so that 192.0.2.1 and ::192.0.2.1 stay apart. Only
`lbctl.plan` uses slots; every value that leaves it holds addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from lbctl.model.address import Address, Family, Range

FAMILIES: Final = (Family.IPV4, Family.IPV6)
"""The order of addresses in a status: IPv4 first, whatever the Service says."""

_IPV6: Final = 1 << 128


def slot_of(address: Address) -> int:
    number = int(address)
    return number if address.version == 4 else number | _IPV6


def address_of(slot: int) -> Address:
    return IPv4Address(slot) if slot < _IPV6 else IPv6Address(slot ^ _IPV6)


def block_of(block: Range) -> tuple[int, int]:
    """Return the first and last slot of a range."""
    return slot_of(block.first), slot_of(block.last)


def is_buggy_slot(slot: int) -> bool:
    """Return whether `lbctl.model.pool.is_buggy` holds for the slot's address."""
    return slot < _IPV6 and slot & 0xFF in (0, 255)
