"""Print a kind's table as Markdown: the reference that cannot drift from schema and parser. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from lbctl.kube.crds.reading import LABEL_VALUE_MAX
from lbctl.kube.crds.table import (
    Boolean,
    Field,
    Integer,
    Kind,
    Labels,
    ListOf,
    Rule,
    Struct,
    Text,
    Type,
)
from lbctl.kube.groups import OWN_GROUP, OWN_VERSION


def kinds_reference(kinds: tuple[Kind, ...]) -> str:
    """Return docs/reference/crds.md."""
    head = [
        "# Custom resources",
        "",
        (
            f"Group `{OWN_GROUP}`, version `{OWN_VERSION}`; every kind is namespaced and has a status "
            "subresource. lbctl reads its configuration from the namespace that it runs in."
        ),
        "",
        (
            "An object that breaks a rule below is refused by the API server. What only the "
            "controller can judge is listed per kind; it makes the condition `Accepted` False on that "
            "object and leaves the others at work."
        ),
        "",
    ]
    return "\n".join(head + [line for kind in kinds for line in _kind(kind)]).rstrip() + "\n"


def _kind(kind: Kind) -> Iterator[str]:
    yield f"## {kind.kind}"
    yield ""
    yield kind.description
    yield ""
    yield f"`kubectl get {kind.plural}.{OWN_GROUP}` shows: " + ", ".join(
        column.name + (" (with `-o wide`)" if column.priority else "") for column in kind.columns
    )
    yield ""
    if kind.selectable:
        yield "`--field-selector` knows: " + ", ".join(
            f"`{path.removeprefix('.')}`" for path in kind.selectable
        )
        yield ""
    if kind.spec is not None and kind.spec.fields:
        yield from _table("spec", kind.spec)
    yield from _table("status", kind.status)
    if kind.beyond_schema:
        yield "Judged by the controller, beyond the schema:"
        yield ""
        yield from (f"- {sentence}" for sentence in kind.beyond_schema)
        yield ""


def _table(name: str, struct: Struct) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    yield "| Field | Type and limits | Default | Meaning |"
    yield "|---|---|---|---|"
    yield from _rows(name, struct)
    yield ""


def _rows(path: str, struct: Struct) -> Iterator[str]:
    for field in struct.fields:
        here = f"{path}.{field.name}"
        yield (
            f"| `{here}` | {_cell('; '.join(_facts(field)))} | {_default(field)} "
            f"| {_cell(field.description)} |"
        )
        inner, suffix = field.type, ""
        if isinstance(inner, ListOf):
            inner, suffix = inner.item, "[]"
        if isinstance(inner, Struct):
            yield from _rows(here + suffix, inner)


def _facts(field: Field) -> Iterator[str]:
    yield from _type(field.type)
    if field.required:
        yield "required"


def _type(declared: Type) -> Iterator[str]:
    match declared:
        case Text():
            if declared.enum:
                yield "one of " + ", ".join(f"`{word}`" for word in declared.enum)
            else:
                yield f"string, at most {declared.max_length:,} characters"
            if declared.says:
                yield declared.says
            yield from _messages(declared.rules)
        case Integer():
            yield f"whole number from {declared.minimum} to {declared.maximum}"
        case Boolean():
            yield "boolean"
        case ListOf():
            least = f"{declared.min_items} to " if declared.min_items else "at most "
            yield f"list of {least}{declared.max_items:,}"
            if declared.unique:
                yield "no two alike"
            if declared.keys:
                yield f"one per {', '.join(declared.keys)}"
            yield from _items(declared.item)
        case Labels():
            yield (
                f"labels, at most {declared.max_properties} (values at most "
                f"{LABEL_VALUE_MAX} characters)"
            )
        case Struct():
            yield "object"
            yield from _messages(declared.rules)
        case _:
            assert_never(declared)


def _items(item: Type) -> Iterator[str]:
    for fact in _type(item):
        yield f"each: {fact}"


def _messages(rules: tuple[Rule, ...]) -> Iterator[str]:
    yield from (rule.message for rule in rules)


def _default(field: Field) -> str:
    if field.default is None:
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
