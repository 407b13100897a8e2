"""Read a JSON value by its table: the value it means, and every problem at once. Never raises.

The judgement is that of the API server with our schema (absent and null are the same, unknown
fields are ignored), so an object that a schema let in is refused here only for what a schema
cannot say, which each kind's table lists in words. Pure; called by the kinds' `parse`.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, assert_never

from lbctl.kube.crds.table import Boolean, Integer, Labels, ListOf, Rule, Struct, Text, Type
from lbctl.model.outcome import Problem

LABEL_KEY_MAX = 317
LABEL_KEY_PATTERN = (
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
LABEL_VALUE_MAX = 63
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
LABEL_KEY_WORDS = "a label key such as app or example.com/tier"
LABEL_VALUE_WORDS = "a label value (letters, digits, '-', '_' and '.')"
LINK_NAME_MAX = 15
"""IFNAMSIZ (16) less the closing zero."""
LINK_NAME_PATTERN = r"^[^/ \t\r\n]*$"
LINK_NAME_WORDS = "an interface name (no blank, no slash)"

SHOWN_LENGTH = 80
"""A foreign value is quoted in messages up to this length: who fills a field with a megabyte
must not get it back in a condition."""


def read(declared: Type, value: Any, path: str, problems: list[Problem]) -> Any:
    """Return what `value` means, or None after adding to `problems`."""
    match declared:
        case Text():
            return _read_text(declared, value, path, problems)
        case Integer():
            return _read_integer(declared, value, path, problems)
        case Boolean():
            if isinstance(value, bool):
                return value
            problems.append(Problem(path=path, message=f"{shown(value)} is neither true nor false"))
            return None
        case ListOf():
            return _read_list(declared, value, path, problems)
        case Labels():
            return _read_labels(declared, value, path, problems)
        case Struct():
            return _read_struct(declared, value, path, problems)
    assert_never(declared)


def shown(value: Any) -> str:
    """Return a value as a message may quote it: JSON, cut to a readable length."""
    text = value if isinstance(value, str) else _json(value)
    cut = text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 3] + "..."
    return repr(cut) if isinstance(value, str) else cut


def _read_text(declared: Text, value: Any, path: str, problems: list[Problem]) -> Any:
    spelled = "what it holds" if declared.secret else shown(value)
    if not isinstance(value, str):
        problems.append(Problem(path=path, message=f"{spelled} is not a string"))
        return None
    before = len(problems)
    if len(value) < declared.min_length:
        problems.append(Problem(path=path, message="must not be empty"))
    elif len(value) > declared.max_length:
        problems.append(
            Problem(
                path=path,
                message=f"{spelled} has {len(value):,} characters; "
                f"at most {declared.max_length:,} are allowed",
            )
        )
    elif declared.enum and value not in declared.enum:
        allowed = ", ".join(declared.enum)
        problems.append(Problem(path=path, message=f"{spelled} is not one of {allowed}"))
    elif declared.pattern and not _compiled(declared.pattern).fullmatch(value):
        problems.append(Problem(path=path, message=f"{spelled} is not {declared.says}"))
    if len(problems) > before:
        return None
    if declared.parse is None:
        _judge(declared.rules, value, path, problems)
        return value if len(problems) == before else None
    # What parses is judged by the parser alone: it says in words what the rule only denies.
    parsed = declared.parse(value, path)
    if isinstance(parsed, Problem):
        problems.append(parsed)
        return None
    return parsed


def _read_integer(declared: Integer, value: Any, path: str, problems: list[Problem]) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        problems.append(Problem(path=path, message=f"{shown(value)} is not a whole number"))
        return None
    if not declared.minimum <= value <= declared.maximum:
        problems.append(
            Problem(
                path=path,
                message=f"{shown(value)} is not between {declared.minimum} and {declared.maximum}",
            )
        )
        return None
    return value


def _read_list(declared: ListOf, value: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, list):
        problems.append(Problem(path=path, message=f"{shown(value)} is not a list"))
        return None
    if len(value) > declared.max_items:
        # The items are not read: a list of a million bad ones would be a million messages.
        problems.append(
            Problem(
                path=path,
                message=f"has {len(value):,} items; at most {declared.max_items:,} are allowed, "
                "so split the object in two",
            )
        )
        return None
    if len(value) < declared.min_items:
        problems.append(Problem(path=path, message="must have at least one item"))
        return None
    before = len(problems)
    items = tuple(
        read(declared.item, item, f"{path}[{index}]", problems) for index, item in enumerate(value)
    )
    if declared.unique or declared.keys:
        _refuse_repeats(declared.keys, value, path, problems)
    return items if len(problems) == before else None


def _refuse_repeats(
    keys: tuple[str, ...], items: list[Any], path: str, problems: list[Problem]
) -> None:
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        if keys:
            identity = _json([item.get(key) for key in keys] if isinstance(item, dict) else item)
        else:
            identity = _json(item)
        if identity in seen:
            problems.append(
                Problem(
                    path=f"{path}[{index}]",
                    message=f"repeats {path}[{seen[identity]}]: {shown(item)}; remove one of them",
                )
            )
        seen.setdefault(identity, index)


def _read_labels(
    declared: Labels, value: Any, path: str, problems: list[Problem]
) -> dict[str, str] | None:
    if not isinstance(value, dict):
        problems.append(Problem(path=path, message=f"{shown(value)} is not an object"))
        return None
    if len(value) > declared.max_properties:
        problems.append(
            Problem(
                path=path,
                message=f"has {len(value):,} labels; at most {declared.max_properties} are allowed",
            )
        )
        return None
    before = len(problems)
    for key, label in value.items():
        if not is_label_key(key):
            problems.append(Problem(path=path, message=f"{shown(key)} is not {LABEL_KEY_WORDS}"))
        if not isinstance(label, str) or not is_label_value(label):
            where = f"{path}[{shown(key)}]"
            message = f"{shown(label)} is not {LABEL_VALUE_WORDS}"
            problems.append(Problem(path=where, message=message))
    return dict(value) if len(problems) == before else None


def is_label_key(key: str) -> bool:
    """Return whether `key` can be a label's key (Kubernetes: "Labels and Selectors")."""
    return len(key) <= LABEL_KEY_MAX and bool(_compiled(LABEL_KEY_PATTERN).fullmatch(key))


def is_label_value(text: str) -> bool:
    """Return whether `text` can be a label's value."""
    return bool(_compiled(LABEL_VALUE_PATTERN).fullmatch(text))


def _read_struct(declared: Struct, value: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        problems.append(Problem(path=path, message=f"{shown(value)} is not an object"))
        return None
    before = len(problems)
    fields: dict[str, Any] = {}
    for field in declared.fields:
        found = value.get(field.name)
        if found is not None:
            fields[field.name] = read(field.type, found, f"{path}.{field.name}", problems)
            continue
        fields[field.name] = field.default
        if field.required:
            problems.append(Problem(path=f"{path}.{field.name}", message="is missing; set it"))
    if len(problems) == before:
        # As the API server: rules are judged on values that have the right form.
        _judge(declared.rules, value, path, problems)
    if len(problems) > before:
        return None
    return declared.build(fields) if declared.build else fields


def _judge(rules: tuple[Rule, ...], value: Any, path: str, problems: list[Problem]) -> None:
    problems.extend(
        Problem(path=path, message=rule.message)
        for rule in rules
        if not rule.on_update and not rule.holds(value)
    )


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
