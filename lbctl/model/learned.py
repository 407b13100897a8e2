"""A fact that was asked for: learned, or unknown with its why. Pure.

For facts that the command asks of the API server one by one: each may be refused to this login, or
not be served, without making the others less true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

Fact = TypeVar("Fact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Say why a fact could not be learned."""

    why: str


Learned: TypeAlias = Fact | Unknown
