"""Turn values into terminal text and JSON: one place for tables, `-o json` and exit codes.

Data goes to stdout, talk to stderr. Tables are plain aligned text and never wrapped, so that they
can be piped, searched and cut: a long line is as long as it is. Colors are for eyes alone: they
are there only when stdout is a terminal and NO_COLOR (no-color.org) is not set, and they say
nothing that the words do not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final, NoReturn

import click

from lbctl.model.reason import Reason

EXIT_FINE, EXIT_FINDINGS, EXIT_USAGE, EXIT_UNREACHABLE = 0, 1, 2, 3

_BOLD, _RED, _GREEN, _YELLOW, _OFF = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
_GOOD: Final = frozenset(
    {"ok", Reason.ALLOCATED, Reason.ANNOUNCED, Reason.ACCEPTED, "up", "yes", "fine"}
)
_DOUBTFUL: Final = frozenset({"warning", "unknown", "note", Reason.PARTIALLY_ALLOCATED})
_NEUTRAL: Final = frozenset({Reason.NOT_ELECTED, Reason.NOT_LOAD_BALANCER, Reason.FOREIGN_CLASS})
_BAD: Final = frozenset({"failed", *(set(Reason) - _GOOD - _DOUBTFUL - _NEUTRAL)})


def colors() -> bool:
    """Return whether stdout may get colors: a terminal that has them, and nobody objects."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and _term() != "dumb"


def paint(word: str) -> str:
    """Return the word in the color of its meaning, if it has one and colors are wanted."""
    color = (
        _GREEN if word in _GOOD else _YELLOW if word in _DOUBTFUL else _RED if word in _BAD else ""
    )
    return f"{color}{word}{_OFF}" if color and colors() else word


def title(line: str) -> str:
    """Return a heading, bold where colors are wanted."""
    return f"{_BOLD}{line}{_OFF}" if colors() else line


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns, two spaces apart, as kubectl prints them."""
    widths = [
        max(len(name), *(len(row[column]) for row in rows)) if rows else len(name)
        for column, name in enumerate(header)
    ]
    return "\n".join([title(_line(header, widths)), *(_painted(row, widths) for row in rows)])


def indented(block: str) -> str:
    """Return a block of text four columns to the right."""
    return "\n".join("    " + line for line in block.splitlines())


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _painted(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return a row; a color must not count as width, so the padding is outside of it."""
    return "  ".join(
        paint(cell) + " " * (width - len(cell)) for cell, width in zip(row, widths, strict=True)
    ).rstrip()


def _term() -> str:
    return os.environ.get("TERM", "")


def to_json(value: object) -> str:
    """Return the stable JSON of a value: field names of the dataclasses, addresses as text."""
    return json.dumps(plain(value), indent=2, sort_keys=False)


def plain(value: Any) -> Any:
    """Return `value` as JSON types only; what has field names becomes an object."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(item) for name, item in zip(value._fields, value, strict=True)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


output_option = click.option("-o", "output", default="table", type=click.Choice(["table", "json"]))
"""Of the verbs that print a table."""


def print_rows(
    rows: Sequence[object], header: Sequence[str], lines: Sequence[Sequence[str]], output: str
) -> None:
    """Print the rows as JSON, or the lines that stand for them as a table."""
    print(to_json(rows) if output == "json" else table(header, lines))


def warn(message: str) -> None:
    """Say one line on stderr, and go on."""
    print(f"lbctl: {message}", file=sys.stderr)


def fail(message: str, code: int) -> NoReturn:
    """End the command with one line on stderr."""
    print(f"lbctl: {message}", file=sys.stderr)
    sys.exit(code)
