"""Report on configuration objects: counters and `Accepted` on each, one summary of all.

Pools, advertisements and BGP's objects show their verdict themselves, where their schema has
conditions, and the object ConfigurationState `controller` repeats what is wrong in one place. A
verdict that turned to "no", and an advertisement whose pool is missing, are said as an Event, too:
once, which the condition remembers, or this process where the schema has none. Nothing is decided
here. The caller is `lbctl.controller.reconciler`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any

from lbctl.api.backoff import Backoff
from lbctl.api.errors import ApiError, ApiRefused, problem_of
from lbctl.api.events import EventRecorder, EventType, ObjectRef
from lbctl.api.lease import Leadership, wall_clock
from lbctl.api.publish import StatusObject, publish
from lbctl.api.reflector import Reflector
from lbctl.api.session import ApiSession
from lbctl.api.writer import Refused, Writer, Written, patch_status
from lbctl.controller.desk import Desk, DeskPace
from lbctl.controller.inputs import Inputs
from lbctl.kube.crds.configuration_state import (
    CONTROLLER_NAME,
    ConfigurationState,
    parse_configuration_state,
)
from lbctl.kube.groups import CONFIGURATION_STATE, IP_ADDRESS_POOL
from lbctl.kube.patches import Patch, accepted_patch, pool_patch
from lbctl.kube.status_objects import controller_state
from lbctl.kube.times import rfc3339
from lbctl.model.configuration import Configured, Verdict
from lbctl.model.names import ObjectKey, PoolName
from lbctl.model.outcome import Problem
from lbctl.model.reason import Reason
from lbctl.model.selector import seen_by
from lbctl.model.snapshot import Snapshot
from lbctl.plan.advertisements import judge_advertisement
from lbctl.plan.allocation import Plan
from lbctl.plan.bgp_objects import Profiles, judge_bgp
from lbctl.plan.peers import selecting_keys

logger = logging.getLogger(__name__)

AFTER_FAILURE_S = 2.0
BETWEEN_S = 0.5
"""Pause after the ConfigurationState was written."""


class ConfigurationDesk:
    """Configuration objects on their way to showing their verdict.

    `summary` is what the ConfigurationState says now: what stands there was told by a process
    before us.
    """

    def __init__(
        self,
        inputs: Inputs,
        writer: Writer,
        recorder: EventRecorder,
        *,
        again: Callable[[ObjectKey], None],
        summary: Callable[[], str],
        pace: DeskPace | None = None,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self._inputs = inputs
        self._recorder = recorder
        self._summary = summary
        self._wall = wall
        self._told: dict[ObjectKey, str] = {}
        self._bgp = BGPVerdicts()
        self.desk: Desk[ObjectKey] = Desk(writer, again=again, pace=pace)

    def look(self, plan: Plan) -> dict[ObjectKey, Verdict]:
        """Submit what the objects do not show yet; return the verdict on each."""
        snapshot = self._inputs.snapshot()
        now = rfc3339(self._wall())
        verdicts = dict(plan.verdicts)
        for key, pool in snapshot.pools.items():
            verdict = verdicts.get(key)
            if verdict is None:
                continue
            counters = plan.counters.get(PoolName(key.name)) if verdict.accepted else None
            own = self._inputs.groups[IP_ADDRESS_POOL].own_schema
            self._submit(pool, verdict, pool_patch(pool, verdict, counters, now, own_schema=own))
        names = {key.name for key in snapshot.pools}
        others: list[Configured[Any]] = [*snapshot.advertisements.values()]
        for key, advertisement in snapshot.advertisements.items():
            verdicts[key] = judge_advertisement(advertisement, names)
        if self._inputs.bgp_known:
            profiles = self._inputs.profiles
            verdicts |= self._bgp.of(snapshot, profiles)
            for kind in (
                snapshot.peers,
                snapshot.bgp_advertisements,
                snapshot.communities,
                profiles,
            ):
                others += kind.values()
        for found in others:
            own = self._inputs.groups[found.key.kind].own_schema
            verdict = verdicts[found.key]
            self._submit(found, verdict, accepted_patch(found, verdict, now, own_schema=own))
        self.desk.keep_only(verdicts)
        self._told = {key: said for key, said in self._told.items() if key in verdicts}
        return verdicts

    def _submit(self, found: Configured[Any], verdict: Verdict, patch: Patch | None) -> None:
        resource = self._inputs.groups[found.key.kind]
        if not resource.own_schema:
            self._tell_once(found, verdict)
        if patch is None:
            self.desk.settle(found.key)
            return

        def written(body: dict[str, Any]) -> None:
            self._inputs.observe(found.key.kind, body)
            shown = found.accepted
            if resource.own_schema and (shown is None or shown.message != verdict.message):
                self._tell(found, verdict)

        path = f"{resource.collection(found.key.namespace)}/{found.key.name}"
        self.desk.submit(
            found.key,
            patch_status(path, resource_version=found.resource_version, patch=patch),
            written,
        )

    def _tell_once(self, found: Configured[Any], verdict: Verdict) -> None:
        """Tell of an object that cannot show its verdict, when it is a new one."""
        if self._told.get(found.key) == verdict.message:
            return
        self._told[found.key] = verdict.message
        if _line(found.key, verdict) not in self._summary():
            self._tell(found, verdict)

    def _tell(self, found: Configured[Any], verdict: Verdict) -> None:
        if verdict.reason is Reason.ACCEPTED:
            return
        self._recorder.record(
            ObjectRef(
                api_version=self._inputs.groups[found.key.kind].api_version,
                kind=found.key.kind,
                name=found.key.name,
                namespace=found.key.namespace,
                uid=found.uid,
            ),
            EventType.WARNING,
            verdict.reason.value,
            verdict.message,
        )


class BGPVerdicts:
    """The verdicts on BGP's objects, made anew only if something that they rest on is new.

    A plan is made for every new Service, and a node's status changes for reasons of its own;
    what peers see of nodes are the labels that they select by.
    """

    def __init__(self) -> None:
        self._subject: object = None
        self._verdicts: Mapping[ObjectKey, Verdict] = {}

    def of(self, snapshot: Snapshot, profiles: Profiles) -> Mapping[ObjectKey, Verdict]:
        """Return the verdict on every object."""
        specs = [
            {key: (entry.created, entry.spec, entry.problems) for key, entry in kind.items()}
            for kind in (
                snapshot.pools,
                snapshot.peers,
                snapshot.bgp_advertisements,
                snapshot.communities,
                profiles,
            )
        ]
        keys = selecting_keys(snapshot.peers)
        seen = [(name, seen_by(keys, node.labels)) for name, node in snapshot.nodes.items()]
        subject = (specs, seen if snapshot.peers else [])
        if subject != self._subject:
            self._subject = subject
            self._verdicts = judge_bgp(snapshot, profiles)
        return self._verdicts


def _line(key: ObjectKey, verdict: Verdict) -> str:
    """Return what the ConfigurationState says of a refused object."""
    return f"{key}: {Problem(path=verdict.reason.value, message=verdict.message)}"


def findings(verdicts: Mapping[ObjectKey, Verdict]) -> tuple[tuple[str, Problem], ...]:
    """Return what is wrong, object by object, in the order of their names."""
    return tuple(
        (str(key), Problem(path=verdict.reason.value, message=verdict.message))
        for key, verdict in sorted(verdicts.items())
        if not verdict.accepted
    )


class SummaryKeeper:
    """Keep the ConfigurationState `controller` as it should be, whoever changes or deletes it.

    One object is watched, and compared with what is wanted whenever either of them changes.
    """

    def __init__(
        self,
        inputs: Inputs,
        writer: Writer,
        leadership: Leadership,
        session: ApiSession,
        *,
        after_failure: Backoff | None = None,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self._problem: str | None = None
        self._failures = 0
        self._inputs = inputs
        self._writer = writer
        self._leadership = leadership
        self._after_failure = after_failure or Backoff(first_s=AFTER_FAILURE_S, most_s=60.0)
        self._wall = wall
        self._findings: tuple[tuple[str, Problem], ...] | None = None
        self._awake = asyncio.Event()
        self._resource = inputs.groups[CONFIGURATION_STATE]
        self._collection = self._resource.collection(inputs.namespace)
        self._shown: Reflector[str, ConfigurationState] = Reflector(
            session,
            self._collection,
            project=_project,
            on_change=lambda _: self._awake.set(),
            params={"fieldSelector": f"metadata.name={CONTROLLER_NAME}"},
            pace=inputs.pace,
        )

    @property
    def problem(self) -> str | None:
        """Return why the object does not show what it should."""
        # Of a foreign group the kind may be missing altogether: older releases do not have it,
        # and the product works without.
        return self._problem or (self._shown.problem if self._resource.own_schema else None)

    @property
    def shown(self) -> str:
        """Return the summary as the object has it now; empty before it was read."""
        found = self._shown.items.get(CONTROLLER_NAME)
        return found.error_summary if found is not None else ""

    def begin_term(self) -> None:
        """Look at the object again, whatever is wanted next."""
        self._findings = None

    def want(self, wanted: tuple[tuple[str, Problem], ...]) -> None:
        """Have these findings shown, soon."""
        if wanted != self._findings:
            self._findings = wanted
            self._awake.set()

    async def run(self) -> None:
        """Watch and write until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._shown.run(), name="reflector-ConfigurationState")
            group.create_task(self._write(), name="write-ConfigurationState")

    async def _write(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            problem = None
            try:
                done = await self._show()
            except ApiError as error:
                done = False
                verb = "create" if error.method == "POST" else "patch"
                problem = problem_of(error, verb=verb, path=error.path)
            except Exception as error:  # noqa: BLE001 - an odd object must not end the controller
                done = False
                problem = f"cannot write ConfigurationState: {error!r}"
            if problem is not None and problem != self._problem:
                logger.warning("%s", problem)
            self._problem = problem
            self._failures = 0 if problem is None else self._failures + 1
            if not done:
                await asyncio.sleep(self._after_failure.delay_s(self._failures))
                self._awake.set()

    async def _show(self) -> bool:
        """Return whether there is nothing left to do until the next news.

        Raises:
            ApiRefused: the API server will not have it written.

        """
        wanted = self._findings
        if wanted is None or not self._leadership.may_write():
            # Late with the Lease is not without it: then no new term would come back to this.
            return wanted is None or not self._leadership.leading.is_set()
        if not self._shown.synced.is_set():
            return True
        found = self._shown.items.get(CONTROLLER_NAME)
        state = controller_state(
            self._inputs.groups,
            self._inputs.namespace,
            problems=wanted,
            found=found,
            now_rfc3339=rfc3339(self._wall()),
        )
        if state is None:
            return True
        outcome = await publish(
            self._writer,
            StatusObject(
                collection=state.collection,
                api_version=state.resource.api_version,
                kind=state.resource.kind,
                metadata=state.metadata,
                status=state.status,
            ),
            resource_version=found.resource_version if found is not None else None,
        )
        if isinstance(outcome, Refused):
            raise ApiRefused(
                method="POST" if found is None else "PATCH",
                path=f"{self._collection}/{CONTROLLER_NAME}",
                status=outcome.status,
                reason="",
                message=outcome.message,
            )
        if isinstance(outcome, Written):
            self._shown.observe(outcome.body)
            # Another writer of the object (a MetalLB beside us) must not make this a race.
            await asyncio.sleep(BETWEEN_S)
        return isinstance(outcome, Written)


def _project(body: dict[str, Any]) -> tuple[str, ConfigurationState] | None:
    state = parse_configuration_state(body)
    return None if state is None else (state.name, state)
