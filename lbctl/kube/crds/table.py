"""Declare what a kind looks like: the one table from which everything else about it follows.

A `Kind` is data. `schema.py` renders it as a CustomResourceDefinition, `reading.py` reads
objects by it into model values, `reference.py` prints it as documentation; so a limit in the
schema, in the parser and in the docs is one number. A `Rule` carries its CEL expression beside
the same judgement in Python, because the product must refuse what the API server would refuse
also where our schema is not installed (with `--api-group metallb.io`). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Hold one rule twice: `cel` for the API server, `holds` for us, on the same raw JSON value.

    The cost of `cel` is multiplied by the bounds of every list around it; the API server refuses
    a CRD whose estimate is too high, so rules stand on bounded lists and strings only.
    `on_update` marks a transition rule (it reads oldSelf); the parser sees no old object.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    on_update: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Hold a string. `parse` turns it into a model value or says what is wrong with it.

    `pattern` is anchored and written so that RE2 and Python's re agree on it; `says` is the
    pattern in words. A `secret` is never repeated in a message.
    """

    max_length: int
    min_length: int = 0
    pattern: str = ""
    says: str = ""
    enum: tuple[str, ...] = ()
    format: str = ""
    rules: tuple[Rule, ...] = ()
    parse: Callable[[str, str], object] | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """Hold a whole number.

    `wide` asks for the format int64: Kubernetes 1.36 refuses every object of a kind in which a
    maximum does not fit its format.
    """

    minimum: int
    maximum: int
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Boolean:
    """Hold true or false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """Hold a bounded list.

    `unique` refuses equal items (list type "set"); `keys` makes it a map by these fields (list
    type "map").
    """

    item: Type
    max_items: int
    min_items: int = 0
    unique: bool = False
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Hold a bounded map of label keys to label values (matchLabels)."""

    max_properties: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Hold one field of an object. `default` is filled in by the API server and by the parser."""

    name: str
    type: Type
    description: str
    required: bool = False
    default: bool | int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Struct:
    """Hold an object with named fields.

    `build` gets every field by name (None where absent) and returns the model value; without it
    the reader returns that mapping. `atomic` makes it one value for list type "set".
    """

    fields: tuple[Field, ...]
    rules: tuple[Rule, ...] = ()
    atomic: bool = False
    build: Callable[[Mapping[str, Any]], object] | None = None


Type = Text | Integer | Boolean | ListOf | Labels | Struct


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Hold one column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    type: str
    path: str
    description: str
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Hold one kind. All of ours are namespaced and have a status subresource."""

    kind: str
    plural: str
    singular: str
    description: str
    status: Struct
    spec: Struct | None = None
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    """Fields of which `kubectl get --field-selector` can make use."""
    beyond_schema: tuple[str, ...] = ()
    """What only the controller checks, in words, for the reference."""
