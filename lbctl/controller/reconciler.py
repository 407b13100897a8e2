"""Bring what the API server shows in line with what is planned, for as long as we lead.

Level-triggered: an event only says "look again". One pass plans from the snapshot, looks at what
may differ, and submits writes for what does; what is written comes back as an observation, and a
restart, a lost Lease or a lost event are the same pass over a fresh list. No pass runs before
every input was listed, and none before a new list when the Lease was gained: the watch may lag
behind what the leader before us wrote.

An address that one Service must give up before another may show it is handed over in that order:
the second write waits until the first is seen. Whether addresses are announced rides on the same
writes (`lbctl.controller.announcing`), and nothing here waits for it. Runs on one event loop, between whose steps
nothing of this changes; `lbctl.controller.main` owns it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from lbctl.api.events import EventRecorder
from lbctl.api.lease import Leadership
from lbctl.api.session import ApiSession
from lbctl.api.writer import Writer
from lbctl.controller.announcing import Announcing, AnnouncingPace
from lbctl.controller.bgp_statuses import BGPStatusKeeper, StatusPace
from lbctl.controller.configuration import ConfigurationDesk, SummaryKeeper, findings
from lbctl.controller.inputs import Inputs
from lbctl.controller.services import BUSY, ServiceDesk
from lbctl.controller.tempo import Tempo
from lbctl.kube.patches import ANNOUNCED
from lbctl.model.address import Address
from lbctl.model.allocation import Outcome
from lbctl.model.configuration import Verdict
from lbctl.model.names import ObjectKey, PoolName, ServiceKey
from lbctl.model.snapshot import EVERYTHING, Changed
from lbctl.plan.allocation import EMPTY, Counters, plan
from lbctl.plan.slots import slot_of
from lbctl.run.memory import settle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerPace:
    """Seconds. `belt_s`: a full pass this often, in case a change was missed."""

    belt_s: float = 300.0
    after_failure_s: float = 1.0
    announcing: AnnouncingPace = field(default_factory=AnnouncingPace)
    bgp_statuses: StatusPace = field(default_factory=StatusPace)


class Reconciler:
    """The loop; `run` is its life. `plans`, `plan_seconds` and `failures` are for metrics."""

    def __init__(
        self,
        inputs: Inputs,
        leadership: Leadership,
        writer: Writer,
        recorder: EventRecorder,
        session: ApiSession,
        *,
        load_balancer_class: str | None = None,
        tempo: Tempo | None = None,
        pace: ReconcilerPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plans = 0
        self.plan_seconds = 0.0
        self.failures = 0
        self.verdicts: Mapping[ObjectKey, Verdict] = {}
        self._inputs = inputs
        self._leadership = leadership
        self._class = load_balancer_class
        self._tempo = tempo or Tempo()
        self._pace = pace or ReconcilerPace()
        self._clock = clock
        self._plan = EMPTY
        self._awake = asyncio.Event()
        self._news_at: float | None = None
        self._echo_at: float | None = None
        self._again: set[ServiceKey] = set()
        self._everything = True
        self._failing = False
        self._led = asyncio.Event()
        self._announcing = Announcing(
            inputs,
            look=self._look_now,
            busy=lambda: len(self._services.desk) > BUSY,
            holders=self._holders,
            pace=self._pace.announcing,
            clock=clock,
        )
        self.bgp_statuses = BGPStatusKeeper(
            inputs,
            self._announcing.hearing,
            writer,
            leadership,
            session,
            busy=lambda: self._failing or len(self._services.desk) > BUSY,
            pace=self._pace.bgp_statuses,
            clock=clock,
        )
        self._announcing.on_heard = self.bgp_statuses.look
        self._services = ServiceDesk(
            inputs,
            writer,
            recorder,
            self._announcing,
            again=self._look_again,
            go_on=self._look_now,
        )
        self._configuration = ConfigurationDesk(
            inputs,
            writer,
            recorder,
            again=lambda _: self._echo(),
            summary=lambda: self._summary.shown,
        )
        self._summary = SummaryKeeper(inputs, writer, leadership, session)
        inputs.on_news = self._news
        inputs.on_echo = self._echo

    @property
    def counters(self) -> Mapping[PoolName, Counters]:
        """Return the counters of every pool in effect."""
        return self._plan.counters

    def reasons(self) -> Counter[str]:
        """Return how many Services of ours have which reason."""
        return Counter(
            decision.reason.value
            for decision in self._plan.outcomes.values()
            if isinstance(decision, Outcome)
        )

    def announced(self) -> Counter[str]:
        """Return how many Services of ours show which reason of Announced."""
        services = self._inputs.snapshot().services
        return Counter(
            condition.reason
            for key, decision in self._plan.outcomes.items()
            if isinstance(decision, Outcome) and key in services
            for condition in services[key].conditions
            if condition.type == ANNOUNCED
        )

    def decides(self, key: ServiceKey) -> bool:
        """Return whether the present plan has a decision on the Service."""
        return key in self._plan.outcomes

    def problems(self) -> Iterator[str]:
        """Yield why decisions are not made or not written."""
        if self._failing:
            yield "planning fails; the log has the reason"
        if not self._leadership.leading.is_set():
            return  # what was refused to us then is the leader's to find out now
        if self._summary.problem is not None:
            yield self._summary.problem
        yield from self._services.desk.refusals()
        yield from self._configuration.desk.refusals()

    async def run(self) -> None:
        """Lead whenever we hold the Lease, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._summary.run(), name="configuration-state")
            group.create_task(self._announcing.run(), name="announcing")
            group.create_task(self._terms(), name="terms")
            group.create_task(self._keep_bgp_statuses(), name="bgp-statuses")
            group.create_task(self._bgp_settled(), name="bgp")
            await self._inputs.until_synced()
            settle()

    async def _keep_bgp_statuses(self) -> None:
        """Begin with the first term: a replica that never leads does not read them."""
        await self._led.wait()
        await self.bgp_statuses.run()

    async def _bgp_settled(self) -> None:
        """Have the verdicts looked at when it is known which objects there are."""
        await self._inputs.until_bgp_settled()
        self._echo()

    async def _terms(self) -> None:
        while True:
            await self._leadership.leading.wait()
            term = self._leadership.term
            if not await self._while_leading(self._inputs.relist()):
                continue
            logger.info("allocating (term %d)", term)
            self._begin_term()
            await self._while_leading(self._lead())

    async def _while_leading(self, work: Awaitable[object]) -> bool:
        """Return whether `work` ended before the Lease was lost; else it is cancelled."""
        task = asyncio.ensure_future(work)
        lost = asyncio.ensure_future(self._leadership.lost.wait())
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
            return task.done()
        finally:
            lost.cancel()
            if not task.done():
                task.cancel()
            await asyncio.wait({task, lost})
            if not task.cancelled():
                task.result()

    def _begin_term(self) -> None:
        """Plan from what is shown now; of the past only the order of releases counts."""
        self._plan = self._plan.memory()
        self._inputs.take_changed()
        self._services.begin_term()
        self._summary.begin_term()
        self._everything = True
        self._news()

    async def _lead(self) -> None:
        first = True
        while True:
            await self._until_due()
            began = self._clock()
            try:
                self._pass()
                if first:
                    # Not before: what that reads must not hold up the first plan.
                    first = False
                    self._announcing.begin_term()
                    self.bgp_statuses.begin_term()
                    self._led.set()
            except Exception:
                # The loop that must not die: a bug must not stop what still works, and
                # planning from nothing gets rid of whatever the last plan left behind.
                logger.exception("planning failed; trying again with everything")
                self.failures += 1
                self._failing, self._everything = True, True
                self._plan = self._plan.memory()
                self._services.begin_term()
                await asyncio.sleep(self._pace.after_failure_s)
                self._news()
            else:
                self._failing = False
            self._tempo.planned(began=began, ended=self._clock())

    async def _until_due(self) -> None:
        """Return when the next pass shall begin."""
        belt_at = self._clock() + self._pace.belt_s
        while True:
            self._awake.clear()
            at = self._tempo.begins_at(news_at=self._news_at, echo_at=self._echo_at)
            now = self._clock()
            if at is not None and at <= now:
                return
            if now >= belt_at:
                self._everything = True
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(belt_at, at if at is not None else belt_at) - now):
                    await self._awake.wait()

    def _pass(self) -> None:
        """Plan, and submit what differs. No await in here: it is one moment."""
        began = self._clock()
        self._news_at = self._echo_at = None
        changed = self._inputs.take_changed()
        if self._everything:
            changed, self._everything = EVERYTHING, False
        again, self._again = self._again, set()
        former = self._plan
        self._plan = plan(former, self._inputs.snapshot(), changed, load_balancer_class=self._class)
        self.plans += 1
        self.plan_seconds += self._clock() - began
        self._services.look(self._keys(changed, again), self._plan.outcomes)
        self.verdicts = self._configuration.look(self._plan)
        if self._inputs.bgp_settled:
            # Not before: what the leader before us said of BGP's objects must not vanish meanwhile.
            self._summary.want(findings(self.verdicts))

    def _keys(self, changed: Changed, again: set[ServiceKey]) -> set[ServiceKey]:
        """Return the Services that may show something else than was decided."""
        if changed.everything:
            return {*self._plan.outcomes, *self._plan.touched, *again}
        return {*changed.services, *self._plan.touched, *again}

    def _holders(self, address: Address) -> tuple[ServiceKey, ...]:
        holders = self._plan.ledger.holders.get(slot_of(address), ())
        return tuple(service.key for service in holders)

    def _look_again(self, key: ServiceKey) -> None:
        self._again.add(key)
        self._echo()

    def _look_now(self, key: ServiceKey) -> None:
        self._again.add(key)
        self._news()

    def _news(self) -> None:
        if self._news_at is None:
            self._news_at = self._clock()
        self._awake.set()

    def _echo(self) -> None:
        if self._echo_at is None:
            self._echo_at = self._clock()
        self._awake.set()
