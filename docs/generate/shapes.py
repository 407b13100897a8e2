"""Render the shape of every `-o json` from the dataclasses that are printed.

The command prints the fields of its values, so the values' types are the documentation: a field
that is added, renamed or changes its type changes the page, and the drift check sees it.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from lbctl.cli.get import AddressRow, NodeRow, PoolRow, ServiceRow
from lbctl.cli.get_bgp import PeerRow, RouteRow, SessionRow, TableRow
from lbctl.model.reason import Reason
from lbctl.plan.address_uses import AddressFacts
from lbctl.plan.checklist_steps import Step
from lbctl.plan.doctor import Diagnosis
from lbctl.plan.explain import ServiceExplanation
from lbctl.plan.explain_node import NodeFacts
from lbctl.plan.explain_peer import PeerFacts
from lbctl.plan.explain_pool import PoolFacts

ANSWERS: Final[Mapping[str, tuple[Any, str]]] = {
    "lbctl get services": (ServiceRow, "a list"),
    "lbctl get addresses": (AddressRow, "a list"),
    "lbctl get pools": (PoolRow, "a list"),
    "lbctl get nodes": (NodeRow, "a list"),
    "lbctl get peers": (PeerRow, "a list"),
    "lbctl get sessions": (SessionRow, "a list"),
    "lbctl get routes": (TableRow, "a list"),
    "lbctl get routes --node NODE": (RouteRow, "a list"),
    "lbctl explain service": (ServiceExplanation, "and `checklist`, a list of Step, and `fine`"),
    "lbctl explain address": (AddressFacts, "and `fine`"),
    "lbctl explain pool": (PoolFacts, "and `fine`"),
    "lbctl explain node": (NodeFacts, "and `fine`"),
    "lbctl explain peer": (PeerFacts, "and `fine`"),
    "lbctl doctor": (Diagnosis, "and `fine`"),
}
"""What each command prints, and what it prints around the value."""


_PLURALS: Final = {"a text": "texts", "an address": "addresses"}


def shapes() -> Iterator[str]:
    """Yield the lines: what each command prints, then every type by its fields."""
    yield "| Command | Prints |"
    yield "|---|---|"
    wanted: list[Any] = [Step]
    for command, (kind, around) in ANSWERS.items():
        said = f"a list of {kind.__name__}" if around == "a list" else f"{kind.__name__}, {around}"
        yield f"| `{command} -o json` | {said} |"
        wanted.append(kind)
    yield ""
    yield "| Type | Field | Holds |"
    yield "|---|---|---|"
    for kind in _reached(wanted):
        for name, hint in _fields(kind):
            yield f"| {kind.__name__} | `{name}` | {_words(hint)} |"


def _reached(wanted: list[Any]) -> list[Any]:
    found: dict[str, Any] = {}
    while wanted:
        kind = wanted.pop(0)
        if kind.__name__ in found:
            continue
        found[kind.__name__] = kind
        wanted += [inner for _, hint in _fields(kind) for inner in _kinds(hint)]
    return [found[name] for name in sorted(found)]


def _fields(kind: Any) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else kind._fields
    for name in names:
        yield name, hints[name]


def _has_fields(hint: Any) -> bool:
    return is_dataclass(hint) or hasattr(hint, "_fields")


def _kinds(hint: Any) -> Iterator[Any]:
    if _has_fields(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from _kinds(inner)


def _words(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if set(arguments) == {IPv4Address, IPv6Address}:
            return "an address"
        present = [_words(one) for one in arguments if one is not types.NoneType]
        return " or ".join([*dict.fromkeys(present), *(["null"] * (types.NoneType in arguments))])
    if typing.get_origin(hint) in (tuple, frozenset):
        return f"a list of {_PLURALS.get(_words(arguments[0]), _words(arguments[0]))}"
    if _has_fields(hint):
        return str(hint.__name__)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if hint is Reason:
            return "a [reason](reasons.md)"
        return "one of " + ", ".join(f"`{one.value}`" for one in hint)
    plain = {bool: "true or false", int: "a number", str: "a text"}
    return plain.get(hint, "an address" if hint in (IPv4Address, IPv6Address) else "a text")
