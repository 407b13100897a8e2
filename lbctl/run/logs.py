"""Logging of a process: one line per record on stderr, for people or as JSON.

Fields given by `extra={...}` appear behind a text line as `key=value` and in JSON as keys of
their own, so a log can be searched by them. Standard library only: every daemon uses it, also
the one that must stay small. Called once by each composition root.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

_STANDARD: Final = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", None, None)) | {"message": "", "asctime": ""}
)
"""What every record has; all other attributes came from `extra`."""


def set_up_logging(*, level: str, form: str) -> None:
    """Send everything from `level` up to stderr; `form` is `text` or `json`.

    A second call replaces the first. Levels are those of `lbctl.run.flags.LOG_LEVELS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class TextFormatter(logging.Formatter):
    """Write `time LEVEL logger: message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [f"{_time_of(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"]
        parts += [f"{key}={value}" for key, value in _extra_of(record).items()]
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """Write one JSON object per record; values that JSON lacks are written as text."""

    def format(self, record: logging.LogRecord) -> str:
        value = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra_of(record),
        }
        if record.exc_info:
            value["exception"] = self.formatException(record.exc_info)
        return json.dumps(value, default=str)


def _extra_of(record: logging.LogRecord) -> Mapping[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
