"""Hold the Lease that makes one replica of the controller the writer.

client-go's rules (15 s duration, 10 s renew deadline, retry each 2 s): expiry is judged
by when *we* saw the record change, so clocks of two hosts are never compared; the
holder stops writing 5 s before a successor may start. A Lease that somebody deletes is
for its holder to make anew, until it would have expired. Our own because the elector of
the `kubernetes` package goes on leading when its socket fails (measured), and no other
library has one. `may_write` must be asked right before each write is sent: between two
writes a process can be paused for minutes.

What stays possible: one request that was sent in time and arrives late. Writes carry
the resourceVersion that they were judged by, and the next plan repairs the rest.

`AlwaysLeader` has the same surface for `--leader-elect=false`. Used by the controller.
"""

import asyncio
import datetime as dt
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from lbctl.api.backoff import Jitter
from lbctl.api.errors import ApiError, ApiRefused, problem_of
from lbctl.api.paths import collection_path
from lbctl.api.session import ApiSession

logger = logging.getLogger(__name__)

RELEASE_TIMEOUT_S = 2.0


def boot_clock() -> float:
    """Return seconds of a clock that also runs while the machine is suspended.

    Elsewhere than on Linux the plain monotonic clock has to do.
    """
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def wall_clock() -> dt.datetime:
    """Return the time of day; written into records for people, never compared."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """The three times of an election in seconds, and how early writes stop.

    Raises ValueError unless duration > renew deadline > retry > 0: anything else lets
    two replicas write at once, or loses the Lease at the first slow answer.
    """

    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0
    margin_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.duration_s > self.renew_deadline_s > self.retry_s > 0:
            raise ValueError("a Lease needs duration > renew deadline > retry > 0")
        if not 0 <= self.margin_s < self.renew_deadline_s:
            raise ValueError("a Lease's margin must be shorter than its renew deadline")


class Leadership(Protocol):
    """What the controller needs to know about who may write."""

    leading: asyncio.Event
    lost: asyncio.Event
    contended: asyncio.Event
    """Set when the first attempt to get the Lease is over, whatever came of it."""

    @property
    def identity(self) -> str:
        """Our own name."""

    @property
    def holder(self) -> str | None:
        """Who holds the Lease as far as we know."""

    @property
    def term(self) -> int:
        """How often we have gained it; each new term begins with a relist."""

    @property
    def problem(self) -> str | None:
        """Why the Lease cannot be read or written, or None."""

    def may_write(self, now: float | None = None) -> bool:
        """Return whether a write may be sent at `now` (the elector's own clock)."""

    async def run(self) -> None:
        """Contend until cancelled, then give the Lease up."""


class AlwaysLeader:
    """The elector of a controller that runs alone (`--leader-elect=false`)."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.holder: str | None = identity
        self.term = 1
        self.problem: str | None = None
        self.leading = asyncio.Event()
        self.lost = asyncio.Event()
        self.contended = asyncio.Event()
        self.leading.set()
        self.contended.set()

    def may_write(self, now: float | None = None) -> bool:  # noqa: ARG002 - the seam's signature
        """Return True."""
        return True

    async def run(self) -> None:
        """Wait until cancelled."""
        await asyncio.Event().wait()


class LeaseElector:
    """Contend for one Lease and renew it.

    Two processes with one identity take the Lease from each other: the identity must be
    the pod's name, or be chosen by whoever restarts the same process elsewhere.
    """

    def __init__(
        self,
        session: ApiSession,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes | None = None,
        jitter: Jitter = random.random,
        clock: Callable[[], float] = boot_clock,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self.identity = identity
        self.holder: str | None = None
        self.term = 0
        self.problem: str | None = None
        self.leading = asyncio.Event()
        self.lost = asyncio.Event()
        self.lost.set()
        self.contended = asyncio.Event()
        self._session = session
        self._name = name
        self._collection = collection_path(
            group="coordination.k8s.io", version="v1", plural="leases", namespace=namespace
        )
        self._path = f"{self._collection}/{name}"
        self._times = times or LeaseTimes()
        self._jitter = jitter
        self._clock = clock
        self._wall = wall
        self._seen: tuple[object, ...] | None = None
        self._seen_at = 0.0
        self._theirs_until = 0.0
        self._renewed_at = 0.0

    def may_write(self, now: float | None = None) -> bool:
        """Return whether our last renewal still covers a write that is sent at `now`.

        Holds even when the renewing task is stuck, since it compares instants.
        """
        instant = self._clock() if now is None else now
        limit = self._renewed_at + self._times.renew_deadline_s - self._times.margin_s
        return self.leading.is_set() and instant < limit

    async def run(self) -> None:
        """Contend and renew until cancelled; then release, if it was ours.

        Stop the writer first: a successor may write as soon as this has returned.
        """
        try:
            while True:
                await self._round()
                self.contended.set()
                await asyncio.sleep(self._pause_s())
        finally:
            if self.leading.is_set():
                self._step_down("stopping")
                await self._release()

    async def _round(self) -> None:
        """Try once to hold the Lease, and step down when the deadline has passed."""
        started = self._clock()
        held = False
        try:
            async with asyncio.timeout(self._patience_s(started)):
                held = await self._try()
            self.problem = None
        except TimeoutError:
            self.problem = f"no answer about the lease {self._path} in time"
        except ApiError as error:
            verb = "get" if error.method == "GET" else "update"
            self.problem = problem_of(error, verb=verb, path=self._path)
        except Exception:
            logger.exception("lease %s: unexpected failure", self._path)
            self.problem = f"the lease {self._path} cannot be read"
        if held:
            # The instant before the request: the server's answer proves no later one.
            self._renewed_at = started
            if not self.leading.is_set():
                self.term += 1
                self.lost.clear()
                self.leading.set()
                logger.info("lease %s: leading as %s", self._path, self.identity)
        elif self.leading.is_set():
            if self.holder not in {self.identity, None}:
                self._step_down(f"taken by {self.holder}")
            elif self._clock() >= self._renewed_at + self._times.renew_deadline_s:
                self._step_down(self.problem or "not renewed in time")

    def _patience_s(self, now: float) -> float:
        """Return how long one try may take: half the deadline, or what is left of it."""
        most = self._times.renew_deadline_s / 2
        if not self.leading.is_set():
            return most
        left = self._renewed_at + self._times.renew_deadline_s - now
        return max(0.05, min(most, left))

    def _pause_s(self) -> float:
        pause = self._times.retry_s * (0.8 + 0.4 * self._jitter())
        if not self.leading.is_set():
            return pause
        left = self._renewed_at + self._times.renew_deadline_s - self._clock()
        return max(0.0, min(pause, left))

    def _step_down(self, why: str) -> None:
        logger.info("lease %s: no longer leading: %s", self._path, why)
        self.leading.clear()
        self.lost.set()

    async def _try(self) -> bool:
        """Return whether the Lease is ours after one look and one write."""
        try:
            current = (await self._session.request("GET", self._path)).body
        except ApiRefused as error:
            if error.status != 404:
                raise
            # Deviation: client-go creates it at once. Somebody deleted it, and its holder goes
            # on writing until it looks again.
            return self._clock() >= self._theirs_until and await self._create()
        spec: dict[str, Any] = dict(current.get("spec") or {})
        now = self._clock()
        record = _record(spec)
        if record != self._seen:
            self._seen, self._seen_at = record, now
        holder = spec.get("holderIdentity") or None
        self.holder = holder
        duration = spec.get("leaseDurationSeconds") or self._times.duration_s
        theirs = holder not in {None, self.identity}
        self._theirs_until = self._seen_at + float(duration) if theirs else 0.0
        if now < self._theirs_until:
            return False
        stamp = _stamp(self._wall())
        if holder != self.identity:
            spec["acquireTime"] = stamp
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._whole_duration(),
            "renewTime": stamp,
        }
        try:
            # The body's resourceVersion is the lock: two takers cannot both succeed.
            answer = await self._session.request("PUT", self._path, body=current | {"spec": spec})
        except ApiRefused as error:
            if error.status in {404, 409}:
                return False
            raise
        self._seen, self._seen_at = _record(answer.body.get("spec") or {}), now
        self.holder = self.identity
        return True

    async def _create(self) -> bool:
        stamp = _stamp(self._wall())
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._whole_duration(),
            "acquireTime": stamp,
            "renewTime": stamp,
            "leaseTransitions": 0,
        }
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": spec,
        }
        try:
            await self._session.request("POST", self._collection, body=body)
        except ApiRefused as error:
            if error.status == 409:
                return False
            raise
        self._seen, self._seen_at = _record(spec), self._clock()
        self.holder = self.identity
        return True

    async def _release(self) -> None:
        """Empty the holder so that a successor need not wait for the expiry."""
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                current = (await self._session.request("GET", self._path)).body
                spec = dict(current.get("spec") or {})
                if spec.get("holderIdentity") != self.identity:
                    return
                stamp = _stamp(self._wall())
                spec |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp}
                await self._session.request("PUT", self._path, body=current | {"spec": spec})
                self.holder = None
        except (ApiError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            logger.info("lease %s: not released (%s); it will expire", self._path, why)

    def _whole_duration(self) -> int:
        """Return the duration as the API wants it: whole seconds, at least one."""
        return max(1, round(self._times.duration_s))


def _record(spec: dict[str, Any]) -> tuple[object, ...]:
    """Return what shows that the holder is alive: any change of these."""
    names = ("holderIdentity", "renewTime", "acquireTime", "leaseTransitions")
    return tuple(spec.get(name) for name in names)


def _stamp(instant: dt.datetime) -> str:
    """Return a MicroTime (Kubernetes API conventions: RFC 3339 with microseconds)."""
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
