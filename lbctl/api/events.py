"""Tell users what happened to an object, as Kubernetes Events, without flooding anybody.

One Event per object, type, reason and message, with a name made of them, so a second
process or a restart finds the same Event and raises its count instead of adding one.
What was the last thing said about an object is not said again (a refusal that persists);
what comes back after something else raises the count. A token bucket per object bounds
an object that flaps. `record` never blocks; the queue is bounded and what does not fit
is counted as lost, since an Event is never worth a Service.

core/v1 Events, because `kubectl describe` shows their counts. One request at a time: a
burst of Events must not take the API server from the status writes that they tell about.
Used by the controller and lb-speaker.
"""

import asyncio
import datetime as dt
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from lbctl.api.backoff import Backoff
from lbctl.api.errors import ApiError, ApiRefused
from lbctl.api.lease import wall_clock
from lbctl.api.paths import collection_path, object_path
from lbctl.api.session import MERGE_PATCH, ApiSession

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 1024
"""The API's own limit for an Event's message, in characters here; ours are ASCII."""


class EventType(Enum):
    """The two types of Events."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """The object that an Event is about (core/v1 ObjectReference)."""

    api_version: str
    kind: str
    name: str
    namespace: str | None = None
    uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLimits:
    """Sizes and times of a recorder; burst and refill are client-go's."""

    burst: int = 25
    refill_s: float = 300.0
    queue: int = 10_000
    remembered: int = 8_192
    attempts: int = 4
    timeout_s: float = 5.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.5, most_s=10.0))


@dataclass(slots=True, kw_only=True)
class EventCounters:
    """What happened so far, for metrics. Mutable: it is the recorder's own tally."""

    recorded: int = 0
    written: int = 0
    repeated: int = 0
    limited: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """One thing to say about one object; equal ones share an Event."""

    about: ObjectRef
    type: EventType
    reason: str
    message: str


@dataclass(slots=True, kw_only=True)
class _Tally:
    """How often a thing was said but not written yet, and when. Mutable counters."""

    count: int
    first: dt.datetime
    last: dt.datetime


@dataclass(slots=True, kw_only=True)
class _Bucket:
    """Tokens left for one object. Mutable."""

    tokens: float
    at: float


A = TypeVar("A")
B = TypeVar("B")


class _Recent(OrderedDict[A, B], Generic[A, B]):
    """A map that forgets what was not touched for longest.

    Whoever creates and deletes Services in a loop would fill it otherwise.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def keep(self, key: A, value: B) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


class EventRecorder:
    """Queue, aggregate and write Events; `run` is its life."""

    def __init__(
        self,
        session: ApiSession,
        *,
        component: str,
        instance: str,
        limits: EventLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self.counters = EventCounters()
        self._session = session
        self._component = component
        self._instance = instance
        self._limits = limits or EventLimits()
        self._clock = clock
        self._wall = wall
        self._queue: OrderedDict[_Said, _Tally] = OrderedDict()
        self._awake = asyncio.Event()
        self._last: _Recent[ObjectRef, tuple[EventType, str, str]] = _Recent(
            self._limits.remembered
        )
        self._buckets: _Recent[ObjectRef, _Bucket] = _Recent(self._limits.remembered)
        self._counts: _Recent[_Said, int] = _Recent(self._limits.remembered)

    def record(self, about: ObjectRef, type_: EventType, reason: str, message: str) -> None:
        """Say `reason` and `message` about an object, soon, unless it was the last word."""
        said = _Said(about=about, type=type_, reason=reason, message=_cut(message))
        word = (type_, reason, said.message)
        if self._last.get(about) == word:
            self.counters.repeated += 1
            return
        if not self._take_token(about):
            # `_last` stays: when the bucket has refilled, the present word is still news.
            self.counters.limited += 1
            return
        now = self._wall()
        waiting = self._queue.get(said)
        if waiting is None and len(self._queue) >= self._limits.queue:
            self.counters.lost += 1
            return
        self._last.keep(about, word)
        self.counters.recorded += 1
        if waiting is not None:
            waiting.count += 1
            waiting.last = now
            return
        self._queue[said] = _Tally(count=1, first=now, last=now)
        self._awake.set()

    def forget(self, about: ObjectRef) -> None:
        """Drop what is remembered about an object that is gone."""
        self._last.pop(about, None)
        self._buckets.pop(about, None)

    async def run(self) -> None:
        """Write Events until cancelled; what still waits then is lost and counted."""
        try:
            while True:
                while not self._queue:
                    self._awake.clear()
                    await self._awake.wait()
                said, tally = self._queue.popitem(last=False)
                try:
                    await self._write(said, tally)
                except ApiError as error:
                    self._lose(said, tally)
                    logger.info("event %s on %s lost: %s", said.reason, said.about.name, error)
                except Exception:
                    # One of the loops that must not die.
                    self._lose(said, tally)
                    logger.exception("event %s on %s lost", said.reason, said.about.name)
        finally:
            self.counters.lost += sum(tally.count for tally in self._queue.values())
            self._queue.clear()

    def _lose(self, said: _Said, tally: _Tally) -> None:
        """Count a loss, and let the same word be said again."""
        self.counters.lost += tally.count
        if self._last.get(said.about) == (said.type, said.reason, said.message):
            del self._last[said.about]

    def _take_token(self, about: ObjectRef) -> bool:
        now = self._clock()
        bucket = self._buckets.get(about)
        if bucket is None:
            bucket = _Bucket(tokens=float(self._limits.burst), at=now)
        gained = (now - bucket.at) / self._limits.refill_s
        bucket.tokens, bucket.at = min(self._limits.burst, bucket.tokens + gained), now
        self._buckets.keep(about, bucket)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    async def _write(self, said: _Said, tally: _Tally) -> None:
        """Create or raise one Event; try again while the server is busy or away."""
        for failures in range(1, self._limits.attempts + 1):
            try:
                await self._create_or_raise(said, tally)
            except ApiError as error:
                final = isinstance(error, ApiRefused) and error.status < 500 and error.status != 429
                if final or failures == self._limits.attempts:
                    raise
                delay_s = self._limits.backoff.delay_s(failures)
                if isinstance(error, ApiRefused) and error.retry_after_s is not None:
                    delay_s = max(delay_s, min(error.retry_after_s, self._limits.backoff.most_s))
                await asyncio.sleep(delay_s)
            else:
                self.counters.written += 1
                return

    async def _create_or_raise(self, said: _Said, tally: _Tally) -> None:
        body = self._body(said, tally)
        namespace = body["metadata"]["namespace"]
        collection = collection_path(group="", version="v1", plural="events", namespace=namespace)
        path = object_path(
            group="", version="v1", plural="events", namespace=namespace,
            name=body["metadata"]["name"],
        )  # fmt: skip
        known = self._counts.get(said)
        if known is None:
            try:
                await self._post(collection, body)
            except ApiRefused as error:
                if error.status != 409:
                    raise
                # A former process said the same thing: go on counting where it stopped.
                current = await self._get(path)
                known = int(current.get("count") or 0) if current is not None else 0
            else:
                self._counts.keep(said, tally.count)
                return
        total = known + tally.count
        try:
            await self._session.request(
                "PATCH",
                path,
                body={"count": total, "lastTimestamp": body["lastTimestamp"]},
                content_type=MERGE_PATCH,
                timeout_s=self._limits.timeout_s,
            )
        except ApiRefused as error:
            if error.status != 404:
                raise
            # Events live an hour by default: this one is gone, so it begins anew.
            total = tally.count
            await self._post(collection, body)
        self._counts.keep(said, total)

    async def _post(self, collection: str, body: dict[str, Any]) -> None:
        await self._session.request("POST", collection, body=body, timeout_s=self._limits.timeout_s)

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return (await self._session.request("GET", path, timeout_s=self._limits.timeout_s)).body
        except ApiRefused as error:
            if error.status == 404:
                return None
            raise

    def _body(self, said: _Said, tally: _Tally) -> dict[str, Any]:
        about = said.about
        # An Event about a cluster-wide object lives in "default", as with client-go.
        namespace = about.namespace or "default"
        involved = {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": _name(said, self._component), "namespace": namespace},
            "involvedObject": {name: value for name, value in involved.items() if value},
            "type": said.type.value,
            "reason": said.reason,
            "message": said.message,
            "count": tally.count,
            "firstTimestamp": _stamp(tally.first),
            "lastTimestamp": _stamp(tally.last),
            "source": {"component": self._component, "host": self._instance},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }


def _name(said: _Said, component: str) -> str:
    """Return a name that equal Events share: the object's name and a digest of the rest."""
    about = said.about
    parts = (
        component, about.api_version, about.kind, about.namespace or "", about.name,
        about.uid or "", said.type.value, said.reason, said.message,
    )  # fmt: skip
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
    # Object names are limited to 253 characters.
    return f"{about.name[:236]}.{digest}"


def _cut(message: str) -> str:
    if len(message) <= MESSAGE_LIMIT:
        return message
    return message[: MESSAGE_LIMIT - 3] + "..."


def _stamp(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
