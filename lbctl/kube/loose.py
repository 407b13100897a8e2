"""Take parts out of an API object of any shape. Never raises. Pure.

What an API server sends has the right form; what a file given to `lbctl simulate` or a broken
proxy sends may not. A part of the wrong type counts as absent here, and each reader decides what
its absence means.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def word(value: Any) -> str:
    """Return a text of which there are few: ten thousand objects share one copy."""
    return sys.intern(value) if isinstance(value, str) else ""


def number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the items of a list that are objects."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """Return the items of a list that are strings."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def labels(value: Any) -> dict[str, str]:
    """Return a map of strings; keys are interned, since ten thousand objects repeat them."""
    return {
        sys.intern(key): content
        for key, content in mapping(value).items()
        if isinstance(key, str) and isinstance(content, str)
    }


class Metadata(NamedTuple):
    """Hold what every reader needs of `metadata`; an object without a name is of no use.

    A named tuple: one is made for every object that is read, and a dataclass takes three times as
    long.
    """

    name: str
    namespace: str
    uid: str
    created: str
    generation: int
    resource_version: str
    labels: dict[str, str]
    annotations: Mapping[str, Any]


def metadata_of(body: Any) -> Metadata | None:
    """Return the metadata of an object, or None when it has no name."""
    found = mapping(mapping(body).get("metadata"))
    name = text(found.get("name"))
    if not name:
        return None
    return Metadata(
        name=name,
        namespace=sys.intern(text(found.get("namespace"))),
        uid=text(found.get("uid")),
        created=text(found.get("creationTimestamp")),
        generation=number(found.get("generation")),
        resource_version=text(found.get("resourceVersion")),
        labels=labels(found.get("labels")),
        annotations=mapping(found.get("annotations")),
    )
