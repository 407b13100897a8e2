"""BGP communities: marks on a route that tell routers how to treat it. Pure.

Three sizes exist on the wire and all are held as numbers here; the spellings are those of
MetalLB (`64500:1`, `large:64500:1:2`) and, for extended ones, ours in the same manner. A name of
a Community object stands for one of them until the plan has looked it up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from lbctl.model.outcome import Problem

UINT16_MAX: Final = 65_535
UINT32_MAX: Final = 4_294_967_295

_STANDARD: Final = re.compile(r"([0-9]{1,5}):([0-9]{1,5})", re.ASCII)
_LARGE: Final = re.compile(r"large:([0-9]{1,10}):([0-9]{1,10}):([0-9]{1,10})", re.ASCII)
_EXTENDED: Final = re.compile(r"extended:(rt|soo):([0-9]{1,10}):([0-9]{1,10})", re.ASCII)
_OPAQUE: Final = re.compile(r"extended:0x([0-9a-fA-F]{16})", re.ASCII)

_SUBTYPES: Final = {"rt": 0x02, "soo": 0x03}
"""Route target and route origin (site of origin): RFC 4360 sections 4 and 5."""

_TWO_OCTET_AS: Final = 0x00
_FOUR_OCTET_AS: Final = 0x02
"""High octet of the type, transitive: RFC 4360 3.1 and RFC 5668 2."""


@dataclass(frozen=True, slots=True, order=True)
class StandardCommunity:
    """Hold a community of RFC 1997: two numbers of 16 bits. Positional, as it is written."""

    high: int
    low: int

    def __str__(self) -> str:
        return f"{self.high}:{self.low}"


@dataclass(frozen=True, slots=True, order=True)
class LargeCommunity:
    """Hold a community of RFC 8092: three numbers of 32 bits. Positional, as it is written."""

    administrator: int
    first: int
    second: int

    def __str__(self) -> str:
        return f"large:{self.administrator}:{self.first}:{self.second}"


@dataclass(frozen=True, slots=True, order=True)
class ExtendedCommunity:
    """Hold a community of RFC 4360: the eight octets as they stand on the wire."""

    octets: bytes

    def __str__(self) -> str:
        kind, subtype = self.octets[0], self.octets[1]
        for word, number in _SUBTYPES.items():
            if subtype == number and kind in (_TWO_OCTET_AS, _FOUR_OCTET_AS):
                middle = 4 if kind == _TWO_OCTET_AS else 6
                left = int.from_bytes(self.octets[2:middle])
                right = int.from_bytes(self.octets[middle:])
                if kind == _TWO_OCTET_AS or left > UINT16_MAX:
                    return f"extended:{word}:{left}:{right}"
        return f"extended:0x{self.octets.hex()}"


GRACEFUL_SHUTDOWN: Final = StandardCommunity(65535, 0)
"""Tells routers to prefer every other way, because this one will end soon (RFC 8326)."""

Community: TypeAlias = StandardCommunity | LargeCommunity | ExtendedCommunity


@dataclass(frozen=True, slots=True)
class Alias:
    """Hold the name under which a Community object defines a community."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityAliases:
    """Hold a Community object whose fields are valid by themselves."""

    name: str
    namespace: str
    uid: str
    created: str
    generation: int
    values: tuple[tuple[str, Community], ...]
    """Alias and community, in the order of the object."""


def parse_community(text: str, path: str) -> Community | Problem:
    """Return the community that `text` spells, or the problem with it."""
    if found := _STANDARD.fullmatch(text):
        numbers = [int(part) for part in found.groups()]
        if max(numbers) <= UINT16_MAX:
            return StandardCommunity(*numbers)
        return Problem(path=path, message=f"{text!r} has a number above {UINT16_MAX}")
    if found := _LARGE.fullmatch(text):
        numbers = [int(part) for part in found.groups()]
        if max(numbers) <= UINT32_MAX:
            return LargeCommunity(*numbers)
        return Problem(path=path, message=f"{text!r} has a number above {UINT32_MAX}")
    if found := _EXTENDED.fullmatch(text):
        return _extended(found[1], int(found[2]), int(found[3]), path)
    if found := _OPAQUE.fullmatch(text):
        return ExtendedCommunity(bytes.fromhex(found[1]))
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return Problem(
        path=path,
        message=f"{shown!r} is not a community such as 64500:1, large:64500:1:2, "
        "extended:rt:64500:1 or extended:0x0002fbf400000001",
    )


def _extended(word: str, admin: int, number: int, path: str) -> Community | Problem:
    two_octets = admin <= UINT16_MAX
    most = UINT32_MAX if two_octets else UINT16_MAX
    if admin > UINT32_MAX or number > most:
        return Problem(
            path=path,
            message=f"'extended:{word}:{admin}:{number}' does not fit: the number beside an AS of "
            f"at most {UINT16_MAX} may have 32 bits, beside a greater AS 16",
        )
    kind = _TWO_OCTET_AS if two_octets else _FOUR_OCTET_AS
    head = bytes((kind, _SUBTYPES[word]))
    if two_octets:
        return ExtendedCommunity(head + admin.to_bytes(2) + number.to_bytes(4))
    return ExtendedCommunity(head + admin.to_bytes(4) + number.to_bytes(2))


def in_order(communities: Iterable[Community]) -> tuple[Community, ...]:
    """Return each of them once, by size on the wire and then by number."""
    found = set(communities)
    standard = sorted(one for one in found if isinstance(one, StandardCommunity))
    extended = sorted(one for one in found if isinstance(one, ExtendedCommunity))
    large = sorted(one for one in found if isinstance(one, LargeCommunity))
    return (*standard, *extended, *large)
