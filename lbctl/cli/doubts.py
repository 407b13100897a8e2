"""Say which objects cannot be read, or only in part, and go on with the others.

The parsers take a field of an unknown form for absent, so that one odd object stops nobody; but
who asks what is the matter must be told, or a speaker of a newer version looks like no speaker.
The status kinds are compared with their field tables here. Pools and advertisements are not:
they show what is wrong with them as their own verdict. The caller is `lbctl.cli.lists`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from lbctl.api.watch import Malformed, identity_of
from lbctl.kube.crds import bgp_session_status, service_l2_status, speaker_status
from lbctl.kube.crds.reading import read
from lbctl.kube.crds.table import Kind
from lbctl.kube.groups import BGP_SESSION_STATUS, SERVICE_L2_STATUS, SPEAKER_STATUS
from lbctl.model.outcome import Problem

REPORTED: Final[Mapping[str, Kind]] = {
    SPEAKER_STATUS: speaker_status.KIND,
    SERVICE_L2_STATUS: service_l2_status.KIND,
    BGP_SESSION_STATUS: bgp_session_status.KIND,
}
"""Kinds that programs write about themselves, whose form nobody else reports on."""

T = TypeVar("T")


def readable(
    kind: str, items: Iterable[Any], parse: Callable[[Any], T], say: Callable[[str], None]
) -> Iterator[T]:
    """Yield what the objects of a kind say; `say` gets a sentence on each that leaves doubts."""
    for body in items:
        try:
            parsed = parse(body)
        except Exception as error:  # noqa: BLE001 - one object must not stop the others
            say(f"{_name(kind, body)} is left out, it cannot be read: {error!r}")
            continue
        problems = _problems(kind, body)
        if problems:
            say(f"{_name(kind, body)} is read in part: {'; '.join(map(str, problems))}")
        yield parsed


def _problems(kind: str, body: Any) -> tuple[Problem, ...]:
    table = REPORTED.get(kind)
    status = body.get("status") if isinstance(body, dict) else None
    if table is None or status is None:
        return ()
    problems: list[Problem] = []
    read(table.status, status, "status", problems)
    return tuple(problems)


def _name(kind: str, body: Any) -> str:
    try:
        return f"{kind} {identity_of(body)}"
    except Malformed:
        return f"an object without a name among the {kind} objects"
