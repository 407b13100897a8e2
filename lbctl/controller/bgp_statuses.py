"""Keep one ServiceBGPStatus for each Service that BGP is to announce, and no other.

Written last of all: an object that may say otherwise waits until that has lasted `settle_s`, then
they are compared and written one at a time, never while statuses of Services wait and never faster
than one each `between_s`. A router that restarts changes the counts of every Service, and that
must not take the API server away from those who wait for an address.

An object is ours if its name is the one that follows from the Service it speaks of; those of a
MetalLB beside us have names of another form and are never touched. What is wanted is asked of
`lbctl.controller.hearing`. Owned by `lbctl.controller.reconciler`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbctl.api.lease import Leadership
from lbctl.api.paths import resource_name
from lbctl.api.publish import StatusObject, publish
from lbctl.api.reflector import ALL, Changes, Reflector
from lbctl.api.session import ApiSession
from lbctl.api.writer import Refused, WriteOutcome, Writer, Written, delete
from lbctl.controller.hearing import Hearing
from lbctl.controller.inputs import Inputs
from lbctl.kube.crds.service_bgp_status import (
    ServiceBGPStatus,
    ServiceBGPStatusFound,
    find_service_bgp_status,
    render_service_bgp_status,
    service_status_name,
)
from lbctl.kube.groups import SERVICE_BGP_STATUS
from lbctl.kube.status_objects import service_bgp_status
from lbctl.model.names import ServiceKey

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPace:
    """Seconds: how long a difference must last, between two writes, and after one that failed."""

    settle_s: float = 2.0
    between_s: float = 0.01
    again_s: float = 1.0
    refused_s: float = 30.0
    busy_s: float = 0.2


class BGPStatusKeeper:
    """The objects on their way to what is counted; `run` is its life.

    `busy` says that writes of more weight wait, or that the plan cannot be trusted now.
    """

    def __init__(
        self,
        inputs: Inputs,
        hearing: Hearing,
        writer: Writer,
        leadership: Leadership,
        session: ApiSession,
        *,
        busy: Callable[[], bool],
        pace: StatusPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refusal: str | None = None
        self._inputs = inputs
        self._hearing = hearing
        self._writer = writer
        self._leadership = leadership
        self._busy = busy
        self._pace = pace or StatusPace()
        self._clock = clock
        self._resource = inputs.groups[SERVICE_BGP_STATUS]
        self._collection = self._resource.collection(inputs.namespace)
        self._own = False
        self._term = 0
        self._awake = asyncio.Event()
        # In the order in which they came; each with the instant from which it may be written.
        self._due: dict[ServiceKey, float] = {}
        self._shown: Reflector[ServiceKey, ServiceBGPStatusFound] = Reflector(
            session,
            self._collection,
            project=self._project,
            on_change=self._heard,
            pace=inputs.pace,
        )

    @property
    def waiting(self) -> int:
        """Return how many objects may have to be written."""
        return len(self._due)

    @property
    def problem(self) -> str | None:
        """Return why the objects do not show what they should."""
        # Of a foreign group the kind may be missing altogether, and nobody misses it then.
        missing = self._shown.absent and not self._resource.own_schema
        return self._refusal or (None if missing else self._shown.problem)

    def begin_term(self) -> None:
        """Compare every object, now that we lead and have planned."""
        self._term = self._leadership.term
        for key in [*self._hearing.services, *self._shown.items]:
            self.look(key)

    def look(self, key: ServiceKey) -> None:
        """Have the object of a Service compared when its present state has lasted."""
        self._look(key, self._pace.settle_s)

    def _look(self, key: ServiceKey, after_s: float) -> None:
        if key not in self._due:
            self._due[key] = self._clock() + after_s
            self._awake.set()

    async def run(self) -> None:
        """Watch and write until cancelled; to be begun when somebody has led."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._shown.run(), name="reflector-ServiceBGPStatus")
            group.create_task(self._write_all(), name="write-ServiceBGPStatus")

    async def _write_all(self) -> None:
        await self._shown.synced.wait()
        await self._hearing.followed.wait()
        while True:
            self._awake.clear()
            key, wait_s = self._next()
            if key is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._awake.wait()
                continue
            if not self._leads() or self._busy():
                await asyncio.sleep(self._pace.busy_s)
                continue
            del self._due[key]
            try:
                outcome = await self._write(key)
            except Exception:
                # An odd object must not end the process that allocates.
                logger.exception("cannot write the ServiceBGPStatus of %s", key)
                self._look(key, self._pace.refused_s)
                continue
            if outcome is None:
                await asyncio.sleep(0)
            else:
                await self._take(key, outcome)

    def _leads(self) -> bool:
        return self._leadership.leading.is_set() and self._term == self._leadership.term

    def _next(self) -> tuple[ServiceKey | None, float | None]:
        """Return a Service that is due, or the seconds until one is; None: not known yet."""
        now, first = self._clock(), None
        for key, at in self._due.items():
            if at <= now:
                return key, 0.0
            # Those that failed wait longer than what came after them.
            first = at if first is None else min(first, at)
            if at - now <= self._pace.settle_s:
                break
        return None, None if first is None else first - now

    async def _write(self, key: ServiceKey) -> WriteOutcome | None:
        """Write what differs; None if nothing does."""
        found = self._shown.items.get(key)
        wanted = self._wanted(key)
        if wanted is None:
            if found is None:
                return None
            path = f"{self._collection}/{service_status_name(key)}"
            return await self._writer.submit(delete(path, resource_version=found.resource_version))
        own = self._resource.own_schema
        status = render_service_bgp_status(wanted, own_schema=own)
        said = None if found is None else found.said
        if said is not None and render_service_bgp_status(said, own_schema=own) == status:
            return None
        made = service_bgp_status(self._inputs.groups, self._inputs.namespace, wanted)
        return await publish(
            self._writer,
            StatusObject(
                collection=made.collection,
                api_version=made.resource.api_version,
                kind=made.resource.kind,
                metadata=made.metadata,
                status=made.status,
            ),
            resource_version=None if found is None else found.resource_version,
        )

    def _wanted(self, key: ServiceKey) -> ServiceBGPStatus | None:
        service = self._inputs.snapshot().services.get(key)
        count = None if service is None else self._hearing.tally(service)
        if count is None:
            return None
        addresses, tally = count
        return ServiceBGPStatus(
            service=key,
            peers=tally.peers,
            addresses=addresses,
            nodes=tally.nodes,
            wanted=tally.wanted,
            established=tally.established,
            sent=tally.sent,
            acknowledged=tally.acknowledged,
        )

    async def _take(self, key: ServiceKey, outcome: WriteOutcome) -> None:
        """Take in what became of a write, and pause until the next may follow."""
        pause_s = self._pace.between_s
        if isinstance(outcome, Written):
            self._refusal = None
            self._own = True
            self._shown.observe(outcome.body)
            self._own = False
        elif isinstance(outcome, Refused):
            # What refuses one of them refuses all, most often.
            pause_s = self._pace.again_s
            self._look(key, self._pace.refused_s)
            text = f"the API server refuses to write {resource_name(self._collection)}: "
            text += f"{outcome.status} {outcome.message}"
            if text != self._refusal:
                logger.warning("%s", text)
            self._refusal = text
        else:
            self._look(key, self._pace.again_s)
        await asyncio.sleep(pause_s)

    def _project(self, body: dict[str, Any]) -> tuple[ServiceKey, ServiceBGPStatusFound] | None:
        found = find_service_bgp_status(body, self._resource.group)
        return None if found is None else (found.service, found)

    def _heard(self, changes: Changes[ServiceKey]) -> None:
        """Compare what somebody else changed or deleted."""
        if not self._own:
            for key in self._shown.items if changes is ALL else changes:
                self.look(key)
