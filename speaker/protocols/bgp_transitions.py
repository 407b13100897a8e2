"""The state machine of a BGP session as data: RFC 4271 8.2.2 for a speaker that only calls. Pure.

One row per state and event: the next state and what is done, in order. `speaker.protocols.bgp_session`
carries the rows out; the tests read them one by one.

Deviation: the state Active is not there. It waits for the peer to call, and we do not listen; after
a failure the machine waits in Idle, where RFC 4271 8.1.1 has its IdleHoldTimer, and calls again.
For the same reason there are no collisions to resolve (6.8).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class State(enum.StrEnum):
    """Name the states as RFC 4271 8.2.2 does."""

    IDLE = "Idle"
    CONNECT = "Connect"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


class Event(enum.Enum):
    """Name the events; the comment is the number in RFC 4271 8.1."""

    START = enum.auto()  # 1: the table to announce is complete
    STOP = enum.auto()  # 2
    IDLE_HOLD_EXPIRED = enum.auto()  # 13
    CONNECT_RETRY_EXPIRED = enum.auto()  # 9
    HOLD_EXPIRED = enum.auto()  # 10
    KEEPALIVE_EXPIRED = enum.auto()  # 11
    SEND_HOLD_EXPIRED = enum.auto()  # 29 of RFC 9687
    CONNECTED = enum.auto()  # 16
    CONNECTION_FAILED = enum.auto()  # 18
    OPEN = enum.auto()  # 19
    HEADER_ERROR = enum.auto()  # 21
    OPEN_ERROR = enum.auto()  # 22
    NOTIFICATION = enum.auto()  # 24, 25
    KEEPALIVE = enum.auto()  # 26
    UPDATE = enum.auto()  # 27
    UPDATE_ERROR = enum.auto()  # 28
    ROUTE_REFRESH = enum.auto()  # RFC 2918
    REFRESH_EXPIRED = enum.auto()  # a pause of ours between two answers to it


class Act(enum.Enum):
    """Name what a row does."""

    OPEN_TCP = enum.auto()
    SEND_OPEN = enum.auto()
    ACCEPT_OPEN = enum.auto()
    """Answer with a KEEPALIVE, start the timers that were agreed on."""
    SEND_KEEPALIVE = enum.auto()
    RESTART_HOLD = enum.auto()
    ESTABLISH = enum.auto()
    """Begin to send the table."""
    RESEND = enum.auto()
    """Send the families again that the peer asked for; not before the pause is over."""
    NOTIFY = enum.auto()
    """Send the NOTIFICATION of the occurrence, if it has one."""
    DROP = enum.auto()
    """Close the connection, stop every timer."""
    RECORD = enum.auto()
    """Remember why, and count the failure."""
    BACK_OFF = enum.auto()
    """Start the IdleHoldTimer."""


@dataclass(frozen=True, slots=True)
class Row:
    """Hold one transition. Positional: it is written in a table."""

    next: State
    acts: tuple[Act, ...] = ()


_CALL: Final = Row(State.CONNECT, (Act.OPEN_TCP,))
_LOST: Final = Row(State.IDLE, (Act.DROP, Act.RECORD, Act.BACK_OFF))
_REFUSE: Final = Row(State.IDLE, (Act.NOTIFY, Act.DROP, Act.RECORD, Act.BACK_OFF))
_STOP: Final = Row(State.IDLE, (Act.NOTIFY, Act.DROP, Act.RECORD))

TRANSITIONS: Final[dict[State, dict[Event, Row]]] = {
    State.IDLE: {
        Event.START: _CALL,
        Event.IDLE_HOLD_EXPIRED: _CALL,
        Event.STOP: Row(State.IDLE, (Act.DROP, Act.RECORD)),
    },
    State.CONNECT: {
        Event.STOP: Row(State.IDLE, (Act.DROP, Act.RECORD)),
        Event.CONNECT_RETRY_EXPIRED: Row(State.CONNECT, (Act.DROP, Act.RECORD, Act.OPEN_TCP)),
        Event.CONNECTED: Row(State.OPEN_SENT, (Act.SEND_OPEN,)),
        Event.CONNECTION_FAILED: _LOST,
    },
    State.OPEN_SENT: {
        Event.STOP: _STOP,
        Event.HOLD_EXPIRED: _REFUSE,
        Event.CONNECTION_FAILED: _LOST,
        Event.OPEN: Row(State.OPEN_CONFIRM, (Act.ACCEPT_OPEN,)),
        Event.HEADER_ERROR: _REFUSE,
        Event.OPEN_ERROR: _REFUSE,
        Event.NOTIFICATION: _LOST,
    },
    State.OPEN_CONFIRM: {
        Event.STOP: _STOP,
        Event.HOLD_EXPIRED: _REFUSE,
        Event.KEEPALIVE_EXPIRED: Row(State.OPEN_CONFIRM, (Act.SEND_KEEPALIVE,)),
        Event.CONNECTION_FAILED: _LOST,
        Event.HEADER_ERROR: _REFUSE,
        Event.NOTIFICATION: _LOST,
        Event.KEEPALIVE: Row(State.ESTABLISHED, (Act.RESTART_HOLD, Act.ESTABLISH)),
    },
    State.ESTABLISHED: {
        Event.STOP: _STOP,
        Event.HOLD_EXPIRED: _REFUSE,
        Event.SEND_HOLD_EXPIRED: _REFUSE,
        Event.KEEPALIVE_EXPIRED: Row(State.ESTABLISHED, (Act.SEND_KEEPALIVE,)),
        Event.CONNECTION_FAILED: _LOST,
        Event.HEADER_ERROR: _REFUSE,
        Event.UPDATE_ERROR: _REFUSE,
        Event.NOTIFICATION: _LOST,
        Event.KEEPALIVE: Row(State.ESTABLISHED, (Act.RESTART_HOLD,)),
        Event.UPDATE: Row(State.ESTABLISHED, (Act.RESTART_HOLD,)),
        Event.ROUTE_REFRESH: Row(State.ESTABLISHED, (Act.RESEND,)),
        Event.REFRESH_EXPIRED: Row(State.ESTABLISHED, (Act.RESEND,)),
    },
}

MESSAGES: Final = frozenset({Event.OPEN, Event.KEEPALIVE, Event.UPDATE, Event.ROUTE_REFRESH})
UNEXPECTED: Final = {State.OPEN_SENT: 1, State.OPEN_CONFIRM: 2, State.ESTABLISHED: 3}
"""Subcode of the Finite State Machine Error that answers a message without a row (RFC 6608 3)."""


def row_of(state: State, event: Event) -> Row | None:
    """Return what happens, or None for nothing.

    A message that its state does not expect ends the session (RFC 4271 8.2.2, "any other event");
    events of a connection or a timer that is over have nothing to end.
    """
    row = TRANSITIONS[state].get(event)
    if row is None and event in MESSAGES and state in UNEXPECTED:
        return _REFUSE
    return row
