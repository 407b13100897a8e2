"""Report on configuration objects: counters and `Accepted` on each, one summary of all.

Pools and advertisements show their verdict themselves, where their schema has conditions, and
the object ConfigurationState `controller` repeats what is wrong in one place. A verdict that
changed to "no" is said as an Event, too. Nothing is decided here. The caller is
`lbctl.controller.reconciler`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any

from lbctl.api.errors import ApiError, ApiRefused, problem_of
from lbctl.api.events import EventRecorder, EventType, ObjectRef
from lbctl.api.lease import Leadership, wall_clock
from lbctl.api.publish import StatusObject, publish
from lbctl.api.session import ApiSession
from lbctl.api.writer import Writer, Written, patch_status
from lbctl.controller.desk import Desk, DeskPace
from lbctl.controller.inputs import Inputs
from lbctl.kube.crds.configuration_state import (
    CONTROLLER_NAME,
    ConfigurationState,
    parse_configuration_state,
)
from lbctl.kube.fold import Source
from lbctl.kube.groups import CONFIGURATION_STATE, IP_ADDRESS_POOL, L2_ADVERTISEMENT
from lbctl.kube.patches import Patch, accepted_patch, pool_patch
from lbctl.kube.status_objects import controller_state
from lbctl.model.advertisement import L2Advertisement
from lbctl.model.configuration import Configured, Verdict
from lbctl.model.names import ObjectKey, PoolName
from lbctl.model.outcome import Problem
from lbctl.model.reason import Reason
from lbctl.plan.allocation import Plan
from lbctl.plan.pools import join_problems

logger = logging.getLogger(__name__)

AFTER_FAILURE_S = 2.0

_SOURCES = {IP_ADDRESS_POOL: Source.POOLS, L2_ADVERTISEMENT: Source.ADVERTISEMENTS}


class ConfigurationDesk:
    """Pools and advertisements on their way to showing their verdict."""

    def __init__(
        self,
        inputs: Inputs,
        writer: Writer,
        recorder: EventRecorder,
        *,
        again: Callable[[ObjectKey], None],
        pace: DeskPace | None = None,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self._inputs = inputs
        self._recorder = recorder
        self._wall = wall
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
        for key, advertisement in snapshot.advertisements.items():
            verdict = verdicts[key] = judge_advertisement(advertisement)
            own = self._inputs.groups[L2_ADVERTISEMENT].own_schema
            self._submit(
                advertisement,
                verdict,
                accepted_patch(advertisement, verdict, now, own_schema=own),
            )
        self.desk.keep_only(verdicts)
        return verdicts

    def _submit(self, found: Configured[Any], verdict: Verdict, patch: Patch | None) -> None:
        if patch is None:
            self.desk.settle(found.key)
            return
        resource = self._inputs.groups[found.key.kind]
        path = f"{resource.collection(found.key.namespace)}/{found.key.name}"

        def written(body: dict[str, Any]) -> None:
            self._inputs.observe(_SOURCES[found.key.kind], body)
            shown = found.accepted
            if not verdict.accepted and (shown is None or shown.message != verdict.message):
                self._recorder.record(
                    ObjectRef(
                        api_version=resource.api_version,
                        kind=found.key.kind,
                        name=found.key.name,
                        namespace=found.key.namespace,
                        uid=found.uid,
                    ),
                    EventType.WARNING,
                    verdict.reason.value,
                    verdict.message,
                )

        self.desk.submit(
            found.key,
            patch_status(path, resource_version=found.resource_version, patch=patch),
            written,
        )


def judge_advertisement(advertisement: Configured[L2Advertisement]) -> Verdict:
    """Return whether an advertisement is in effect: it stands or falls by itself."""
    if advertisement.spec is None:
        return Verdict(
            accepted=False,
            reason=Reason.INVALID,
            message=join_problems(advertisement.problems),
        )
    return Verdict(accepted=True, reason=Reason.ACCEPTED, message="the advertisement is in effect")


def findings(verdicts: Mapping[ObjectKey, Verdict]) -> tuple[tuple[str, Problem], ...]:
    """Return what is wrong, object by object, in the order of their names."""
    return tuple(
        (str(key), Problem(path=verdict.reason.value, message=verdict.message))
        for key, verdict in sorted(verdicts.items())
        if not verdict.accepted
    )


class SummaryKeeper:
    """Keep the ConfigurationState `controller`; nobody else writes it, so it is read once a term.

    It needs no watch: a write that meets another resourceVersion than remembered reads it again.
    """

    def __init__(
        self,
        inputs: Inputs,
        writer: Writer,
        leadership: Leadership,
        session: ApiSession,
        *,
        after_failure_s: float = AFTER_FAILURE_S,
        wall: Callable[[], dt.datetime] = wall_clock,
    ) -> None:
        self.problem: str | None = None
        self._inputs = inputs
        self._writer = writer
        self._leadership = leadership
        self._session = session
        self._after_failure_s = after_failure_s
        self._wall = wall
        self._findings: tuple[tuple[str, Problem], ...] | None = None
        self._found: ConfigurationState | None = None
        self._read = False
        self._awake = asyncio.Event()
        resource = inputs.groups[CONFIGURATION_STATE]
        self._path = f"{resource.collection(inputs.namespace)}/{CONTROLLER_NAME}"

    def begin_term(self) -> None:
        """Read the object again before the next write."""
        self._read = False
        self._findings = None

    def want(self, wanted: tuple[tuple[str, Problem], ...]) -> None:
        """Have these findings shown, soon."""
        if wanted != self._findings:
            self._findings = wanted
            self._awake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            problem = None
            try:
                done = await self._show()
            except ApiError as error:
                done = False
                verb = "get" if error.method == "GET" else "patch"
                problem = problem_of(error, verb=verb, path=error.path)
            except Exception as error:  # noqa: BLE001 - an odd object must not end the controller
                done = False
                problem = f"cannot write ConfigurationState: {error!r}"
            if problem is not None and problem != self.problem:
                logger.warning("%s", problem)
            self.problem = problem
            if not done:
                await asyncio.sleep(self._after_failure_s)
                self._awake.set()

    async def _show(self) -> bool:
        """Return whether there is nothing left to do."""
        wanted = self._findings
        if wanted is None or not self._leadership.may_write():
            # Late with the Lease is not without it: then no new term would come back to this.
            return wanted is None or not self._leadership.leading.is_set()
        if not self._read:
            self._found = await self._fetch()
            self._read = True
        state = controller_state(
            self._inputs.groups,
            self._inputs.namespace,
            problems=wanted,
            found=self._found,
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
            resource_version=self._found.resource_version if self._found is not None else None,
        )
        if isinstance(outcome, Written):
            self._found = parse_configuration_state(outcome.body)
            return True
        self._read = False
        return False

    async def _fetch(self) -> ConfigurationState | None:
        try:
            return parse_configuration_state((await self._session.request("GET", self._path)).body)
        except ApiRefused as error:
            if error.status == 404:
                return None
            raise


def rfc3339(instant: dt.datetime) -> str:
    """Return a metav1.Time: RFC 3339 in UTC, whole seconds."""
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
