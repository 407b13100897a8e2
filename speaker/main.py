"""lb-speaker: decide what this node announces, and say what it does. Composition root.

It never touches a packet: lb-fastpath does, commanded over a Unix socket, and goes on alone while
this process restarts. Without an API server it waits; with one that goes away it changes nothing.

It imports neither kopf nor kubernetes: a DaemonSet pays for every megabyte on every node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from lbctl.api.credentials import Credentials, load_credentials
from lbctl.api.errors import CredentialsError
from lbctl.api.session import ApiSession
from lbctl.kube.groups import OWN_GROUP, Groups, groups
from lbctl.model.membership import Instant, Member
from lbctl.model.names import Incarnation, NodeName
from lbctl.model.node import Owner
from lbctl.model.outcome import Problem
from lbctl.run.flags import (
    SPEAKER_PORT,
    Endpoint,
    FlagParser,
    boolean,
    endpoint,
    refuse_to_start,
)
from lbctl.run.http import ListenError, StatusServer
from lbctl.run.logs import set_up_logging
from lbctl.run.memory import settle
from lbctl.run.metrics import METRICS_OF, Exposition, Sample
from lbctl.run.process_samples import process_samples
from speaker.agent.inventory import EXCLUDED, excluding
from speaker.agent.peering import SHUTDOWN_WAIT_S
from speaker.drivers.node.gauges import speaker_samples
from speaker.drivers.node.loop import SpeakerLoop

PROGRAM: Final = "lb-speaker"
DEFAULT_LISTEN: Final = Endpoint(host="", port=SPEAKER_PORT)
HANDOVER_S: Final = 8.0
"""How long a stopping speaker waits for its successors, beside the wait of GRACEFUL_SHUTDOWN; both
together are less than a pod's grace period."""
LONGEST_WAIT_S: Final = 600
GOODBYE_S: Final = 2.0
"""How long BGP peers may take to hear that we stop."""

log = logging.getLogger(PROGRAM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold the parsed command line."""

    node_name: NodeName
    namespace: str
    fastpath_socket: Path
    kubeconfig: Path | None
    api_group: Groups
    load_balancer_class: str | None
    owners: tuple[Owner, ...]
    """The Pod that this runs in; none outside of a cluster."""
    exclude_interfaces: tuple[str, ...]
    ignore_exclude_lb: bool
    graceful_shutdown_wait_s: float
    listen: Endpoint
    log_level: str
    log_format: str


def parse_options(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Return the options; ends the process with one line and status 2 on a wrong one."""
    parsed = flag_parser(environ).parse_args(arguments)
    if not parsed.fastpath_socket.parent.is_dir():
        refuse_to_start(
            PROGRAM,
            f"--fastpath-socket {parsed.fastpath_socket}: its directory does not exist; "
            f"mount the volume that lb-fastpath makes its socket in",
        )
    if bool(parsed.pod_name) != bool(parsed.pod_uid):
        refuse_to_start(
            PROGRAM,
            "--pod-name and --pod-uid go together: give both, or neither outside of a pod",
        )
    pod = Owner(kind="Pod", name=parsed.pod_name, uid=parsed.pod_uid)
    table = groups(parsed.api_group)
    if isinstance(table, Problem):
        refuse_to_start(PROGRAM, str(table))
    return Options(
        node_name=NodeName(parsed.node_name),
        namespace=parsed.namespace,
        fastpath_socket=parsed.fastpath_socket,
        kubeconfig=parsed.kubeconfig,
        api_group=table,
        load_balancer_class=parsed.load_balancer_class or None,
        owners=(pod,) if pod.uid else (),
        exclude_interfaces=parsed.exclude_interfaces,
        ignore_exclude_lb=parsed.ignore_exclude_lb,
        graceful_shutdown_wait_s=parsed.graceful_shutdown_wait,
        listen=parsed.listen,
        log_level=parsed.log_level,
        log_format=parsed.log_format,
    )


def flag_parser(environ: Mapping[str, str]) -> FlagParser:
    """Return the parser of this process; the reference of flags is generated from it."""
    parser = FlagParser(
        PROGRAM, "Announce the external IPs that this node is elected for.", environ
    )
    parser.add_flag("--node-name", required=True, help="name of the Node that this runs on")
    parser.add_flag("--namespace", required=True, help="namespace of lbctl's own objects")
    parser.add_flag(
        "--pod-name",
        default="",
        help="name of the Pod that this runs in; its SpeakerStatus is deleted together with it",
    )
    parser.add_flag("--pod-uid", default="", help="UID of that Pod")
    parser.add_flag(
        "--fastpath-socket",
        parse=Path,
        required=True,
        help="path of the Unix socket on which lb-fastpath listens",
    )
    parser.add_flag(
        "--kubeconfig", parse=Path, help="kubeconfig file; without it the pod's service account"
    )
    parser.add_flag("--api-group", default=OWN_GROUP, help="API group of the configuration")
    parser.add_flag(
        "--load-balancer-class",
        default="",
        help="serve Services of this spec.loadBalancerClass; empty: those without one",
    )
    parser.add_flag(
        "--exclude-interfaces",
        parse=_patterns,
        default=EXCLUDED,
        help="regular expressions, with commas between them, of interfaces that never announce; "
        "^$ excludes none",
    )
    parser.add_flag(
        "--ignore-exclude-lb",
        parse=boolean,
        default=False,
        help="announce on this node even if it has the label "
        "node.kubernetes.io/exclude-from-external-load-balancers",
    )
    parser.add_flag(
        "--graceful-shutdown-wait",
        parse=_seconds,
        default=SHUTDOWN_WAIT_S,
        help="seconds, 0 to 600, for which BGP routes that this node gives up carry the community "
        "GRACEFUL_SHUTDOWN before they are withdrawn; keep the pod's grace period longer",
    )
    parser.add_flag(
        "--listen",
        parse=endpoint,
        default=DEFAULT_LISTEN,
        help="ADDR:PORT on which /healthz, /readyz and /metrics are served",
    )
    parser.add_logging_flags()
    return parser


def _patterns(text: str) -> tuple[str, ...]:
    patterns = tuple(filter(None, (part.strip() for part in text.split(","))))
    excluding(patterns)
    return patterns


def _seconds(text: str) -> float:
    """Return a wait in seconds; raises ValueError with what is possible."""
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) <= LONGEST_WAIT_S:
            return seconds
    raise ValueError(f"{text!r} is not a number of seconds from 0 to {LONGEST_WAIT_S}")


def main() -> None:
    """Run lb-speaker until SIGTERM; exit status 0, or 2 when it cannot start."""
    options = parse_options(sys.argv[1:], os.environ)
    set_up_logging(level=options.log_level, form=options.log_format)
    try:
        credentials = load_credentials(options.kubeconfig)
        # A certificate that cannot be read is found now, not at the first request.
        credentials.ssl_context()
        asyncio.run(_run(options, credentials))
    except (CredentialsError, ListenError) as error:
        refuse_to_start(PROGRAM, str(error))


def boottime() -> Instant:
    """Return CLOCK_BOOTTIME in seconds: it goes on while a machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _run(options: Options, credentials: Credentials) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Wall-clock nanoseconds: lives of one node stay in order across reboots.
    me = Member(node=options.node_name, incarnation=Incarnation(str(time.time_ns())))
    async with ApiSession(credentials, user_agent=f"{PROGRAM}/{version('lbctl')}") as session:
        loop = SpeakerLoop(
            session=session,
            table=options.api_group,
            namespace=options.namespace,
            me=me,
            socket=options.fastpath_socket,
            load_balancer_class=options.load_balancer_class,
            owners=options.owners,
            excluded_links=excluding(options.exclude_interfaces),
            ignore_exclude_label=options.ignore_exclude_lb,
            shutdown_wait_s=options.graceful_shutdown_wait_s,
            clock=boottime,
        )
        server = StatusServer(
            options.listen,
            live=lambda: (),
            ready=loop.problems,
            metrics=Exposition(
                [lambda: speaker_samples(loop, boottime()), process_samples, _build_info],
                METRICS_OF[PROGRAM],
            ).render,
        )
        await server.start()
        log.info("started", extra={"node": me.node, "incarnation": me.incarnation})
        settle()
        running = asyncio.create_task(loop.run())
        try:
            await _until_stopped(stop, loop, running, options.graceful_shutdown_wait_s)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await server.stop()


async def _until_stopped(
    stop: asyncio.Event, loop: SpeakerLoop, running: asyncio.Task[None], wait_s: float
) -> None:
    """Return after SIGTERM and the handing over; raise what ended the loop before.

    `wait_s` is for how long routes that are given up stand.
    """
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, running}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        stopping.cancel()
        await running
        return
    log.info("stopping: handing over")
    loop.stop()
    done = asyncio.create_task(loop.done.wait())
    # A loop that fails meanwhile hands nothing over; its peers are told of the end all the same.
    await asyncio.wait(
        {done, running}, timeout=HANDOVER_S + wait_s, return_when=asyncio.FIRST_COMPLETED
    )
    if not done.done():
        done.cancel()
        log.warning("not everything was handed over within %.0f s", HANDOVER_S + wait_s)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            await loop.sessions.leave()
    log.info("stopped")


def _build_info() -> tuple[Sample, ...]:
    return (Sample(name="lbctl_build_info", value=1, labels=(PROGRAM, version("lbctl"))),)


if __name__ == "__main__":
    main()
