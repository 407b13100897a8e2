"""Send writes: many at once, one at a time per object, the newest one only.

Every write carries the resourceVersion that it was judged by. A 409 or 404 is therefore
no failure but news: the plan that asked for it rested on an old view, and the caller
plans again. 429, 5xx and silence are tried again with a backoff; a refusal for good
(400, 403, 422) is handed back with the server's words. Before each sending, retries
included, `may_write` is asked, and once more when the connection stands. `submit` never blocks and never raises.

Up to `in_flight` requests are under way; measured against the raw rate of the session
this costs less than a tenth. Writes wait in the order of their coming, but an urgent one
(a speaker that says it is leaving) goes ahead of all that wait. Used by the controller for Services and its own objects,
and by lb-speaker for its status objects.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from lbctl.api.backoff import Backoff
from lbctl.api.errors import ApiError, ApiRefused
from lbctl.api.session import JSON, MERGE_PATCH, ApiSession

logger = logging.getLogger(__name__)


class WriteVerb(Enum):
    """The HTTP method of a write."""

    CREATE = "POST"
    PATCH = "PATCH"
    UPDATE = "PUT"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One request that changes one object.

    `key` says which object: of two waiting writes with one key only the later is sent.
    Make them with the functions below.
    """

    verb: WriteVerb
    path: str
    key: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Done; `body` is the object as the server now has it."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The object has changed since, or exists already (409): look again."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The object, or its kind, does not exist (404): look again."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The server will not do this, now or later; `message` is for the operator."""

    status: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """A newer write for the same object took its place before this one was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """Not sent: we may not write (the Lease), or the process is stopping."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp:
    """The server stayed silent or busy; whether the write happened is unknown."""

    message: str


WriteOutcome: TypeAlias = Written | Conflict | Missing | Refused | Superseded | Withheld | GaveUp


def patch_status(path: str, *, resource_version: str, patch: Mapping[str, Any]) -> Write:
    """Return a merge patch (RFC 7386) on the status subresource of the object at `path`.

    `patch` holds "status"; metadata in it is kept, since annotations may ride along on
    kinds that allow it. Lists are replaced as a whole.
    """
    return Write(
        verb=WriteVerb.PATCH,
        path=f"{path}/status",
        key=f"{path}/status",
        body=_locked(patch, resource_version),
    )


def patch_object(path: str, *, resource_version: str, patch: Mapping[str, Any]) -> Write:
    """Return a merge patch on the object itself (labels, annotations, spec)."""
    return Write(verb=WriteVerb.PATCH, path=path, key=path, body=_locked(patch, resource_version))


def create(collection: str, body: Mapping[str, Any]) -> Write:
    """Return the creation of `body`, which has a metadata.name.

    A kind with a status subresource drops `status` here: see `lbctl.api.publish`.
    """
    name = body["metadata"]["name"]
    return Write(
        verb=WriteVerb.CREATE, path=collection, key=f"{collection}/{name}", body=dict(body)
    )


def update(path: str, body: Mapping[str, Any]) -> Write:
    """Return the replacement of the object by `body`.

    Raises ValueError when its metadata has no resourceVersion: a blind replacement would
    undo what others wrote.
    """
    if not body["metadata"].get("resourceVersion"):
        raise ValueError(f"{path}: an update needs metadata.resourceVersion")
    return Write(verb=WriteVerb.UPDATE, path=path, key=path, body=dict(body))


def delete(path: str, *, resource_version: str | None = None, uid: str | None = None) -> Write:
    """Return the deletion of exactly the object that was seen."""
    seen = {"resourceVersion": resource_version, "uid": uid}
    preconditions = {name: value for name, value in seen.items() if value is not None}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if preconditions:
        body["preconditions"] = preconditions
    return Write(verb=WriteVerb.DELETE, path=path, key=path, body=body)


def _locked(patch: Mapping[str, Any], resource_version: str) -> dict[str, Any]:
    metadata = dict(patch.get("metadata") or {})
    metadata["resourceVersion"] = resource_version
    return {**patch, "metadata": metadata}


@dataclass(slots=True, kw_only=True)
class WriterCounters:
    """What happened so far, for metrics. Mutable: it is the writer's own tally."""

    sent: int = 0
    written: int = 0
    conflicts: int = 0
    missing: int = 0
    refused: int = 0
    retried: int = 0
    superseded: int = 0
    withheld: int = 0
    gave_up: int = 0


@dataclass(slots=True, kw_only=True)
class _Job:
    """A write and who waits for it. Mutable: it counts its tries."""

    write: Write
    outcome: asyncio.Future[WriteOutcome]
    urgent: bool = False
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterPace:
    """Sizes and times of a writer.

    `timeout_s` is at most the time between the last moment a leader writes and the first
    moment a successor may (client-go's times: 5 s), so that no request outlives it.
    """

    in_flight: int = 16
    attempts: int = 6
    timeout_s: float = 5.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.1, most_s=5.0))


class Writer:
    """A queue of writes and the tasks that send them; `run` is its life."""

    def __init__(
        self,
        session: ApiSession,
        *,
        may_write: Callable[[], bool],
        pace: WriterPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = WriterCounters()
        self._session = session
        self._may_write = may_write
        self._pace = pace or WriterPace()
        self._clock = clock
        # The newest write per object; an object that is busy (under way, or waiting for
        # its next try) is not in the queue, so nothing is ever sent twice at a time.
        self._pending: dict[str, _Job] = {}
        self._busy: set[str] = set()
        self._queue: deque[str] = deque()
        self._awake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._quiet_until = 0.0
        self._stopped = False

    @property
    def depth(self) -> int:
        """How many writes wait or are under way."""
        return len(self._pending.keys() | self._busy)

    def submit(self, write: Write, *, urgent: bool = False) -> "asyncio.Future[WriteOutcome]":
        """Queue `write`; the future always gets an outcome, never an exception.

        Keep `urgent` for single objects: many urgent ones would hold up each other.
        """
        outcome: asyncio.Future[WriteOutcome] = asyncio.get_running_loop().create_future()
        job = _Job(write=write, outcome=outcome, urgent=urgent)
        if self._stopped:
            self._settle(job, Withheld(why="the process is stopping"))
            return job.outcome
        older = self._pending.get(write.key)
        self._pending[write.key] = job
        self._idle.clear()
        if older is not None:
            self._settle(older, Superseded())
            if urgent and write.key in self._queue:
                self._queue.remove(write.key)
                self._enqueue(write.key)
        elif write.key not in self._busy:
            self._enqueue(write.key)
        return job.outcome

    async def drained(self) -> None:
        """Return when nothing waits and nothing is under way.

        For "free before allocate": submit what frees, wait, submit what takes.
        """
        await self._idle.wait()

    async def run(self) -> None:
        """Send until cancelled; then every waiting write is `Withheld`."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._pace.in_flight):
                    group.create_task(self._work(), name=f"writer-{number}")
        finally:
            self._stopped = True
            for job in self._pending.values():
                self._settle(job, Withheld(why="the process is stopping"))
            self._pending.clear()
            self._queue.clear()
            self._idle.set()

    async def _work(self) -> None:
        while True:
            while not self._queue:
                self._awake.clear()
                await self._awake.wait()
            key = self._queue.popleft()
            job = self._pending.pop(key)
            self._busy.add(key)
            delay_s = 0.0
            try:
                delay_s = await self._send(job)
            except Exception as error:
                logger.exception("%s: unexpected failure", job.write.path)
                self._settle(job, GaveUp(message=repr(error)))
            finally:
                if not job.outcome.done() and not delay_s:
                    self._settle(job, GaveUp(message="the process stopped while it was sent"))
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._free, key)
            else:
                self._free(key)

    async def _send(self, job: _Job) -> float:
        """Send once; settle the job, or put it back and return the wait before its next try."""
        quiet_s = self._quiet_until - self._clock()
        if quiet_s > 0:
            # The server asked everybody to slow down (429 with Retry-After).
            await asyncio.sleep(quiet_s)
        write = job.write
        if write.key in self._pending:
            self._settle(job, Superseded())
            return 0.0
        if not self._may_write():
            self._settle(job, Withheld(why="this process does not hold the Lease"))
            return 0.0
        self.counters.sent += 1
        try:
            response = await self._session.request(
                write.verb.value,
                write.path,
                body=write.body,
                content_type=MERGE_PATCH if write.verb is WriteVerb.PATCH else JSON,
                timeout_s=self._pace.timeout_s,
                may_send=self._may_write,
            )
        except ApiError as error:
            final = _judge(error)
            if final is not None:
                self._settle(job, final)
                return 0.0
            return self._again(job, error)
        self._settle(job, Written(body=response.body))
        return 0.0

    def _again(self, job: _Job, error: ApiError) -> float:
        job.failures += 1
        if job.failures >= self._pace.attempts:
            self._settle(job, GaveUp(message=str(error)))
            return 0.0
        if job.write.key in self._pending:
            self._settle(job, Superseded())
            return 0.0
        delay_s = self._pace.backoff.delay_s(job.failures)
        if isinstance(error, ApiRefused) and error.retry_after_s is not None:
            asked_s = min(error.retry_after_s, self._pace.backoff.most_s)
            self._quiet_until = max(self._quiet_until, self._clock() + asked_s)
            delay_s = max(delay_s, asked_s)
        self.counters.retried += 1
        self._pending[job.write.key] = job
        return delay_s

    def _free(self, key: str) -> None:
        """Let the next write of this object go ahead."""
        self._busy.discard(key)
        if key in self._pending:
            self._enqueue(key)
        elif not self._pending and not self._busy:
            self._idle.set()

    def _enqueue(self, key: str) -> None:
        if self._pending[key].urgent:
            self._queue.appendleft(key)
        else:
            self._queue.append(key)
        self._awake.set()

    def _settle(self, job: _Job, outcome: WriteOutcome) -> None:
        match outcome:
            case Written():
                self.counters.written += 1
            case Conflict():
                self.counters.conflicts += 1
            case Missing():
                self.counters.missing += 1
            case Refused():
                self.counters.refused += 1
            case Superseded():
                self.counters.superseded += 1
            case Withheld():
                self.counters.withheld += 1
            case GaveUp():
                self.counters.gave_up += 1
        if not job.outcome.done():
            job.outcome.set_result(outcome)


def _judge(error: ApiError) -> WriteOutcome | None:
    """Return the outcome of a refusal, or None when another try makes sense."""
    if not isinstance(error, ApiRefused):
        return None
    match error.status:
        case 409:
            return Conflict(message=error.message)
        case 404 | 410:
            return Missing(message=error.message)
        case 401 | 408 | 429:
            return None
        case status if status >= 500:
            return None
        case status:
            return Refused(status=status, message=error.message or str(error))
