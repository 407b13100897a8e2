"""Turn values into terminal text and JSON: one place for tables, `-o json` and exit codes.

Data goes to stdout, talk to stderr. Tables are plain aligned text, so that they can be piped;
colors would add nothing that a reason's name does not say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn

EXIT_FINE, EXIT_FINDINGS, EXIT_USAGE, EXIT_UNREACHABLE = 0, 1, 2, 3


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns, two spaces apart, as kubectl prints them."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def to_json(value: object) -> str:
    """Return the stable JSON of a value: field names of the dataclasses, addresses as text."""
    return json.dumps(plain(value), indent=2, sort_keys=False)


def plain(value: Any) -> Any:
    """Return `value` as JSON types only."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def warn(message: str) -> None:
    """Say one line on stderr, and go on."""
    print(f"lbctl: {message}", file=sys.stderr)


def fail(message: str, code: int) -> NoReturn:
    """End the command with one line on stderr."""
    print(f"lbctl: {message}", file=sys.stderr)
    sys.exit(code)
