"""Spell instants as Kubernetes does. Pure."""

from __future__ import annotations

import datetime as dt


def rfc3339(instant: dt.datetime) -> str:
    """Return a metav1.Time: RFC 3339 in UTC, whole seconds."""
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
