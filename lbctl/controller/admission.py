"""Judge a pool that somebody is about to write: would it overlap a pool in effect? No I/O.

The text is the one that the condition `Accepted` would show, from the same function over the
same pools in effect. Only this rule is refused early, because it needs other objects: what one
object can say wrong is refused by its schema, and everything is reported on the object anyway.
Runs in kopf's thread: it reads one immutable value, which the reflectors' loop replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lbctl.kube.crds.ip_address_pool import parse_pool
from lbctl.plan.pools import PoolBook, join_problems, overlap_problems


class PoolJudge:
    """Say why a pool is refused; `book` returns the present judgement on all pools."""

    def __init__(self, book: Callable[[], PoolBook]) -> None:
        self._book = book

    def __call__(self, body: Mapping[str, Any], old: Mapping[str, Any] | None) -> str | None:
        """Return the refusal of `body`, which replaces `old` if there is one."""
        if old is not None and old.get("spec") == body.get("spec"):
            # A label or a finalizer: refusing it would not make the pools better.
            return None
        parsed = parse_pool(dict(body))
        if parsed is None or parsed.spec is None:
            return None
        in_effect = sorted(self._book().ranked, key=lambda pool: pool.name)
        problems = overlap_problems(parsed.spec, in_effect)
        return join_problems(problems) if problems else None
