"""Write this node's status objects: SpeakerStatus and ServiceL2Status, and Events about moves.

Level-triggered: `consider` compares the wanted objects with those that the reflectors show and
writes what differs. Thousands of ServiceL2Status are compared only if what is wanted changed; else
those whose object changed or whose write ended, for the others are known to agree. An object that
is being written is left alone until the answer is there; what failed is tried again after a pause.
An API outage therefore needs no handling: the difference stays and is written when the server is
back.

Started by `speaker.main`; what is wanted comes from `speaker.agent`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

from lbctl.api.backoff import Backoff
from lbctl.api.errors import ApiError
from lbctl.api.events import EventRecorder, EventType, ObjectRef
from lbctl.api.publish import StatusObject, publish
from lbctl.api.reflector import ALL, Changes, Reflector
from lbctl.api.session import ApiSession
from lbctl.api.writer import (
    Conflict,
    Missing,
    Refused,
    WriteOutcome,
    Writer,
    Written,
    delete,
    patch_object,
)
from lbctl.kube.crds.service_l2_status import ServiceL2Status
from lbctl.kube.groups import SERVICE_L2_STATUS, SPEAKER_STATUS, Groups
from lbctl.kube.status_objects import Wanted, must_be_replaced, service_l2_status, speaker_status
from lbctl.model.names import NodeName, ServiceKey
from lbctl.model.node import SpeakerReport
from lbctl.model.service import Service
from speaker.agent.conductor import Intentions, working_nodes
from speaker.agent.report import same_report
from speaker.agent.statement import statement_changes

AGAIN_S: Final = 1.0
"""Pause after a write that did not succeed, before the same is tried again."""
ADOPT_AGAIN: Final = Backoff(first_s=AGAIN_S, most_s=60.0)
"""Pause after the API server refused to have our SpeakerStatus belong to our pod."""
CREATE_EVERY_S: Final = 10.0
"""Pause after our SpeakerStatus was created. While a pod that was deleted by force lives on,
Kubernetes deletes what it makes; each time would move the node's addresses to and fro."""
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
        on_reported: Callable[[], None],
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
        self._later: asyncio.TimerHandle | None = None
        self._pause_s = 0.0
        self._report_path = f"{table[SPEAKER_STATUS].collection(namespace)}/{node}"
        self._on_reported = on_reported
        self._create_from = 0.0
        self._adopt_from = 0.0
        self._adoptions_refused = 0
        # What could not be written, and until when it is not tried again.
        self._held: tuple[SpeakerReport, float] | None = None
        # Names of ServiceL2Status that may differ from what is wanted; None: any of them.
        self._suspects: set[str] | None = None

    def consider(self, intentions: Intentions, services: Mapping[ServiceKey, Service]) -> None:
        """Write whatever differs from what the API server shows; never blocks."""
        before = None if self._last is None else self._last[0]
        if (
            before is None
            or before.statements is not intentions.statements
            or before.announcement is not intentions.announcement
            or working_nodes(before) != working_nodes(intentions)
        ):
            self._suspects = None
        self._last = (intentions, services)
        self.look()

    def look(self) -> None:
        """Do what `consider` does, for what was wanted last."""
        if self._last is not None:
            self._look_at_report(self._last[0])
            self._look_at_statements(*self._last)

    def statements_changed(self, names: Changes[str]) -> None:
        """Take note that the API server shows other ServiceL2Status under these names."""
        if names is ALL:
            self._suspects = None
        elif self._suspects is not None:
            self._suspects |= names

    @property
    def busy(self) -> bool:
        """Return whether anything is being written."""
        return bool(self._busy)

    @property
    def reporting(self) -> bool:
        """Return whether a SpeakerStatus is being written."""
        return self._report_path in self._busy

    def _look_at_report(self, intentions: Intentions) -> None:
        report = intentions.report
        if report is None or not self._reports.synced.is_set():
            return
        published = self._reports.items.get(self._node)
        now = asyncio.get_running_loop().time()
        wait_s, told = 0.0, report
        if published is None:
            wait_s = self._create_from - now
        elif published.owners != report.owners:
            if now >= self._adopt_from:
                self._start(self._report_path, self._adopt(report, published.resource_version))
                return
            # Others plan by the status, so that is told all the same.
            self._look_later(self._adopt_from - now)
            told = replace(report, owners=published.owners)
        if same_report(told, published):
            return
        if self._held is not None and self._held[0] == report:
            wait_s = max(wait_s, self._held[1] - now)
        if wait_s > 0:
            self._look_later(wait_s)
            return
        version = None if published is None else published.resource_version
        self._start(self._report_path, self._report(report, version))

    def _look_at_statements(
        self, intentions: Intentions, services: Mapping[ServiceKey, Service]
    ) -> None:
        if intentions.statements is None or intentions.announcement is None:
            return
        if not self._statements.synced.is_set():
            return
        suspects = self._suspects
        if suspects is not None and not suspects:
            return
        resource = self._table[SERVICE_L2_STATUS]
        changes = statement_changes(
            intentions.statements,
            self._statements.items,
            me=self._node,
            announcement=intentions.announcement,
            speakers=working_nodes(intentions),
            own_schema=resource.own_schema,
            names=suspects,
        )
        self._suspects = set()
        collection = resource.collection(self._namespace)
        for statement, found in changes.write:
            if f"{collection}/{statement.name}" in self._busy:
                # Its end makes it a suspect again.
                continue
            wanted = service_l2_status(self._table, self._namespace, statement)
            self._start(wanted.path, self._state(wanted, statement, found, services))
        for found in changes.remove:
            path = f"{collection}/{found.name}"
            self._start(path, self._remove(path, found))

    async def stop(self) -> None:
        """Cancel what is under way."""
        if self._later is not None:
            self._later.cancel()
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
        if path == self._report_path:
            self._on_reported()
        elif self._suspects is not None:
            self._suspects.add(path.rpartition("/")[2])
        # What is wanted may have changed meanwhile.
        self._look_later(self._pause_s)

    def _look_later(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._last is None or (
            self._later is not None and self._later.when() <= loop.time() + wait_s
        ):
            return
        if self._later is not None:
            self._later.cancel()
        self._later = loop.call_later(wait_s, self._look_again)

    def _look_again(self) -> None:
        self._later = None
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.look()
        self._pause_s = min(LOOK_MAX_S, LOOK_LOAD_FACTOR * (loop.time() - began))

    async def _report(self, report: SpeakerReport, version: str | None) -> None:
        wanted = speaker_status(self._table, self._namespace, report)
        outcome = await self._write(wanted, version, urgent=True)
        if isinstance(outcome, Missing) and version is not None:
            version = None
            outcome = await self._write(wanted, version, urgent=True)
        loop = asyncio.get_running_loop()
        if isinstance(outcome, Written):
            self.problem = self._held = None
            self._reports.observe(outcome.body)
            if version is None:
                self._create_from = loop.time() + CREATE_EVERY_S
            return
        if isinstance(outcome, Conflict):
            # Somebody wrote meanwhile, perhaps a later life of this node: all is judged anew.
            present = await self._present(wanted.path)
            if present is not None:
                self._reports.observe(present)
        now_shown = self._reports.items.get(self._node)
        if not isinstance(outcome, Conflict) or (
            (None if now_shown is None else now_shown.resource_version) == version
        ):
            self._held = (report, loop.time() + AGAIN_S)
        self._failed(wanted.path, outcome)

    async def _adopt(self, report: SpeakerReport, version: str) -> None:
        """Make the object that a process before us left vanish with our pod, not with its own.

        A write of its own, since the status subresource takes no metadata; and the first one,
        or Kubernetes might delete what we have just said together with the former pod.
        """
        wanted = speaker_status(self._table, self._namespace, report)
        patch = {"metadata": {"ownerReferences": wanted.metadata["ownerReferences"]}}
        outcome = await self._writer.submit(
            patch_object(wanted.path, resource_version=version, patch=patch), urgent=True
        )
        if isinstance(outcome, Written):
            self._adoptions_refused = 0
            self._reports.observe(outcome.body)
            return
        if isinstance(outcome, Refused):
            if not self._adoptions_refused:
                logger.warning("cannot make %s our pod's own: %s", wanted.path, outcome.message)
            self._adoptions_refused += 1
        pause_s = ADOPT_AGAIN.delay_s(self._adoptions_refused)
        self._adopt_from = asyncio.get_running_loop().time() + pause_s

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
        if not await self._publish(wanted, version):
            await asyncio.sleep(AGAIN_S)
        elif before != (statement.node, statement.addresses):
            self._record(statement, services.get(statement.service))

    async def _publish(self, wanted: Wanted, version: str | None) -> bool:
        outcome = await self._write(wanted, version)
        if isinstance(outcome, Missing) and version is not None:
            outcome = await self._write(wanted, None)
        if isinstance(outcome, Conflict):
            # It exists without a status (we died between the two writes), or just changed.
            present = await self._present(wanted.path)
            if present is not None:
                outcome = await self._write(wanted, present["metadata"]["resourceVersion"])
        if isinstance(outcome, Written):
            self.problem = None
            self._statements.observe(outcome.body)
            return True
        self._failed(wanted.path, outcome)
        return False

    async def _write(
        self, wanted: Wanted, version: str | None, *, urgent: bool = False
    ) -> WriteOutcome:
        target = StatusObject(
            collection=wanted.collection,
            api_version=wanted.resource.api_version,
            kind=wanted.resource.kind,
            metadata=wanted.metadata,
            status=wanted.status,
        )
        return await publish(self._writer, target, resource_version=version, urgent=urgent)

    async def _remove(self, path: str, found: ServiceL2Status) -> None:
        outcome = await self._writer.submit(
            delete(path, resource_version=found.resource_version or None)
        )
        if not isinstance(outcome, Written | Missing):
            self._failed(path, outcome)
        # The watch tells the deletion; until then it must not be asked for again.
        await asyncio.sleep(AGAIN_S)

    async def _present(self, path: str) -> dict[str, Any] | None:
        try:
            answer = await self._session.request("GET", path)
        except ApiError:
            return None
        version = answer.body.get("metadata", {}).get("resourceVersion")
        return answer.body if isinstance(version, str) else None

    def _failed(self, path: str, outcome: WriteOutcome) -> None:
        if isinstance(outcome, Refused):
            problem = f"cannot write {path}: {outcome.message}"
            if problem != self.problem:
                logger.error("%s", problem)
            self.problem = problem
        else:
            logger.debug("%s: %s", path, outcome)

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
            # Begins as MetalLB's does: there are tools that read it.
            f'announcing from node "{statement.node}" with protocol "layer2": {addresses} on {links}',
        )
