"""Turn the bytes of a WATCH into events, and LIST items into identities.

Pure: no sockets, no clock. Kept apart from the reflector so that its loop reads as a
loop, and because every malformed input of a watch ends here as one of three errors.
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

LINE_LIMIT = 16 * 1024 * 1024
"""An object is at most about 3 MiB in etcd; a proxy that never sends a line end would
otherwise fill the memory of every speaker."""


class Gone(Exception):  # noqa: N818 - the API's own name for 410: the history is no longer there
    """Our resourceVersion is too old: only a new LIST helps."""


class StreamBroken(Exception):  # noqa: N818 - says what happened to the stream
    """The stream carried something that is no event; the text says what."""


class Malformed(Exception):  # noqa: N818 - says what the object is
    """An object has no usable name; the API server never sends one."""


class EventType(Enum):
    """The types of a watch event that carry an object or a position."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """One line of a watch."""

    type: EventType
    object: dict[str, Any]
    resource_version: str


class LineSplitter:
    """Cut a byte stream at line ends; what follows the last one waits for more."""

    __slots__ = ("tail",)

    def __init__(self) -> None:
        self.tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the complete lines. Raises `StreamBroken` on a line without end."""
        lines = (self.tail + data if self.tail else data).split(b"\n")
        self.tail = lines.pop()
        if len(self.tail) > LINE_LIMIT:
            raise StreamBroken(f"a line of the watch is longer than {LINE_LIMIT} bytes")
        return [line for line in lines if line.strip()]


def decode_event(line: bytes) -> WatchEvent:
    """Read one line of a watch.

    Raises:
        Gone: an ERROR that says that our position is too old (410).
        StreamBroken: any other ERROR, and whatever is not an event.

    """
    try:
        event = json.loads(line)
    except ValueError as error:
        raise StreamBroken(f"a line of the watch is not JSON: {line[:80]!r}") from error
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        raise StreamBroken(f"a line of the watch is no event: {line[:80]!r}")
    body: dict[str, Any] = event["object"]
    if event.get("type") == "ERROR":
        code, reason = body.get("code"), body.get("reason")
        if code == 410 or reason in {"Expired", "Gone"}:
            raise Gone(str(body.get("message") or reason))
        raise StreamBroken(f"the watch ended with {code} {reason}: {body.get('message')}")
    try:
        kind = EventType(event.get("type"))
        version = body["metadata"]["resourceVersion"]
    except (ValueError, KeyError, TypeError) as error:
        raise StreamBroken(f"a line of the watch is no event: {line[:80]!r}") from error
    if not isinstance(version, str):
        raise StreamBroken(f"a watch event has no resourceVersion: {line[:80]!r}")
    return WatchEvent(type=kind, object=body, resource_version=version)


def identity_of(body: object) -> str:
    """Return "namespace/name", or "name" without namespace. Raises `Malformed`."""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(metadata, dict):
        raise Malformed("an object without metadata")
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not name:
        raise Malformed("an object without metadata.name")
    return f"{namespace}/{name}" if namespace else name


def version_number(resource_version: object) -> int | None:
    """Return a resourceVersion as a number, or None if it is none.

    Kubernetes 1.35 made them officially comparable within a kind (KEP-5504); they
    always were in practice.
    """
    if isinstance(resource_version, str) and resource_version.isdecimal():
        return int(resource_version)
    return None
