"""Read the answer to a LIST while it arrives, each object as soon as it is complete. Pure.

Asked without `limit`, the API server answers from its cache; pages it reads from etcd, which takes
it three times as long (10,000 Services, Kubernetes 1.36). Parsed as a whole such an answer would
be 200 MiB of objects for a moment; read like this it is what one piece of it holds.

Called by `lbctl.api.reflector` and `lbctl.cli.lists`.
"""

import codecs
import json
import re
from enum import Enum, auto
from typing import Any, Final

from lbctl.api.watch import LINE_LIMIT, StreamBroken

PIECE: Final = 64 * 1024
"""Bytes to be fed at a time, some milliseconds of work; what gzip unpacks at once is many of it."""
_SMALL: Final = 256 * 1024
"""Characters of an unfinished object that is tried with every piece. A longer one is tried when it
is half as long again, or an object of some MiB would take seconds."""
_CUT: Final = 16
"""Characters at the end within which a syntax error may be the cut's: a word, a number."""
_BETWEEN: Final = re.compile(r"[\s,]*")
"""Nobody is helped by a complaint about a comma that is missing."""
_MORE: Final = re.compile(r"$|[0-9.eE+-]")
"""What may make a value longer that is whole so far."""


class _Where(Enum):
    BEFORE = auto()
    FIELDS = auto()
    ITEMS = auto()
    AFTER = auto()


class ListReader:
    """Take in the bytes of one answer; `end` says of which moment it is.

    Both methods raise `StreamBroken` for what is no list.
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._enough = 0
        self._where = _Where.BEFORE
        self._fields: dict[str, Any] = {}

    def feed(self, data: bytes) -> list[Any]:
        """Return the objects that are complete now."""
        try:
            self._text = self._text[self._at :] + self._utf8.decode(data)
        except UnicodeDecodeError as error:
            raise StreamBroken("the answer to LIST is not UTF-8") from error
        self._at = 0
        items: list[Any] = []
        if len(self._text) < self._enough:
            return items
        while self._step(items):
            pass
        unfinished = len(self._text) - self._at
        if unfinished > LINE_LIMIT:
            raise StreamBroken(f"an object of the list is longer than {LINE_LIMIT} bytes")
        self._enough = unfinished * 3 // 2 if unfinished > _SMALL else 0
        return items

    def end(self) -> tuple[list[Any], str]:
        """Return the last objects, and the resourceVersion of the list; it has to be complete."""
        self._enough = 0
        items = self.feed(b"")
        if self._where is not _Where.AFTER:
            raise StreamBroken("the answer to LIST is not complete, or no JSON")
        metadata = self._fields.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if not isinstance(version, str):
            raise StreamBroken("the list has no resourceVersion")
        return items, version

    def _step(self, items: list[Any]) -> bool:
        """Read one thing more; return whether it was there."""
        at = self._skip(self._at)
        mark = self._text[at : at + 1]
        match self._where:
            case _Where.BEFORE if mark == "{":
                self._at, self._where = at + 1, _Where.FIELDS
            case _Where.BEFORE if mark:
                raise StreamBroken(f"the answer to LIST is no JSON object: {self._text[:80]!r}")
            case _Where.FIELDS if mark == "}":
                self._at, self._where = at + 1, _Where.AFTER
            case _Where.FIELDS if mark:
                return self._field(at)
            case _Where.ITEMS if mark == "]":
                self._at, self._where = at + 1, _Where.FIELDS
            case _Where.ITEMS if mark:
                return self._value(at, items)
            case _:
                return False
        return True

    def _field(self, at: int) -> bool:
        pair: list[Any] = []
        before = self._at
        if not self._value(at, pair):
            return False
        if not isinstance(pair[0], str):
            raise StreamBroken("the answer to LIST is no JSON object")
        colon = self._skip(self._at)
        value = self._skip(colon + 1)
        if self._text[colon : colon + 1] == ":" and value < len(self._text):
            if pair == ["items"] and self._text[value] == "[":
                self._at, self._where = value + 1, _Where.ITEMS
                return True
            if self._value(value, pair):
                self._fields[pair[0]] = pair[1]
                if pair[0] == "items" and pair[1] is not None:
                    raise StreamBroken("the answer to LIST is no list")
                return True
        self._at = before
        return False

    def _value(self, at: int, values: list[Any]) -> bool:
        """Read a JSON value that something follows; return whether all of it is there."""
        try:
            value, end = self._scan(self._text, at)
        except json.JSONDecodeError as error:
            cut = error.pos > len(self._text) - _CUT or error.msg.startswith("Unterminated string")
            if not cut:
                raise StreamBroken(f"the answer to LIST is no JSON: {error.msg}") from error
            return False
        # A number goes on in the next piece, or it was read as far as a dot that is cut off.
        if (
            _MORE.match(self._text, end)
            if isinstance(value, int | float)
            else end == len(self._text)
        ):
            return False
        values.append(value)
        self._at = end
        return True

    def _skip(self, at: int) -> int:
        between = _BETWEEN.match(self._text, at)
        return at if between is None else between.end()
