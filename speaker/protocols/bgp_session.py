"""One outbound BGP session: RFC 4271's machine with its timers and its table. Pure.

The shape of HOUSE 4: `receive`, `expire`, `deadline`; the rows are in `bgp_transitions`. Bytes of
the peer never raise: what is against the standard becomes an event with the NOTIFICATION that
answers it. The first connection waits for the first table, so End-of-RIB tells the truth, also
after a restart under graceful restart. UPDATEs leave in batches, the next one when TCP has taken
the last, so a slow peer costs one batch of memory and always gets the latest wish.

Who would fill what: a peer that floods us fills nothing (messages are counted and dropped), one
that asks for the routes again and again is answered once a second, one that does not read holds
one batch and is closed after the send hold time, one that connects and fails in a circle meets a
growing pause. Driven by `speaker.drivers.node.bgp`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, assert_never

from lbctl.model.address import Address, Family
from lbctl.model.membership import Instant
from speaker.protocols.bgp_inputs import (
    Calling,
    Changed,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    Disconnect,
    Drained,
    Input,
    Output,
    Received,
    Renumbered,
    Send,
    Stop,
    Wanted,
)
from speaker.protocols.bgp_peer import (
    MIN_KEEPALIVE_S,
    PeerConfig,
    Terms,
    negotiate,
    next_hop_self,
)
from speaker.protocols.bgp_report import Cause, Counts, Down, SessionStatus
from speaker.protocols.bgp_routes import AdjRibOut, Egress
from speaker.protocols.bgp_transitions import UNEXPECTED, Act, Event, State, row_of
from speaker.wire.bgp_fault import (
    CEASE,
    CONFIGURATION_CHANGE,
    DECONFIGURED,
    MAX_PREFIXES,
    OUT_OF_RESOURCES,
    SHUTDOWN,
    FaultError,
    Notification,
)
from speaker.wire.bgp_frame import (
    KEEPALIVE,
    Frame,
    FrameReader,
    MessageType,
    check_update,
    decode_notification,
    decode_route_refresh,
    encode_notification,
)

OPEN_HOLD_S: Final = 30.0
"""How long we wait for the peer's OPEN. RFC 4271 8.2.2 suggests four minutes, in which a router
that rebooted while it accepted us would cost us four minutes of its life."""
SEND_HOLD_S: Final = 480.0
"""RFC 9687 3: eight minutes, or twice the hold time if that is more."""
FIRST_PAUSE_S: Final = 1.0
"""Doubled with each failure, up to the connect time of the configuration."""
HELD_OFF_S: Final = 60.0
MAX_HELD_OFF_S: Final = 600.0
"""After Cease/1 and Cease/8: the peer has no room for us, and every attempt costs it a table."""
REFRESH_S: Final = 1.0
"""Between two answers to ROUTE-REFRESH: 23 bytes of the peer cost us a look at the whole table."""
STABLE_S: Final = 30.0
"""A session that lived so long forgives the failures before it."""
MAX_DOUBLINGS: Final = 16
"""Past the longest connect time; a float cannot be doubled for ever."""
_STOPPED: Final = {
    SHUTDOWN: "lb-speaker stops",
    DECONFIGURED: "this node is to speak to the peer no more",
    CONFIGURATION_CHANGE: "the session begins anew with other settings",
}
"""By the subcode of the Cease with which we end a session ourselves."""
TIMEOUTS_TO_ADVISE: Final = 3
_ADVICE: Final = (
    "check the peer's address, that the peer has ours as its neighbor, filters between, "
    "the MD5 password, and ebgpMultiHop if the peer is not on a link of the node"
)


class Timer(enum.Enum):
    """Name the timers, in the order in which they fire when several are due."""

    HOLD = Event.HOLD_EXPIRED
    SEND_HOLD = Event.SEND_HOLD_EXPIRED
    KEEPALIVE = Event.KEEPALIVE_EXPIRED
    CONNECT_RETRY = Event.CONNECT_RETRY_EXPIRED
    IDLE_HOLD = Event.IDLE_HOLD_EXPIRED
    REFRESH = Event.REFRESH_EXPIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Occurrence:
    """An event with what its acts need."""

    event: Event
    down: Down | None = None
    notification: Notification | None = None
    terms: Terms | None = None
    family: Family | None = None


class BgpSession:
    """Hold one peering for the life of its configuration."""

    def __init__(
        self,
        config: PeerConfig,
        *,
        now: Instant,
        jitter: Callable[[], float],
        restarting: bool = True,
    ) -> None:
        """Begin in Idle. `jitter` returns 0.75 to 1 (RFC 4271 10); `restarting` is the R bit."""
        self.counts = Counts()
        self._config = config
        self._jitter = jitter
        self._restarting = restarting
        self._state = State.IDLE
        self._since = now
        self._timers: dict[Timer, Instant] = {}
        self._reader = FrameReader()
        self._routes = AdjRibOut()
        self._source: Address | None = None
        self._on_link: tuple[Address, ...] = ()
        self._terms: Terms | None = None
        self._own: dict[Family, Address] = {}
        self._down: Down | None = None
        self._asked_again: set[Family] = set()
        """By ROUTE-REFRESH, and not answered yet."""
        self._failures = 0
        self._held_off = 0
        self._unsent = False
        """TCP has not said yet that it took everything."""
        self._bytes = 0
        self._last_route_byte = 0
        self._acknowledged = 0
        self._stopped = False
        self._outputs: list[Output] = []

    def receive(self, now: Instant, happened: Input) -> tuple[Output, ...]:
        """Take one input; what belongs to a connection that is over has to be kept away."""
        match happened:
            case Wanted(table=table):
                first = self._routes.wanted is None
                self._routes.want(table)
                if first and not self._stopped:
                    self._fire(now, _Occurrence(event=Event.START))
            case Calling(source=source):
                self._source = source
            case Connected(on_link=on_link):
                self._on_link = on_link
                self._fire(now, _Occurrence(event=Event.CONNECTED))
            case Renumbered(on_link=on_link):
                self._on_link = on_link
                self._look_for_next_hops()
            case ConnectFailed(why=why):
                self._lose(now, Cause.CONNECT_FAILED, why)
            case Closed(why=why):
                self._lose(now, Cause.CONNECTION_LOST, why)
            case Received(data=data):
                self._read(now, data)
            case Drained():
                self._unsent = False
                self._timers.pop(Timer.SEND_HOLD, None)
            case Stop(goodbye=goodbye):
                self._stopped = True
                why = "stopped here" if goodbye is None else _STOPPED.get(goodbye.subcode, "")
                down = Down(cause=Cause.STOPPED, detail=why or "stopped here", notification=goodbye)
                self._fire(now, _Occurrence(event=Event.STOP, down=down, notification=goodbye))
            case _:
                assert_never(happened)
        self._send_routes(now)
        return self._flush()

    def expire(self, now: Instant) -> tuple[Output, ...]:
        """Fire the timers that are due."""
        for timer in Timer:
            due = self._timers.get(timer)
            if due is not None and due <= now:
                del self._timers[timer]
                self._fire(now, self._expired(timer))
        self._send_routes(now)
        return self._flush()

    def renew(self, config: PeerConfig) -> None:
        """Take a configuration that keeps the session (`PeerConfig.keeps_session_of`)."""
        self._config = config
        self._look_for_next_hops()

    def acknowledge(self, count: int) -> None:
        """Take how many bytes of the present connection the peer's TCP has acknowledged.

        No event of TCP, so no input: it is told before somebody looks at the status.
        """
        self._acknowledged = count
        if count >= self._last_route_byte:
            self._routes.confirm()

    @property
    def deadline(self) -> Instant | None:
        """When a timer is due."""
        return min(self._timers.values(), default=None)

    @property
    def status(self) -> SessionStatus:
        """How the session stands."""
        table_sent = self._routes.complete_since_open and not self._routes.waiting
        return SessionStatus(
            state=self._state,
            since=self._since,
            terms=self._terms,
            next_hops=dict(self._own),
            down=self._down,
            routes_wanted=len(self._routes.wanted or ()),
            routes_sent=self._routes.sent_of.copy(),
            routes_confirmed=self._routes.confirmed_of(),
            unsendable=Counter(self._routes.unsendable.values()),
            updates_received=self.counts.received[MessageType.UPDATE],
            refreshes_received=self.counts.received[MessageType.ROUTE_REFRESH],
            table_sent=table_sent,
            observed=table_sent and self._acknowledged >= self._last_route_byte,
        )

    # --- What the peer sends

    def _read(self, now: Instant, data: bytes) -> None:
        reader = self._reader
        try:
            for frame in reader.feed(data):
                self._take(now, frame)
                if self._reader is not reader:
                    return
        except FaultError as fault:
            self._refuse(now, Event.HEADER_ERROR, fault)

    def _take(self, now: Instant, frame: Frame) -> None:
        self.counts.received[frame.type] += 1
        match frame.type:
            case MessageType.KEEPALIVE:
                self._expect(now, _Occurrence(event=Event.KEEPALIVE))
            case MessageType.UPDATE:
                self._take_update(now, frame.body)
            case MessageType.ROUTE_REFRESH:
                family = decode_route_refresh(frame.body)
                self._expect(now, _Occurrence(event=Event.ROUTE_REFRESH, family=family))
            case MessageType.NOTIFICATION:
                told = decode_notification(frame.body)
                down = Down(cause=Cause.NOTIFIED, detail=f"the peer says {told}", notification=told)
                self._fire(now, _Occurrence(event=Event.NOTIFICATION, down=down))
            case MessageType.OPEN:
                self._take_open(now, frame.body)
            case _:
                assert_never(frame.type)

    def _take_update(self, now: Instant, body: bytes) -> None:
        try:
            if self._state is State.ESTABLISHED:
                check_update(body)
        except FaultError as fault:
            self._refuse(now, Event.UPDATE_ERROR, fault)
        else:
            self._expect(now, _Occurrence(event=Event.UPDATE))

    def _take_open(self, now: Instant, body: bytes) -> None:
        from speaker.wire.bgp import decode_open  # noqa: PLC0415 - 17 MiB, with a peer only

        terms = None
        try:
            if self._state is State.OPEN_SENT:
                ours = self._config.open_message(restarting=self._restarting)
                terms = negotiate(self._config, ours, decode_open(body))
        except FaultError as fault:
            self._refuse(now, Event.OPEN_ERROR, fault)
        else:
            self._expect(now, _Occurrence(event=Event.OPEN, terms=terms))

    def _expect(self, now: Instant, message: _Occurrence) -> None:
        """Fire a message's event with the answer that it gets if its state does not expect it."""
        subcode = UNEXPECTED.get(self._state)
        fault = None if subcode is None else Notification(code=5, subcode=subcode)
        detail = f"{message.event.name} is not expected in {self._state}"
        down = Down(cause=Cause.REFUSED, detail=detail, notification=fault)
        self._fire(now, replace(message, down=down, notification=fault))

    def _refuse(self, now: Instant, event: Event, fault: FaultError) -> None:
        told = fault.notification
        down = Down(cause=Cause.REFUSED, detail=str(fault), notification=told)
        self._fire(now, _Occurrence(event=event, down=down, notification=told))

    def _lose(self, now: Instant, cause: Cause, why: str) -> None:
        down = Down(cause=cause, detail=why)
        self._fire(now, _Occurrence(event=Event.CONNECTION_FAILED, down=down))

    def _expired(self, timer: Timer) -> _Occurrence:
        match timer:
            case Timer.HOLD:
                silent = (self._terms.hold_time_s if self._terms else 0) or OPEN_HOLD_S
                cause, fault = Cause.HOLD_TIMER, Notification(code=4)
                detail = f"nothing heard for {silent:g} s"
            case Timer.SEND_HOLD:
                cause, fault = Cause.SEND_HOLD_TIMER, Notification(code=8)
                detail = "the peer has read nothing of what was sent"
            case Timer.CONNECT_RETRY:
                detail = f"no answer within {self._config.connect_retry_s} s"
                if self._source is not None:
                    detail += f" to a call from {self._source}"
                    if self._source.is_link_local and not self._config.address.is_link_local:
                        detail += ", as this node has no other address of the family"
                if self._failures + 1 >= TIMEOUTS_TO_ADVISE:
                    detail += f"; {_ADVICE}"
                down = Down(cause=Cause.CONNECT_TIMEOUT, detail=detail)
                return _Occurrence(event=timer.value, down=down)
            case _:
                return _Occurrence(event=timer.value)
        down = Down(cause=cause, detail=detail, notification=fault)
        return _Occurrence(event=timer.value, down=down, notification=fault)

    # --- The rows

    def _fire(self, now: Instant, occurrence: _Occurrence) -> None:
        """Carry out the row of the event; its acts see the state that they leave."""
        row = row_of(self._state, occurrence.event)
        if row is None:
            return
        for act in row.acts:
            self._do(now, act, occurrence)
        recorded = Act.RECORD in row.acts
        if row.next is not self._state or recorded:
            self._state, self._since = row.next, now
            self._outputs.append(Changed(state=row.next, down=self._down if recorded else None))

    def _do(self, now: Instant, act: Act, occurrence: _Occurrence) -> None:
        match act:
            case Act.OPEN_TCP:
                self._source = None
                self._outputs.append(Connect())
                self._start(now, Timer.CONNECT_RETRY, self._config.connect_retry_s)
            case Act.SEND_OPEN:
                self._send_open(now)
            case Act.ACCEPT_OPEN:
                self._terms = occurrence.terms
                self._send_keepalive(now)
                self._restart_hold(now)
                # Without a hold time a peer that says nothing more would keep us here for ever.
                self._timers.setdefault(Timer.HOLD, now + OPEN_HOLD_S)
            case Act.SEND_KEEPALIVE:
                self._send_keepalive(now)
            case Act.RESTART_HOLD:
                self._restart_hold(now)
            case Act.ESTABLISH:
                assert self._terms is not None
                self._restarting = False
                self.counts.established += 1
                self._routes.open(Egress(terms=self._terms, own=self._own))
            case Act.RESEND:
                if occurrence.family is not None:
                    self._asked_again.add(occurrence.family)
                self._answer_refresh(now)
            case Act.NOTIFY:
                if occurrence.notification is not None:
                    told = encode_notification(occurrence.notification)
                    self._send(now, MessageType.NOTIFICATION, told)
            case Act.DROP:
                self._drop()
            case Act.RECORD:
                self._record(now, occurrence)
            case Act.BACK_OFF:
                self._back_off(now)
            case _:
                assert_never(act)

    def _send_open(self, now: Instant) -> None:
        from speaker.wire.bgp import encode_open  # noqa: PLC0415 - 17 MiB, with a peer only

        self._timers.pop(Timer.CONNECT_RETRY, None)
        self._timers[Timer.HOLD] = now + OPEN_HOLD_S
        self._own = next_hop_self(self._config, self._on_link)
        ours = self._config.open_message(restarting=self._restarting)
        self._send(now, MessageType.OPEN, encode_open(ours))

    def _look_for_next_hops(self) -> None:
        """Have the routes told again whose next hop is another one now."""
        if not self._own:
            return
        own = next_hop_self(self._config, self._on_link, before=frozenset(self._own.values()))
        if own != self._own:
            self._own = own
            self._routes.renumber(own)

    def _drop(self) -> None:
        self._outputs.append(Disconnect())
        self._timers.clear()
        self._asked_again.clear()
        self._reader = FrameReader()
        self._routes.close()
        self._terms = None
        self._own = {}
        self._unsent = False
        self._bytes = self._last_route_byte = self._acknowledged = 0

    def _record(self, now: Instant, occurrence: _Occurrence) -> None:
        assert occurrence.down is not None
        if self._state is State.ESTABLISHED and now - self._since >= STABLE_S:
            self._failures = self._held_off = 0
        self._failures += 1
        again = None if occurrence.event is Event.STOP else now
        self._down = replace(occurrence.down, attempts=self._failures, again=again)

    def _back_off(self, now: Instant) -> None:
        assert self._down is not None
        told = self._down.notification
        # RFC 4486 4: a peer that has no room must not be called again at once.
        held_off = (
            self._down.cause is Cause.NOTIFIED
            and told is not None
            and (told.code, told.subcode) in {(CEASE, MAX_PREFIXES), (CEASE, OUT_OF_RESOURCES)}
        )
        if held_off:
            pause_s = min(MAX_HELD_OFF_S, HELD_OFF_S * 2.0**self._held_off)
            self._held_off += 1
        else:
            doubled = FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, MAX_DOUBLINGS)
            pause_s = min(float(self._config.connect_retry_s), doubled)
        self._start(now, Timer.IDLE_HOLD, pause_s)
        again = self._timers[Timer.IDLE_HOLD]
        self._down = replace(self._down, again=again, held_off=held_off)

    # --- What we send

    def _answer_refresh(self, now: Instant) -> None:
        if not self._asked_again or Timer.REFRESH in self._timers:
            return
        for family in self._asked_again:
            self._routes.refresh(family)
        self._asked_again.clear()
        self._timers[Timer.REFRESH] = now + REFRESH_S

    def _send_keepalive(self, now: Instant) -> None:
        self._send(now, MessageType.KEEPALIVE, KEEPALIVE)
        self._restart_keepalive(now)

    def _send_routes(self, now: Instant) -> None:
        """Send the next batch, if there is one and TCP has taken the last."""
        if self._unsent or not self._routes.waiting:
            return
        messages = self._routes.take()
        if not messages:
            return
        self.counts.sent[MessageType.UPDATE] += len(messages) - 1  # `_send` counts one
        self._send(now, MessageType.UPDATE, b"".join(messages))
        self._last_route_byte = self._bytes
        # RFC 4271 4.4: an UPDATE is a sign of life too.
        self._restart_keepalive(now)

    def _send(self, now: Instant, kind: MessageType, data: bytes) -> None:
        self.counts.sent[kind] += 1
        self._bytes += len(data)
        self._unsent = True
        if self._terms is not None:
            patience_s = max(SEND_HOLD_S, 2.0 * self._terms.hold_time_s)
            self._timers.setdefault(Timer.SEND_HOLD, now + patience_s)
        self._outputs.append(Send(data=data))

    # --- Timers

    def _start(self, now: Instant, timer: Timer, seconds: float) -> None:
        self._timers[timer] = now + seconds * self._jitter()

    def _restart_hold(self, now: Instant) -> None:
        assert self._terms is not None
        self._timers.pop(Timer.HOLD, None)
        if self._terms.hold_time_s:
            self._timers[Timer.HOLD] = now + self._terms.hold_time_s

    def _restart_keepalive(self, now: Instant) -> None:
        assert self._terms is not None
        if self._terms.keepalive_s:
            pause_s = max(MIN_KEEPALIVE_S, self._terms.keepalive_s * self._jitter())
            self._timers[Timer.KEEPALIVE] = now + pause_s

    def _flush(self) -> tuple[Output, ...]:
        outputs = tuple(self._outputs)
        self._outputs.clear()
        return outputs
