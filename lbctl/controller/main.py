"""Compose lb-controller: flags, login, reflectors, Lease, reconciler, writer, kopf, status pages.

Start-up waits for nothing but its own ports: with the API server away the process stands, says
so in its log and on /readyz, and begins when the server comes. SIGTERM ends it in order: no new
decisions, no more writes, then the Lease is given up, so that the successor starts at once and
never beside us.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from lbctl.api.credentials import Credentials, load_credentials
from lbctl.api.errors import CredentialsError
from lbctl.api.events import EventRecorder
from lbctl.api.lease import AlwaysLeader, Leadership, LeaseElector, LeaseTimes
from lbctl.api.pace import Pace
from lbctl.api.session import ApiSession
from lbctl.api.writer import Writer
from lbctl.controller.admission import Judge
from lbctl.controller.gauges import (
    input_samples,
    plan_samples,
    problem_samples,
    webhook_samples,
)
from lbctl.controller.inputs import Inputs
from lbctl.controller.operator import Door, Operator, OperatorSettings
from lbctl.controller.reconciler import Reconciler, ReconcilerPace
from lbctl.controller.settings import PROGRAM, ControllerSettings, probe_port, read_settings
from lbctl.controller.trust import Trust, TrustNames
from lbctl.kube.groups import (
    BFD_PROFILE,
    BGP_ADVERTISEMENT,
    BGP_PEER,
    COMMUNITY,
    IP_ADDRESS_POOL,
    L2_ADVERTISEMENT,
)
from lbctl.run.api_samples import write_samples
from lbctl.run.flags import refuse_to_start
from lbctl.run.http import ListenError, StatusServer
from lbctl.run.logs import set_up_logging
from lbctl.run.memory import settle
from lbctl.run.metrics import METRICS_OF, Exposition, Sample
from lbctl.run.process_samples import process_samples

logger = logging.getLogger(__name__)

EXIT_BY_S = 4.5
"""After SIGTERM the process ends by then, whatever hangs: it promises 5 s."""
KOPF_STOP_S = 1.0
CONTENDED_S = 1.0
"""How long reading waits for the first word about the Lease."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run lb-controller until SIGTERM or SIGINT.

    Raises:
        SystemExit: 0 after a signal, 2 with one line on stderr if it cannot start.

    """
    settings = read_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    set_up_logging(level=settings.log_level, form=settings.log_format)
    # kopf's own lines tell nothing that its supervisor does not.
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        credentials = load_credentials(settings.kubeconfig)
    except CredentialsError as error:
        refuse_to_start(PROGRAM, str(error))
    if settings.webhook_port:
        probe_port(settings.webhook_port, "--webhook-port")
    # Before the first lists: they make millions of values, and the collector looks at all of them.
    settle()
    try:
        asyncio.run(_run(settings, credentials))
    except ListenError as error:
        refuse_to_start(PROGRAM, str(error))
    raise SystemExit(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Hold what lb-controller consists of."""

    inputs: Inputs
    leadership: Leadership
    writer: Writer
    recorder: EventRecorder
    reconciler: Reconciler
    trust: Trust | None
    operator: Operator | None

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield the part that has a problem, and the problem in one sentence."""
        for text in self.inputs.problems():
            yield "inputs", text
        for text in self.inputs.witness_problems():
            yield "announcing", text
        if self.reconciler.bgp_statuses.problem is not None:
            yield "announcing", self.reconciler.bgp_statuses.problem
        if self.leadership.problem is not None:
            yield "lease", self.leadership.problem
        for text in self.reconciler.problems():
            yield "reconciler", text
        if self.trust is not None and self.trust.problem is not None:
            yield "webhook", self.trust.problem

    def not_ready(self) -> Iterator[str]:
        """Yield why the process cannot do its job now.

        The admission server only says earlier what the conditions say anyway, and allocation waits
        for nothing that tells whether addresses are announced: problems of these are in the metrics
        and the log, and make no controller unready.
        """
        for part, text in self.problems():
            if part not in ("webhook", "announcing"):
                yield text

    def samples(self) -> Iterator[Sample]:
        yield Sample(name="lbctl_build_info", value=1, labels=(PROGRAM, version("lbctl")))
        yield from input_samples(self.inputs)
        yield from write_samples(self.writer, self.recorder, failed_plans=self.reconciler.failures)
        yield from plan_samples(self.reconciler, self.leadership)
        yield from problem_samples(self.problems())
        yield from process_samples()
        if self.operator is not None:
            yield from webhook_samples(self.operator)


def compose(
    settings: ControllerSettings,
    credentials: Credentials,
    session: ApiSession,
    *,
    times: LeaseTimes | None = None,
    pace: Pace | None = None,
    reconciling: ReconcilerPace | None = None,
) -> Parts:
    """Return the parts, connected and not yet running. Needs the running loop."""
    leadership: Leadership = (
        LeaseElector(
            session,
            namespace=settings.namespace,
            name=settings.lease,
            identity=settings.identity,
            times=times,
        )
        if settings.leader_elect
        else AlwaysLeader(settings.identity)
    )
    writer = Writer(session, may_write=leadership.may_write)
    recorder = EventRecorder(session, component=PROGRAM, instance=settings.identity)
    inputs = Inputs(session, groups=settings.groups, namespace=settings.namespace, pace=pace)
    reconciler = Reconciler(
        inputs,
        leadership,
        writer,
        recorder,
        session,
        load_balancer_class=settings.load_balancer_class,
        pace=reconciling,
    )
    operator, trust = _webhook(
        settings,
        credentials=credentials,
        session=session,
        writer=writer,
        leadership=leadership,
        inputs=inputs,
    )
    return Parts(
        inputs=inputs,
        leadership=leadership,
        writer=writer,
        recorder=recorder,
        reconciler=reconciler,
        trust=trust,
        operator=operator,
    )


def _webhook(
    settings: ControllerSettings,
    *,
    credentials: Credentials,
    session: ApiSession,
    writer: Writer,
    leadership: Leadership,
    inputs: Inputs,
) -> tuple[Operator, Trust] | tuple[None, None]:
    """Return the admission server and the keeper of its certificate, if they are wanted."""
    if not settings.webhook_port:
        return None, None
    judge = Judge(inputs.published_pools, namespace=settings.namespace)
    table = settings.groups
    operator = Operator(
        OperatorSettings(
            port=settings.webhook_port,
            doors=(
                Door(resource=table[IP_ADDRESS_POOL], judge=judge.pool),
                Door(resource=table[L2_ADVERTISEMENT], judge=judge.advertisement),
                Door(resource=table[BGP_PEER], judge=judge.peer),
                Door(resource=table[BGP_ADVERTISEMENT], judge=judge.bgp_advertisement),
                Door(resource=table[COMMUNITY], judge=judge.community),
                Door(resource=table[BFD_PROFILE], judge=judge.bfd_profile),
            ),
        ),
        credentials=credentials,
    )
    names = TrustNames(
        namespace=settings.namespace,
        service=settings.webhook_service,
        configuration=settings.webhook_configuration,
    )
    return operator, Trust(session, writer, leadership, names, on_pair=operator.serve)


async def _run(settings: ControllerSettings, credentials: Credentials) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        _exit_in_time()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with ApiSession(credentials, user_agent=f"{PROGRAM}/{version('lbctl')}") as session:
        parts = compose(settings, credentials, session)
        pages = StatusServer(
            settings.listen,
            live=tuple,
            ready=parts.not_ready,
            metrics=Exposition([parts.samples], METRICS_OF[PROGRAM]).render,
        )
        await pages.start()
        logger.info("serving on %s as %s", settings.listen, settings.identity)
        try:
            await run_parts(parts, stopping)
        finally:
            await pages.stop()


async def run_parts(parts: Parts, stopping: asyncio.Event) -> None:
    """Run everything until `stopping`, then end it in the order that keeps one writer."""
    deciding = [
        _start("inputs", _read(parts)),
        _start("reconciler", parts.reconciler.run()),
    ]
    if parts.trust is not None:
        deciding.append(_start("webhook certificate", parts.trust.run()))
    sending = [_start("writer", parts.writer.run()), _start("events", parts.recorder.run())]
    contending = [_start("lease", parts.leadership.run())]
    everything = (*deciding, *sending, *contending)
    stop = asyncio.create_task(stopping.wait(), name="stopping")
    try:
        done, _ = await asyncio.wait({stop, *everything}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stop}:
            # None of them ends by itself: the process must not go on without one.
            task.result()
            raise RuntimeError(f"{task.get_name()} ended")
    finally:
        stop.cancel()
        if parts.operator is not None:
            parts.operator.stop(0.0)
        for group in (deciding, sending, contending):
            await _end(group)
        if parts.operator is not None:
            await asyncio.to_thread(parts.operator.stop, KOPF_STOP_S)


async def _read(parts: Parts) -> None:
    """Read the inputs once it is known who leads, or a moment later all the same.

    A list that begins when the Lease is ours already is the one that a new leader waits for, so a
    controller that starts alone reads everything once instead of twice.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONTENDED_S):
            await parts.leadership.contended.wait()
    await parts.inputs.run(parts.leadership.leading)


def _start(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=name)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _exit_in_time() -> None:
    """End the process even if something hangs (a name lookup in a thread, kopf)."""
    # Nothing is left to be saved by then: writes are judged anew by whoever leads next.
    timer = threading.Timer(EXIT_BY_S, os._exit, (0,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
