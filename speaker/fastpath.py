"""lb-fastpath: answer ARP and NDP, announce, and say what was heard. Composition root.

The process does one thing without waiting for anything: lb-speaker commands it over a Unix socket
and may die, restart or be upgraded meanwhile; the last table stays in force. It answers from user
space only, so when it dies, nothing goes on answering in its place.

It imports what it needs and no client or server library: a test looks at its modules.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from lbctl.model.names import Incarnation
from lbctl.run.flags import FASTPATH_PORT, Endpoint, FlagParser, endpoint, refuse_to_start
from lbctl.run.logs import set_up_logging
from speaker.drivers.fast.clock import now
from speaker.drivers.fast.control import ControlServer, Order, bind_socket
from speaker.drivers.fast.error import DriverError
from speaker.drivers.fast.health import serve_health
from speaker.drivers.fast.links import Links
from speaker.drivers.fast.loop import PacketLoop
from speaker.drivers.fast.packet import check_permission
from speaker.fast.announce import Announcer
from speaker.fast.conductor import (
    Conductor,
    HandOver,
    Input,
    Output,
    Rewire,
    Send,
    Sent,
    SpeakerGone,
    Tell,
)
from speaker.fast.router import Advertise, Advertised, RouterAdvertiser
from speaker.fast.table import YIELD_S, AddressTable
from speaker.wire.control import AddressCounts, Counters, CountersRequest

PROGRAM: Final = "lb-fastpath"
DEFAULT_LISTEN: Final = Endpoint(host="", port=FASTPATH_PORT)
"""Unlike MetalLB's ports (7472, 7473, 7946), with which a node may be shared."""
COUNTERS_INTERVAL_S: Final = 10.0
ADDRESSES_AT_ONCE: Final = 200
ADDRESSES_PAUSE_S: Final = 0.02
"""Counters of 10,000 addresses are told in a second, 2 ms at a time: frames wait meanwhile."""
HANDOVER_S: Final = 5.0
"""How long lb-speaker may take after SIGTERM to yield everything; the pod's grace is 30 s."""
_HANDOVER_LOOK_S: Final = 0.02

log = logging.getLogger(PROGRAM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold the parsed command line."""

    socket: Path
    listen: Endpoint
    log_level: str
    log_format: str


class FastPath:
    """Drive the conductor: feed it what arrives, do what it says, wake it at its deadline."""

    def __init__(self, incarnation: Incarnation) -> None:
        self._conductor = Conductor(
            AddressTable(), Announcer(), RouterAdvertiser(jitter=random.random)
        )
        self.control = ControlServer(
            incarnation=incarnation,
            on_connect=self._tell_links,
            on_order=self._order,
            on_gone=lambda: self._receive(SpeakerGone()),
        )
        self.links = Links(
            self._conductor,
            on_link=self._receive,
            on_report=self.control.report,
            on_claim=self._receive,
        )
        self._alarm: asyncio.TimerHandle | None = None

    def report_counters(self) -> None:
        self.control.report(self._counters())

    def report_addresses(self) -> bool:
        """Tell the counters of some addresses; return whether there may be news of more."""
        counts = self._conductor.table.counts(at_most=ADDRESSES_AT_ONCE)
        if counts:
            self.control.report(AddressCounts(addresses=counts))
        return len(counts) == ADDRESSES_AT_ONCE

    async def hand_over(self, hurry: asyncio.Event) -> None:
        """Answer until others have taken over, `HANDOVER_S` and a yield's second at most.

        kubelet ends both containers of the pod at once. While lb-speaker is there it arranges
        the planned move and yields address by address; what is left then, or at the end of its
        time, is yielded here. A second signal (`hurry`) ends the waiting.
        """
        await _look(
            lambda: hurry.is_set() or not (self.answering and self.control.connected), HANDOVER_S
        )
        self._receive(HandOver())
        await _look(lambda: hurry.is_set() or not self.answering, 2 * YIELD_S)

    @property
    def answering(self) -> bool:
        return self._conductor.table.answering

    def _order(self, order: Order) -> None:
        if isinstance(order, CountersRequest):
            self.report_counters()
            self.report_addresses()
        else:
            self._receive(order)

    def _receive(self, arrived: Input) -> None:
        self._perform(self._conductor.receive(now(), arrived))
        self._set_alarm()

    def _expire(self) -> None:
        self._alarm = None
        self._perform(self._conductor.expire(now()))
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        deadline = self._conductor.deadline
        if deadline is not None:
            delay = max(0.0, deadline - now())
            self._alarm = asyncio.get_running_loop().call_later(delay, self._expire)

    def _perform(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            match output:
                case Send():
                    self._announce(output)
                case Advertise():
                    self._advertise(output)
                case Tell():
                    self.control.report(output.report)
                case Rewire():
                    self.links.rewire(output.links)
                case _:
                    assert_never(output)

    def _announce(self, send: Send) -> None:
        port = self.links.port(send.round.link)
        if port is not None and port.announce(send.round.address):
            self._perform(self._conductor.receive(now(), Sent(round=send.round)))

    def _advertise(self, advertise: Advertise) -> None:
        port = self.links.port(advertise.link)
        if port is not None and port.advertise():
            self._perform(self._conductor.receive(now(), Advertised(link=advertise.link)))

    def _tell_links(self) -> None:
        for state in self.links.states():
            self.control.report(state)

    def _counters(self) -> Counters:
        closed = {f"connections_closed_{k}": n for k, n in self.control.closed_for.items()}
        totals = {
            "messages_ignored": self.control.ignored,
            "announcements_withheld": self._conductor.withheld,
            "claims_not_reported": self._conductor.table.heard_limited,
            **closed,
        }
        links = {link: counts.values() for link, counts in self.links.counters.items()}
        return Counters(totals=totals, links=links)


def parse_options(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Return the options; ends the process with one line and status 2 on a wrong one."""
    parsed = flag_parser(environ).parse_args(arguments)
    return Options(
        socket=parsed.socket,
        listen=parsed.listen,
        log_level=parsed.log_level,
        log_format=parsed.log_format,
    )


def flag_parser(environ: Mapping[str, str]) -> FlagParser:
    """Return the parser of this process; the reference of flags is generated from it."""
    parser = FlagParser(
        PROGRAM, "Answer ARP and NDP for external IPs, as lb-speaker commands.", environ
    )
    parser.add_flag(
        "--socket",
        parse=Path,
        required=True,
        help="path of the Unix socket on which lb-speaker is awaited",
    )
    parser.add_flag(
        "--listen",
        parse=endpoint,
        default=DEFAULT_LISTEN,
        help="ADDR:PORT on which /healthz is served",
    )
    parser.add_logging_flags()
    return parser


def main() -> None:
    """Run lb-fastpath until SIGTERM, hand over; exit status 0, or 2 when it cannot start."""
    options = parse_options(sys.argv[1:], os.environ)
    set_up_logging(level=options.log_level, form=options.log_format)
    try:
        check_permission()
        with asyncio.Runner(loop_factory=PacketLoop) as runner:
            runner.run(_run(options))
    except DriverError as error:
        refuse_to_start(PROGRAM, str(error))


async def _run(options: Options) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    # A restarted process is another member: the moment of its start tells its lives apart, and
    # the wall clock, unlike every other one, also does so across a reboot.
    fast_path = FastPath(Incarnation(str(time.time_ns())))
    health = await serve_health(options.listen)
    server = await fast_path.control.listen(bind_socket(options.socket))
    fast_path.links.start()
    counting = loop.create_task(_count(fast_path))
    # What was made by starting lives for ever: the collector need not look at it again.
    gc.freeze()
    log.info("ready", extra={"socket": str(options.socket), "listen": str(options.listen)})
    await stop.wait()
    log.info("stopping: handing over")
    await fast_path.hand_over(hurry)
    counting.cancel()
    fast_path.links.close()
    fast_path.control.close()
    server.close()
    health.close()
    options.socket.unlink(missing_ok=True)


async def _look(over: Callable[[], bool], seconds: float) -> None:
    """Wait until `over`, `seconds` at most. Only at the end of the process's life."""
    end = now() + seconds
    while not over() and now() < end:  # noqa: ASYNC110 - three ways out, one short wait
        await asyncio.sleep(_HANDOVER_LOOK_S)


async def _count(fast_path: FastPath) -> None:
    while True:
        await asyncio.sleep(COUNTERS_INTERVAL_S)
        if fast_path.control.connected:
            fast_path.report_counters()
        while fast_path.control.connected and fast_path.report_addresses():  # noqa: ASYNC110 - a pause between parts, no event
            await asyncio.sleep(ADDRESSES_PAUSE_S)


if __name__ == "__main__":
    main()
