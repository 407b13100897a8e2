"""Hold the answer to one question of the doctor, and make the four kinds of it. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from lbctl.model.learned import Unknown

_NAMED: Final = 3
"""How many findings one sentence names."""


class Level(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Hold the answer to one question; `cure` is empty where there is nothing to do."""

    name: str
    level: Level
    detail: str
    cure: str = ""


def some(items: Iterable[str]) -> str:
    return "; ".join(_shortened(list(items)))


def _shortened(items: list[str]) -> Iterator[str]:
    yield from items[:_NAMED]
    if len(items) > _NAMED:
        yield f"and {len(items) - _NAMED} more"


def ok(name: str, detail: str) -> Check:
    return Check(name=name, level=Level.OK, detail=detail)


def warning(name: str, detail: str, cure: str) -> Check:
    return Check(name=name, level=Level.WARNING, detail=detail, cure=cure)


def failed(name: str, detail: str, cure: str) -> Check:
    return Check(name=name, level=Level.FAILED, detail=detail, cure=cure)


def unknown(name: str, unknown: Unknown) -> Check:
    return Check(name=name, level=Level.UNKNOWN, detail=unknown.why)
