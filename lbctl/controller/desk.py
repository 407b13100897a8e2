"""Keep track of what was submitted for each object, so that nothing is written twice or forgotten.

A pass of the reconciler looks at an object again while its write is still under way, and must
then do nothing if it wants the same. When the outcome is known the object is looked at once
more: at once if our own write changed it, and after a pause if the API server did not let us.
The pauses matter: a conflict means that the watch will bring the newer object, and a refusal
for good will not change by asking again soon. The caller is `lbctl.controller.reconciler`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from lbctl.api.paths import resource_name
from lbctl.api.writer import (
    Conflict,
    GaveUp,
    Missing,
    Refused,
    Superseded,
    Withheld,
    Write,
    WriteOutcome,
    Writer,
    Written,
)

logger = logging.getLogger(__name__)

_OURS_TO_MEND: Final = frozenset({401, 403})
"""Statuses that say something about our rights, not about the object."""

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskPace:
    """Seconds until an object is looked at again after each kind of failure."""

    conflict_s: float = 1.0
    gave_up_s: float = 1.0
    refused_s: float = 30.0


class Desk(Generic[Key]):
    """Writes under way by object key; `again` is called with a key to be looked at once more."""

    def __init__(
        self,
        writer: Writer,
        *,
        again: Callable[[Key], None],
        pace: DeskPace | None = None,
    ) -> None:
        self._writer = writer
        self._again = again
        self._pace = pace or DeskPace()
        self._under_way: dict[Key, Write] = {}
        self._refusals: dict[Key, str] = {}

    def __contains__(self, key: Key) -> bool:
        """Return whether a write for the object waits or is under way."""
        return key in self._under_way

    def __len__(self) -> int:
        return len(self._under_way)

    def refusals(self) -> Iterator[str]:
        """Yield what the API server refuses to let us write, one sentence per text."""
        yield from dict.fromkeys(self._refusals.values())

    def settle(self, key: Key) -> None:
        """Forget the refusal of an object that is gone or shows what it shall."""
        self._refusals.pop(key, None)

    def keep_only(self, present: Container[Key]) -> None:
        """Forget the refusals of objects that are gone."""
        self._refusals = {key: text for key, text in self._refusals.items() if key in present}

    def submit(self, key: Key, write: Write, written: Callable[[dict[str, Any]], None]) -> None:
        """Have `write` sent unless the same is under way; `written` gets the stored object."""
        if self._under_way.get(key) == write:
            return
        self._under_way[key] = write

        def settled(future: asyncio.Future[WriteOutcome]) -> None:
            if not future.cancelled():
                self._settled(key, write, future.result(), written)

        self._writer.submit(write).add_done_callback(settled)

    def _settled(
        self,
        key: Key,
        write: Write,
        outcome: WriteOutcome,
        written: Callable[[dict[str, Any]], None],
    ) -> None:
        if self._under_way.get(key) is write:
            del self._under_way[key]
        match outcome:
            case Written():
                self._refusals.pop(key, None)
                written(outcome.body)
                self._again(key)
            case Conflict():
                self._later(self._pace.conflict_s, key)
            case Missing():
                # Deleted meanwhile: the watch tells. If not, the look is cheap.
                self._later(self._pace.conflict_s, key)
            case Refused():
                self._refused(key, write, outcome)
                self._later(self._pace.refused_s, key)
            case GaveUp():
                logger.warning("%s not written: %s", write.path, outcome.message)
                self._later(self._pace.gave_up_s, key)
            case Withheld():
                # The Lease may only be late: no new term begins if it is renewed after all.
                self._later(self._pace.conflict_s, key)
            case Superseded():
                # The newer write carries on.
                pass

    def _refused(self, key: Key, write: Write, outcome: Refused) -> None:
        """Say it once for all objects: a missing RBAC rule refuses each of them."""
        resource = resource_name(write.path)
        text = f"the API server refuses to write {resource}: {outcome.status} {outcome.message}"
        if outcome.status == 403:
            text = f"RBAC refuses to {write.verb.value.lower()} {resource}: grant that verb to us"
        if text not in self._refusals.values():
            logger.error("%s (%s: %s)", text, write.path, outcome.message)
        # Only what refuses all writes makes the process unready: one odd object must not take
        # the webhook and the whole rollout with it.
        if outcome.status in _OURS_TO_MEND:
            self._refusals[key] = text

    def _later(self, seconds: float, key: Key) -> None:
        asyncio.get_running_loop().call_later(seconds, self._again, key)
