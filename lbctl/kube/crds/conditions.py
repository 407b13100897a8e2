"""Declare `status.conditions` as Kubernetes' API conventions have it, and rewrite such lists.

A list of conditions is read, changed in our entries only, and written back whole, because a
merge patch replaces lists: what others put there survives, in its place. Observed conditions
travel as an opaque canonical JSON text, so that a frozen value can hold them. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lbctl.kube.crds.table import Field, Integer, ListOf, Struct, Text

NO_CONDITIONS = "[]"
MESSAGE_MAX = 32_768
REASON_MAX = 1_024
TYPE_MAX = 316
INT64_MAX = 9_223_372_036_854_775_807

CONDITIONS = ListOf(
    item=Struct(
        fields=(
            Field(
                name="type",
                type=Text(max_length=TYPE_MAX, min_length=1),
                required=True,
                description="What the condition is about.",
            ),
            Field(
                name="status",
                type=Text(max_length=7, enum=("True", "False", "Unknown")),
                required=True,
                description="Whether it holds.",
            ),
            Field(
                name="observedGeneration",
                type=Integer(minimum=0, maximum=INT64_MAX, wide=True),
                description="The metadata.generation that was judged.",
            ),
            Field(
                name="lastTransitionTime",
                type=Text(max_length=64, format="date-time"),
                required=True,
                description="When the status last changed.",
            ),
            Field(
                name="reason",
                type=Text(max_length=REASON_MAX, min_length=1),
                required=True,
                description="The reason from the closed set in reference/reasons.md.",
            ),
            Field(
                name="message",
                type=Text(max_length=MESSAGE_MAX),
                required=True,
                description="The facts of this case and the cure.",
            ),
        )
    ),
    max_items=64,
    keys=("type",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Hold one condition to show; the transition time follows from what is shown already."""

    type: str
    status: bool
    reason: str
    message: str
    observed_generation: int


_spell = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""One encoder for all: `json.dumps` makes a new one for each call that has settings."""


def keep(conditions: Any) -> str:
    """Return the opaque text of a conditions list as found; entries of no use are left out."""
    if not isinstance(conditions, list):
        return NO_CONDITIONS
    named = [
        item for item in conditions if isinstance(item, dict) and isinstance(item.get("type"), str)
    ]
    return _spell(named) if named else NO_CONDITIONS


def rewrite(
    kept: str, *, wanted: Iterable[Condition], dropped: Iterable[str] = (), now_rfc3339: str
) -> list[dict[str, Any]] | None:
    """Return the whole list to write, or None when it would say nothing new.

    `lastTransitionTime` changes only with the status (API conventions, "Typical status
    properties"), so a change of message keeps the old time.
    """
    observed: list[dict[str, Any]] = json.loads(kept)
    gone = frozenset(dropped)
    result = [item for item in observed if item["type"] not in gone]
    for condition in wanted:
        index = next((i for i, item in enumerate(result) if item["type"] == condition.type), None)
        found = result[index] if index is not None else {}
        rendered = _render(condition, found, now_rfc3339)
        if index is None:
            result.append(rendered)
        else:
            result[index] = rendered
    return None if result == observed else result


def _render(condition: Condition, found: dict[str, Any], now_rfc3339: str) -> dict[str, Any]:
    status = "True" if condition.status else "False"
    since = found.get("lastTransitionTime")
    stays = found.get("status") == status and isinstance(since, str) and since
    return {
        "type": condition.type,
        "status": status,
        "reason": condition.reason[:REASON_MAX],
        "message": shortened(condition.message),
        "lastTransitionTime": since if stays else now_rfc3339,
        # A zero is left out by the API server, which would look like a difference for ever.
        **(
            {"observedGeneration": condition.observed_generation}
            if condition.observed_generation > 0
            else {}
        ),
    }


def shortened(message: str) -> str:
    """Return the message cut to what a condition may hold (the API server counts bytes)."""
    raw = message.encode("utf-8", errors="replace")
    if len(raw) <= MESSAGE_MAX:
        return message
    return raw[: MESSAGE_MAX - 3].decode("utf-8", errors="ignore") + "..."
