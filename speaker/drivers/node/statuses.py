"""Write this node's status objects: SpeakerStatus and ServiceL2Status, and Events about moves.

Level-triggered: at every call of `consider` the wanted objects are compared with those that the
reflectors show, and what differs is written. An object that is being written is left alone until
the answer is there; an answer that is no success means looking again after a pause. An API outage
therefore needs no handling: the difference stays and is written when the server is back.

Started by `speaker.main`; what is wanted comes from `speaker.agent`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from lbctl.api.errors import ApiError
from lbctl.api.events import EventRecorder, EventType, ObjectRef
from lbctl.api.publish import StatusObject, publish
from lbctl.api.reflector import Reflector
from lbctl.api.session import ApiSession
from lbctl.api.writer import Conflict, Missing, Refused, WriteOutcome, Writer, Written, delete
from lbctl.kube.crds.service_l2_status import ServiceL2Status
from lbctl.kube.groups import SERVICE_L2_STATUS, Groups
from lbctl.kube.status_objects import Wanted, must_be_replaced, service_l2_status, speaker_status
from lbctl.model.names import NodeName, ServiceKey
from lbctl.model.node import SpeakerReport
from lbctl.model.service import Service
from speaker.agent.conductor import Intentions, working_nodes
from speaker.agent.report import same_report
from speaker.agent.statement import statement_changes

AGAIN_S: Final = 1.0
"""Pause after a write that did not succeed."""
LOOK_LOAD_FACTOR: Final = 2.0
LOOK_MAX_S: Final = 1.0
"""After writes have ended the differences are looked for once more, for all of them together, at
most in a third of the time: one look per write would cost the square of their number."""

logger = logging.getLogger(__name__)


class StatusPublisher:
    """Compare and write; `tasks` hold what is under way."""

    def __init__(
        self,
        *,
        session: ApiSession,
        writer: Writer,
        recorder: EventRecorder,
        table: Groups,
        namespace: str,
        node: NodeName,
        reports: Reflector[NodeName, SpeakerReport],
        statements: Reflector[str, ServiceL2Status],
    ) -> None:
        self.problem: str | None = None
        self._session = session
        self._writer = writer
        self._recorder = recorder
        self._table = table
        self._namespace = namespace
        self._node = node
        self._reports = reports
        self._statements = statements
        self._busy: dict[str, asyncio.Task[object]] = {}
        self._last: tuple[Intentions, Mapping[ServiceKey, Service]] | None = None
        self._look: asyncio.TimerHandle | None = None
        self._look_s = 0.0

    def consider(self, intentions: Intentions, services: Mapping[ServiceKey, Service]) -> None:
        """Write whatever differs from what the API server shows; never blocks."""
        self._last = (intentions, services)
        report = intentions.report
        if report is not None and self._reports.synced.is_set():
            published = self._reports.items.get(self._node)
            if not same_report(report, published):
                wanted = speaker_status(self._table, self._namespace, report)
                version = published.resource_version if published is not None else None
                self._start(wanted.path, self._publish(wanted, version, self._reports))
        if intentions.statements is None or intentions.announcement is None:
            return
        if not self._statements.synced.is_set():
            return
        resource = self._table[SERVICE_L2_STATUS]
        changes = statement_changes(
            intentions.statements,
            self._statements.items,
            me=self._node,
            announcement=intentions.announcement,
            speakers=working_nodes(intentions),
            own_schema=resource.own_schema,
        )
        collection = resource.collection(self._namespace)
        for statement, found in changes.write:
            if f"{collection}/{statement.name}" in self._busy:
                continue
            wanted = service_l2_status(self._table, self._namespace, statement)
            self._start(wanted.path, self._state(wanted, statement, found, services))
        for found in changes.remove:
            path = f"{collection}/{found.name}"
            self._start(path, self._remove(path, found))

    async def stop(self) -> None:
        """Cancel what is under way."""
        if self._look is not None:
            self._look.cancel()
        self._last = None
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, path: str, work: Coroutine[Any, Any, object]) -> None:
        if path in self._busy:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._busy[path] = task
        task.add_done_callback(lambda done: self._done(path, done))

    def _done(self, path: str, task: asyncio.Task[object]) -> None:
        del self._busy[path]
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            logger.error("writing %s failed", path, exc_info=error)
        if self._last is not None and self._look is None:
            # What is wanted may have changed meanwhile.
            loop = asyncio.get_running_loop()
            self._look = loop.call_later(self._look_s, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        if self._last is None:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.consider(*self._last)
        self._look_s = min(LOOK_MAX_S, LOOK_LOAD_FACTOR * (loop.time() - began))

    async def _state(
        self,
        wanted: Wanted,
        statement: ServiceL2Status,
        found: ServiceL2Status | None,
        services: Mapping[ServiceKey, Service],
    ) -> None:
        if found is not None and must_be_replaced(found, statement, wanted.resource):
            await self._remove(wanted.path, found)
            found = None
        before = (found.node, found.addresses) if found is not None else None
        version = found.resource_version if found is not None else None
        done = await self._publish(wanted, version, self._statements)
        if done and before != (statement.node, statement.addresses):
            self._record(statement, services.get(statement.service))

    async def _publish(
        self, wanted: Wanted, version: str | None, reflector: Reflector[Any, Any]
    ) -> bool:
        target = StatusObject(
            collection=wanted.collection,
            api_version=wanted.resource.api_version,
            kind=wanted.resource.kind,
            metadata=wanted.metadata,
            status=wanted.status,
        )
        outcome = await publish(self._writer, target, resource_version=version)
        if isinstance(outcome, Conflict):
            # It exists without a status (we died between the two writes), or just changed.
            present = await self._present_version(wanted.path)
            if present is not None:
                outcome = await publish(self._writer, target, resource_version=present)
        if isinstance(outcome, Written):
            self.problem = None
            reflector.observe(outcome.body)
            return True
        await self._failed(wanted.path, outcome)
        return False

    async def _remove(self, path: str, found: ServiceL2Status) -> None:
        outcome = await self._writer.submit(
            delete(path, resource_version=found.resource_version or None)
        )
        if not isinstance(outcome, Written | Missing):
            await self._failed(path, outcome)
            return
        # The watch tells the deletion; until then it must not be asked for again.
        await asyncio.sleep(AGAIN_S)

    async def _present_version(self, path: str) -> str | None:
        try:
            answer = await self._session.request("GET", path)
        except ApiError:
            return None
        version = answer.body.get("metadata", {}).get("resourceVersion")
        return version if isinstance(version, str) else None

    async def _failed(self, path: str, outcome: WriteOutcome) -> None:
        if isinstance(outcome, Refused):
            problem = f"cannot write {path}: {outcome.message}"
            if problem != self.problem:
                logger.error("%s", problem)
            self.problem = problem
        else:
            logger.debug("%s: %s", path, outcome)
        await asyncio.sleep(AGAIN_S)

    def _record(self, statement: ServiceL2Status, service: Service | None) -> None:
        if service is None:
            return
        about = ObjectRef(
            api_version="v1",
            kind="Service",
            name=service.key.name,
            namespace=service.key.namespace,
            uid=service.uid,
        )
        addresses = ", ".join(str(address) for address in statement.addresses)
        links = ", ".join(statement.interfaces)
        self._recorder.record(
            about,
            EventType.NORMAL,
            "nodeAssigned",
            f"node {statement.node} announces {addresses} on {links} by layer 2",
        )
