"""Turn a configuration object into `Configured`: the part that all kinds share. Pure.

The value that travels is `Written`, a `Configured` with what only the writer needs: the
conditions as found, of others as well. Decisions read the `Configured` part alone, and a change
of those conditions is no news, so they do not take part in comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lbctl.kube.crds.conditions import NO_CONDITIONS, keep
from lbctl.kube.crds.reading import read
from lbctl.kube.crds.table import Kind
from lbctl.kube.loose import Metadata, mapping, metadata_of, number, objects, text
from lbctl.model.configuration import Accepted, Configured
from lbctl.model.names import ObjectKey
from lbctl.model.outcome import Problem

ACCEPTED = "Accepted"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Configured[T], Generic[T]):
    """Hold a configuration object with its conditions as found (opaque, see crds/conditions)."""

    conditions: str = field(default=NO_CONDITIONS, compare=False)


def configured(
    kind: Kind,
    body: Any,
    *,
    build: Callable[[Metadata, Any, list[Problem]], T],
    counters: tuple[int, int, int, int] | None = None,
) -> Written[T] | None:
    """Return the object, valid or with every problem, or None when it has no name.

    `build` makes the model value of a spec whose fields are right; it may add the problems that
    need several fields together.
    """
    metadata = metadata_of(body)
    if metadata is None:
        return None
    status = mapping(body.get("status"))
    problems: list[Problem] = []
    spec: T | None = None
    if kind.spec is not None:
        fields = read(kind.spec, body.get("spec") or {}, "spec", problems)
        if not problems:
            spec = build(metadata, fields, problems)
    return Written(
        key=ObjectKey(kind.kind, metadata.namespace, metadata.name),
        uid=metadata.uid,
        created=metadata.created,
        generation=metadata.generation,
        resource_version=metadata.resource_version,
        spec=None if problems else spec,
        problems=tuple(problems),
        accepted=_accepted(status),
        counters=counters,
        conditions=keep(status.get("conditions")),
    )


def _accepted(status: Any) -> Accepted | None:
    for condition in objects(status.get("conditions")):
        if condition.get("type") == ACCEPTED:
            return Accepted(
                status=text(condition.get("status")),
                reason=text(condition.get("reason")),
                message=text(condition.get("message")),
                observed_generation=number(condition.get("observedGeneration")),
            )
    return None
