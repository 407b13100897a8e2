"""What the cluster is told of a session: its course, and nothing that moves by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lbctl.model.address import Family
from lbctl.model.membership import Member
from lbctl.model.names import Incarnation, NodeName
from lbctl.model.reason import Reason
from lbctl.model.session import Direction, RouteCounts, SessionState
from lbctl.plan.explain_peer import session_advice
from lbctl.plan.telling import session_answer
from speaker.agent.sessions import (
    LASTING_S,
    MANY_REFRESHES,
    MANY_UPDATES,
    Course,
    course_after,
    session_report,
)
from speaker.protocols.bgp_inputs import Changed
from speaker.protocols.bgp_report import Cause, Down
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp import encode_open
from speaker.wire.bgp_fault import Notification, cease
from speaker.wire.bgp_frame import MessageType, encode_message, encode_notification
from tests.support.bgp import Bench, make_open
from tests.support.bgp import make_peer as peer_config
from tests.support.bgp_builders import make_peer

ME = Member(node=NodeName("node1"), incarnation=Incarnation("7"))
BEGIN = Course(since="2026-01-01T00:00:00Z")
LATER, MUCH_LATER = "2026-01-01T00:00:05Z", "2026-01-01T00:00:09Z"
UP = Changed(state=State.ESTABLISHED)
OPEN_SENT, ESTABLISHED = State.OPEN_SENT, State.ESTABLISHED
ONLY_IPV6 = frozenset({Family.IPV6})
MARKER = b"\xff" * 16
EVERY_BYTE = 1 << 20


def failed(detail="Connection refused", cause=Cause.CONNECT_FAILED, notification=None):
    down = Down(cause=cause, detail=detail, notification=notification)
    return Changed(state=State.IDLE, down=down)


def test_coming_up_is_told_with_its_time():
    course, turn = course_after(BEGIN, UP, LATER)
    assert (course.up, course.since, course.resets) == (True, LATER, 0)
    assert turn.up


def test_going_down_is_told_with_its_reason_and_counted():
    up, _ = course_after(BEGIN, UP, LATER)
    down, turn = course_after(up, failed("nothing heard for 9 s"), MUCH_LATER)
    assert (down.up, down.since, down.resets) == (False, MUCH_LATER, 1)
    assert turn.text == "nothing heard for 9 s"


def test_an_attempt_that_fails_as_the_one_before_is_no_news():
    once, first = course_after(BEGIN, failed(), LATER)
    again, second = course_after(once, failed(), MUCH_LATER)
    other, third = course_after(again, failed("No route to host"), MUCH_LATER)
    assert first is not None
    assert second is None
    assert third is not None
    assert other.since == BEGIN.since


def test_a_notification_that_repeats_itself_keeps_its_first_time():
    told = Notification(code=2, subcode=2)
    change = failed("the peer says no", Cause.NOTIFIED, told)
    once, _ = course_after(BEGIN, change, LATER)
    again, _ = course_after(once, change, MUCH_LATER)
    assert again.notified == once.notified
    assert (once.notified.direction, once.notified.at) == (Direction.RECEIVED, LATER)
    sent, _ = course_after(again, failed("bad OPEN", Cause.REFUSED, told), MUCH_LATER)
    assert (sent.notified.direction, sent.notified.at) == (Direction.SENT, MUCH_LATER)


WANTED = Counter({Family.IPV4: 2, Family.IPV6: 1})


def report(status, course=BEGIN, **fields):
    values = {
        "now": status.since if status is not None else 0.0,
        "wanted": WANTED,
        "absent": "",
        "own": None,
        "other": None,
    }
    return session_report(ME, make_peer(), course, status=status, **values | fields)


def established():
    course, _ = course_after(BEGIN, UP, LATER)
    bench = Bench().reach(State.ESTABLISHED)
    bench.session.acknowledge(EVERY_BYTE)
    return bench.session.status, course


def test_an_established_session_tells_what_was_agreed_on():
    status, course = established()
    told = report(status, course)
    assert told.state is SessionState.ESTABLISHED
    assert told.ipv4 == RouteCounts(wanted=2, sent=2, acknowledged=2)
    assert told.ipv6 == RouteCounts(wanted=1, sent=1, acknowledged=1)
    assert told.capabilities == (
        "ipv4-unicast",
        "ipv6-unicast",
        "4-octet-asn",
        "route-refresh",
        "extended-next-hop",
        "graceful-restart",
    )
    assert told.hold_time_s > 0
    assert told.message == ""


def test_a_peer_that_sends_many_routes_is_named_with_the_cure():
    status, course = established()
    assert report(replace(status, updates_received=MANY_UPDATES - 1), course).message == ""
    told = report(replace(status, updates_received=MANY_UPDATES), course)
    assert "filter them at the router" in told.message
    assert session_answer(told) == (
        Reason.ANNOUNCED,
        f"the peer has confirmed all 3 routes: {told.message}",
    )


def test_a_peer_that_asks_for_the_routes_again_and_again_is_named():
    status, course = established()
    assert report(replace(status, refreshes_received=MANY_REFRESHES - 1), course).message == ""
    told = report(replace(status, refreshes_received=MANY_REFRESHES), course)
    assert "again and again" in told.message


def test_a_capability_that_only_the_peer_has_is_told_by_its_number():
    status, course = established()
    assert status.terms is not None
    odd = replace(status.terms, peer=replace(status.terms.peer, others=(73, 200)))
    told = report(replace(status, terms=odd), course)
    assert told.capabilities[-2:] == ("peer-only-73", "peer-only-200")


def test_what_tcp_has_not_confirmed_is_not_said_to_be_acknowledged():
    _, course = established()
    told = report(Bench().reach(State.ESTABLISHED).session.status, course)
    assert (told.routes().sent, told.routes().acknowledged) == (3, 0)


def test_a_peer_that_is_called_in_vain_says_why_and_nothing_that_moves():
    bench = Bench()
    course, _ = course_after(BEGIN, failed(), LATER)
    told = report(bench.session.status, course)
    assert told.state is SessionState.CONNECT
    assert told.message == "Connection refused"
    bench.reach(State.OPEN_SENT)
    assert report(bench.session.status, course).state is SessionState.CONNECT


@pytest.mark.parametrize(
    ("state", "told", "words"),
    [
        (State.CONNECT, SessionState.CONNECT, "the peer is being called"),
        (State.OPEN_SENT, SessionState.OPEN_SENT, "not answered our OPEN"),
        (State.OPEN_CONFIRM, SessionState.OPEN_CONFIRM, "not confirmed our OPEN"),
    ],
)
def test_a_handshake_is_told_when_it_stands_still_and_not_while_it_goes_on(state, told, words):
    status = Bench().reach(state).session.status
    fast = report(status, now=status.since + LASTING_S - 0.1)
    assert (fast.state, fast.message) == (SessionState.CONNECT, "the peer is being called")
    slow = report(status, now=status.since + LASTING_S)
    assert slow.state is told
    assert words in slow.message
    assert session_advice(slow)
    again, _ = course_after(BEGIN, failed("nothing heard for 30 s"), LATER)
    assert report(status, again, now=status.since + LASTING_S).message == "nothing heard for 30 s"


def test_a_peer_that_is_not_called_says_what_is_missing():
    told = report(None, absent="spec.passwordSecret: there is no Secret x")
    assert told.state is SessionState.IDLE
    assert told.message == "spec.passwordSecret: there is no Secret x"


def refused(state, *messages, **config):
    """Return the report on a session whose peer said `messages` in `state`."""
    bench = Bench(peer_config(**config)).reach(state)
    [change] = [one for one in bench.hear(*messages) if isinstance(one, Changed)]
    course, _ = course_after(BEGIN, change, LATER)
    return report(bench.session.status, course)


def opened(**fields):
    return encode_open(make_open(**fields))


VERSION_3 = encode_message(MessageType.OPEN, b"\3" + b"\0" * 9)
TOO_LONG = MARKER + (4097).to_bytes(2, "big") + b"\2"
BAD_UPDATE = encode_message(MessageType.UPDATE, b"\0\xff\0\0")


@pytest.mark.parametrize(
    ("told", "message", "advice"),
    [
        (refused(OPEN_SENT, VERSION_3), "2/1", "The router speaks another version"),
        (refused(OPEN_SENT, opened(asn=64511)), "2/2", "The AS numbers disagree"),
        (refused(OPEN_SENT, opened(identifier=IPv4Address(0))), "2/3", "The router identifiers"),
        (refused(OPEN_SENT, opened(hold_time_s=1)), "2/6", "The hold times disagree"),
        (
            refused(OPEN_SENT, opened(families=frozenset({Family.IPV4})), families=ONLY_IPV6),
            "2/7",
            "The router offers none of the address families",
        ),
        (refused(OPEN_SENT, b"HTTP/1.1 400 Bad Request\r\n"), "1/1", "What answers there"),
        (refused(ESTABLISHED, TOO_LONG), "1/2", "What answers there"),
        (refused(ESTABLISHED, BAD_UPDATE), "3/1", "This is a fault of the router"),
        (refused(ESTABLISHED, opened()), "5/3", "This is a fault of the router"),
        (
            refused(ESTABLISHED, encode_notification(cease(1))),
            "6/1 Maximum Number of Prefixes Reached; it is called again after 1 to 10 minutes",
            "The router takes fewer",
        ),
        (
            refused(OPEN_SENT, encode_notification(Notification(code=2, subcode=5))),
            "2/5",
            "refuses",
        ),
        (refused(OPEN_SENT, encode_notification(Notification(code=2, subcode=7))), "2/7", "asks"),
    ],
    ids=lambda one: one if isinstance(one, str) and "/" in one else "",
)
def test_what_a_peer_says_wrong_is_in_the_message_and_has_advice(told, message, advice):
    assert message in told.message
    assert told.last_notification.text in told.message
    assert advice in session_advice(told)


@pytest.mark.parametrize(
    ("state", "message", "advice"),
    [
        (OPEN_SENT, "nothing heard for", "look at the path"),
        (ESTABLISHED, "nothing heard for 30 s (told the peer: 4/0", "look at the path"),
    ],
)
def test_silence_is_in_the_message_and_has_advice(state, message, advice):
    bench = Bench().reach(state)
    [change] = [
        one for one in bench.advance(300) if isinstance(one, Changed) and one.down is not None
    ][:1]
    told = report(bench.session.status, course_after(BEGIN, change, LATER)[0])
    assert told.message.startswith(message)
    assert advice in session_advice(told)
