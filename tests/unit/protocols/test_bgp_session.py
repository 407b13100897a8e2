"""The session machine, row by row, with unequal values on the two ends."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from lbctl.model.address import Family
from speaker.protocols.bgp_inputs import (
    Calling,
    Changed,
    Connect,
    Connected,
    Disconnect,
    Drained,
    Stop,
    Wanted,
)
from speaker.protocols.bgp_peer import DynamicAsn
from speaker.protocols.bgp_report import Cause
from speaker.protocols.bgp_session import OPEN_HOLD_S, SEND_HOLD_S
from speaker.protocols.bgp_transitions import TRANSITIONS, Act, Event, State
from speaker.wire.bgp import decode_open, encode_open
from speaker.wire.bgp_fault import SHUTDOWN, Notification, cease
from speaker.wire.bgp_frame import KEEPALIVE, MessageType, encode_message, encode_notification
from tests.support.bgp import (
    CLOSED,
    FAILED,
    LINK,
    MESSAGES,
    OURS,
    PEER,
    TABLE,
    THEIRS,
    Bench,
    make_open,
    make_peer,
    prefixes_of,
    routes,
)

CONNECTED = Connected(on_link=LINK)
GOODBYE = Stop(goodbye=cease(SHUTDOWN, "drained"))
BAD_MARKER = b"\0" * 19
BAD_UPDATE = encode_message(MessageType.UPDATE, b"\0\xff\0\0")
BAD_OPEN = encode_message(MessageType.OPEN, b"\3" + b"\0" * 9)
ON = (State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED)


def told(bench):
    """What the router of the connection that is over was told last."""
    router = bench.router.before or bench.router
    return router.notified


def cause(bench):
    return bench.session.status.down.cause


ROWS = [
    (State.IDLE, Wanted(table=TABLE), State.CONNECT, None, None),
    (State.CONNECT, CONNECTED, State.OPEN_SENT, None, None),
    (State.CONNECT, FAILED, State.IDLE, Cause.CONNECT_FAILED, None),
    (State.OPEN_SENT, MESSAGES["OPEN"], State.OPEN_CONFIRM, None, None),
    (State.OPEN_SENT, BAD_OPEN, State.IDLE, Cause.REFUSED, (2, 1)),
    (State.OPEN_SENT, MESSAGES["KEEPALIVE"], State.IDLE, Cause.REFUSED, (5, 1)),
    (State.OPEN_SENT, MESSAGES["UPDATE"], State.IDLE, Cause.REFUSED, (5, 1)),
    (State.OPEN_SENT, MESSAGES["REFRESH"], State.IDLE, Cause.REFUSED, (5, 1)),
    (State.OPEN_CONFIRM, MESSAGES["KEEPALIVE"], State.ESTABLISHED, None, None),
    (State.OPEN_CONFIRM, MESSAGES["OPEN"], State.IDLE, Cause.REFUSED, (5, 2)),
    (State.OPEN_CONFIRM, MESSAGES["UPDATE"], State.IDLE, Cause.REFUSED, (5, 2)),
    (State.OPEN_CONFIRM, MESSAGES["REFRESH"], State.IDLE, Cause.REFUSED, (5, 2)),
    (State.ESTABLISHED, MESSAGES["KEEPALIVE"], State.ESTABLISHED, None, None),
    (State.ESTABLISHED, MESSAGES["UPDATE"], State.ESTABLISHED, None, None),
    (State.ESTABLISHED, MESSAGES["REFRESH"], State.ESTABLISHED, None, None),
    (State.ESTABLISHED, MESSAGES["OPEN"], State.IDLE, Cause.REFUSED, (5, 3)),
    (State.ESTABLISHED, BAD_UPDATE, State.IDLE, Cause.REFUSED, (3, 1)),
    *((state, BAD_MARKER, State.IDLE, Cause.REFUSED, (1, 1)) for state in ON),
    *((state, MESSAGES["NOTIFICATION"], State.IDLE, Cause.NOTIFIED, None) for state in ON),
    *((state, CLOSED, State.IDLE, Cause.CONNECTION_LOST, None) for state in ON),
    *((state, GOODBYE, State.IDLE, Cause.STOPPED, (6, 2)) for state in ON),
    *((state, GOODBYE, State.IDLE, Cause.STOPPED, None) for state in (State.IDLE, State.CONNECT)),
    *((state, Stop(goodbye=None), State.IDLE, Cause.STOPPED, None) for state in State),
]


@pytest.mark.parametrize(("state", "happened", "expected", "why", "notified"), ROWS)
def test_each_input_does_in_each_state_what_its_row_says(state, happened, expected, why, notified):
    bench = Bench().reach(state)
    router = bench.router
    outputs = bench.hear(happened) if isinstance(happened, bytes) else bench.tell(happened)
    assert bench.state is expected
    assert (bench.session.status.down is None) if why is None else cause(bench) is why
    fault = router.notified
    assert ((fault.code, fault.subcode) if fault else None) == notified
    assert (Disconnect() in outputs) is (why is not None)
    assert (Connect() in outputs) is (expected is State.CONNECT)
    stopped = why is Cause.STOPPED
    assert (bench.session.deadline is None) is stopped
    assert any(isinstance(one, Changed) for one in outputs) is (expected is not state or stopped)


@pytest.mark.parametrize(
    ("state", "after_s", "why", "notified"),
    [
        pytest.param(State.OPEN_SENT, OPEN_HOLD_S, Cause.HOLD_TIMER, (4, 0), id="no-open"),
        pytest.param(State.OPEN_CONFIRM, 30, Cause.HOLD_TIMER, (4, 0), id="no-keepalive"),
        pytest.param(State.ESTABLISHED, 30, Cause.HOLD_TIMER, (4, 0), id="silence"),
        pytest.param(State.CONNECT, 5, Cause.CONNECT_TIMEOUT, None, id="black-hole"),
    ],
)
def test_each_timer_ends_its_state(state, after_s, why, notified):
    bench = Bench().reach(state)
    router = bench.router
    bench.advance(after_s - 0.001)
    assert bench.state is state
    outputs = bench.advance(0.002)
    assert bench.session.status.down.cause is why
    assert Disconnect() in outputs
    fault = router.notified
    assert ((fault.code, fault.subcode) if fault else None) == notified
    assert bench.state is (State.CONNECT if state is State.CONNECT else State.IDLE)


def test_a_peer_that_does_not_confirm_is_given_up_also_without_a_hold_time():
    bench = Bench(make_peer(hold_time_s=0)).reach(State.OPEN_CONFIRM)
    bench.advance(OPEN_HOLD_S - 0.001)
    assert bench.state is State.OPEN_CONFIRM
    bench.advance(0.002)
    assert bench.session.status.down.detail == "nothing heard for 30 s"
    assert (told(bench).code, told(bench).subcode) == (4, 0)
    confirmed = Bench(make_peer(hold_time_s=0)).reach(State.ESTABLISHED)
    confirmed.advance(10 * OPEN_HOLD_S)
    assert confirmed.state is State.ESTABLISHED


def test_keepalives_leave_while_the_peer_has_not_confirmed():
    bench = Bench(make_peer(keepalive_s=4)).reach(State.OPEN_CONFIRM)
    before = bench.session.counts.sent[MessageType.KEEPALIVE]
    bench.advance(12.5)
    assert bench.session.counts.sent[MessageType.KEEPALIVE] == before + 3
    assert bench.state is State.OPEN_CONFIRM


def test_every_row_of_the_table_is_one_of_the_rows_above():
    fired = {
        Event.START: Wanted,
        Event.STOP: Stop,
        Event.CONNECTED: Connected,
        Event.CONNECTION_FAILED: (type(FAILED), type(CLOSED)),
        Event.OPEN: MESSAGES["OPEN"],
        Event.HEADER_ERROR: BAD_MARKER,
        Event.OPEN_ERROR: BAD_OPEN,
        Event.NOTIFICATION: MESSAGES["NOTIFICATION"],
        Event.KEEPALIVE: MESSAGES["KEEPALIVE"],
        Event.UPDATE: MESSAGES["UPDATE"],
        Event.UPDATE_ERROR: BAD_UPDATE,
        Event.ROUTE_REFRESH: MESSAGES["REFRESH"],
    }
    timers = {event for event in Event if event.name.endswith("_EXPIRED")}

    def tried(state, event, row):
        known = fired[event]
        return any(
            each[0] is state
            and each[2] is row.next
            and (each[1] == known if isinstance(known, bytes) else isinstance(each[1], known))
            for each in ROWS
        )

    missing = [
        (state, event)
        for state, rows in TRANSITIONS.items()
        for event, row in rows.items()
        if event not in timers and not tried(state, event, row)
    ]
    assert missing == []
    assert fired.keys() | timers == set(Event)


def test_a_row_that_drops_the_connection_says_why_and_one_that_goes_on_does_not():
    for rows in TRANSITIONS.values():
        for row in rows.values():
            assert (Act.DROP in row.acts) is (Act.RECORD in row.acts)
            if Act.NOTIFY in row.acts:
                assert row.acts.index(Act.NOTIFY) < row.acts.index(Act.DROP)


# --- Timers


def test_keepalives_leave_at_a_third_of_the_lesser_hold_time_with_jitter():
    bench = Bench(jitter=0.75).reach(State.ESTABLISHED)
    before = bench.session.counts.sent[MessageType.KEEPALIVE]
    for _ in range(4):
        bench.advance(7.5 - 0.001)
        bench.hear(KEEPALIVE)
        assert bench.session.counts.sent[MessageType.KEEPALIVE] == before
        bench.advance(0.001)
        before += 1
        assert bench.session.counts.sent[MessageType.KEEPALIVE] == before


def test_a_configured_keepalive_time_is_used_unless_a_third_of_the_hold_time_is_less():
    for configured, expected in ((4, 4), (25, 10)):
        bench = Bench(make_peer(keepalive_s=configured)).reach(State.ESTABLISHED)
        assert bench.session.status.terms.keepalive_s == expected


def test_no_two_keepalives_leave_within_one_second():
    bench = Bench(jitter=0.75).reach(State.ESTABLISHED, hold_time_s=3)
    before = bench.session.counts.sent[MessageType.KEEPALIVE]
    bench.advance(0.999)
    assert bench.session.counts.sent[MessageType.KEEPALIVE] == before
    bench.advance(0.001)
    assert bench.session.counts.sent[MessageType.KEEPALIVE] == before + 1


def test_an_update_of_ours_stands_for_a_keepalive():
    bench = Bench().reach(State.ESTABLISHED)
    before = bench.session.counts.sent[MessageType.KEEPALIVE]
    bench.advance(9)
    bench.tell(Wanted(table={}))
    bench.advance(9)
    assert bench.session.counts.sent[MessageType.KEEPALIVE] == before
    bench.advance(1)
    assert bench.session.counts.sent[MessageType.KEEPALIVE] == before + 1


@pytest.mark.parametrize("message", ["KEEPALIVE", "UPDATE"])
def test_what_the_peer_sends_puts_the_hold_timer_off(message):
    bench = Bench().reach(State.ESTABLISHED)
    for _ in range(5):
        bench.advance(29)
        bench.hear(MESSAGES[message])
    assert bench.state is State.ESTABLISHED


@pytest.mark.parametrize(("ours", "theirs"), [(0, 30), (90, 0)])
def test_a_hold_time_of_zero_on_one_end_means_no_timers_on_both(ours, theirs):
    bench = Bench(make_peer(hold_time_s=ours)).reach(State.ESTABLISHED, hold_time_s=theirs)
    sent = bench.session.counts.sent[MessageType.KEEPALIVE]
    bench.advance(10_000)
    assert bench.state is State.ESTABLISHED
    assert bench.session.counts.sent[MessageType.KEEPALIVE] == sent


def test_an_early_expire_does_nothing():
    bench = Bench().reach(State.ESTABLISHED)
    due = bench.session.deadline
    assert bench.session.expire(bench.now) == ()
    assert bench.session.deadline == due


# --- Back-off


def pauses(bench, failures):
    found = []
    for _ in range(failures):
        bench.tell(FAILED)
        found.append(bench.session.deadline - bench.now)
        bench.advance(found[-1])
        assert bench.state is State.CONNECT
    return found


def test_the_pause_between_attempts_doubles_up_to_the_connect_time():
    assert pauses(Bench().reach(State.CONNECT), 5) == [1, 2, 4, 5, 5]
    assert pauses(Bench(make_peer(connect_retry_s=1)).reach(State.CONNECT), 3) == [1, 1, 1]
    slow = pauses(Bench(make_peer(connect_retry_s=120)).reach(State.CONNECT), 100)
    assert slow[6:] == [64, *[120] * 93]


def test_the_pause_has_jitter():
    assert pauses(Bench(jitter=0.75).reach(State.CONNECT), 2) == [0.75, 1.5]


def test_a_peer_that_accepts_and_refuses_in_a_circle_is_called_more_and_more_seldom():
    bench = Bench().reach(State.CONNECT)
    begun = bench.now
    for _ in range(10):
        bench.reach(State.ESTABLISHED)
        bench.hear(MESSAGES["NOTIFICATION"])
        bench.advance(bench.session.deadline - bench.now)
    assert bench.now - begun == 1 + 2 + 4 + 7 * 5


def test_a_session_that_lasted_forgives_the_failures_before_it():
    bench = Bench(make_peer(hold_time_s=0)).reach(State.CONNECT)
    pauses(bench, 4)
    bench.reach(State.ESTABLISHED)
    bench.advance(31)
    bench.tell(CLOSED)
    assert bench.session.deadline - bench.now == 1
    assert bench.session.status.down.attempts == 1


@pytest.mark.parametrize("subcode", [1, 8])
def test_a_peer_without_room_is_held_off_for_a_minute_then_two_then_four(subcode):
    refusal = encode_notification(Notification(code=6, subcode=subcode))
    bench = Bench().reach(State.CONNECT)
    found = []
    for _ in range(6):
        bench.reach(State.ESTABLISHED)
        bench.hear(refusal)
        down = bench.session.status.down
        found.append(down.again - bench.now)
        bench.advance(found[-1] - 0.01)
        assert bench.state is State.IDLE
        bench.advance(0.01)
    assert found == [60, 120, 240, 480, 600, 600]
    assert (down.notification.code, down.notification.subcode) == (6, subcode)


def test_a_connection_that_is_never_answered_is_tried_anew_and_advice_is_given():
    bench = Bench().reach(State.CONNECT)
    outputs = bench.advance(14.9)
    assert outputs.count(Connect()) == outputs.count(Disconnect()) == 2
    assert "MD5" not in bench.session.status.down.detail
    bench.advance(0.2)
    assert "MD5" in bench.session.status.down.detail
    assert bench.session.status.down.attempts == 3


# --- OPEN


@pytest.mark.parametrize(
    ("changes", "opened", "notified", "words"),
    [
        pytest.param({}, {"asn": 64511}, (2, 2), "configured is 65551", id="asn"),
        pytest.param({}, {"asn": 0}, (2, 2), "AS 0", id="asn-0"),
        pytest.param(
            {"peer_asn": DynamicAsn.EXTERNAL}, {"asn": 0}, (2, 2), "AS 0", id="any-asn-but-0"
        ),
        pytest.param(
            {"peer_asn": DynamicAsn.EXTERNAL}, {"asn": 23456}, (2, 2), "AS 23456", id="as-trans"
        ),
        pytest.param(
            {"peer_asn": DynamicAsn.INTERNAL}, {}, (2, 2), "64496, as ours", id="not-internal"
        ),
        pytest.param(
            {"peer_asn": DynamicAsn.EXTERNAL}, {"asn": OURS}, (2, 2), "any but", id="not-external"
        ),
        pytest.param({}, {"hold_time_s": 1}, (2, 6), "hold time of 1 s", id="hold-1"),
        pytest.param({}, {"hold_time_s": 2}, (2, 6), "hold time of 2 s", id="hold-2"),
        pytest.param({}, {"identifier": IPv4Address(0)}, (2, 3), "router ID 0.0.0.0", id="id-0"),
        pytest.param(
            {"peer_asn": OURS},
            {"asn": OURS, "identifier": IPv4Address("192.0.2.11")},
            (2, 3),
            "ours",
            id="internal-id",
        ),
        pytest.param(
            {"families": frozenset({Family.IPV6})},
            {"families": frozenset({Family.IPV4})},
            (2, 7),
            "speaks none of: IPv6",
            id="family",
        ),
    ],
)
def test_an_open_that_does_not_fit_is_refused_with_its_code(changes, opened, notified, words):
    bench = Bench(make_peer(**changes)).reach(State.OPEN_SENT)
    bench.hear(encode_open(make_open(**opened)))
    fault = told(bench)
    assert (fault.code, fault.subcode) == notified
    assert words in bench.session.status.down.detail
    assert bench.state is State.IDLE


def test_the_refusal_of_a_version_names_ours():
    bench = Bench().reach(State.OPEN_SENT)
    bench.hear(BAD_OPEN)
    assert told(bench).data == b"\0\4"


def test_the_refusal_of_a_peer_without_our_family_names_the_capability():
    bench = Bench(make_peer(families=frozenset({Family.IPV6}))).reach(State.OPEN_SENT)
    bench.hear(encode_open(make_open(families=frozenset({Family.IPV4}))))
    assert told(bench).data == bytes.fromhex("010400020001")


@pytest.mark.parametrize(
    ("changes", "opened", "internal"),
    [
        pytest.param({}, {}, False, id="external"),
        pytest.param({"peer_asn": OURS}, {"asn": OURS}, True, id="internal"),
        pytest.param({"peer_asn": DynamicAsn.EXTERNAL}, {"asn": 64511}, False, id="any-external"),
        pytest.param({"peer_asn": DynamicAsn.INTERNAL}, {"asn": OURS}, True, id="any-internal"),
        pytest.param({"local_asn": 64500}, {}, False, id="local-asn"),
        pytest.param({"local_asn": THEIRS}, {}, True, id="local-asn-makes-it-internal"),
    ],
)
def test_a_session_is_internal_when_the_peer_sees_its_own_asn(changes, opened, internal):
    bench = Bench(make_peer(**changes)).reach(State.ESTABLISHED, **opened)
    terms = bench.session.status.terms
    assert terms.internal is internal
    assert terms.local_asn == changes.get("local_asn", OURS)
    sent = decode_open(bench.router.frames[0].body)
    assert sent.asn == terms.local_asn


def test_the_same_router_id_in_another_as_is_fine():
    bench = Bench().reach(State.ESTABLISHED, identifier=IPv4Address("192.0.2.11"))
    assert bench.state is State.ESTABLISHED


def test_the_first_open_of_a_process_says_that_it_restarted_and_later_ones_do_not():
    bench = Bench().reach(State.OPEN_SENT)
    assert decode_open(bench.router.frames[0].body).graceful.restarting
    bench.tell(CLOSED)
    bench.advance(1)
    bench.reach(State.ESTABLISHED)
    assert decode_open(bench.router.frames[0].body).graceful.restarting
    bench.tell(CLOSED)
    bench.advance(2)
    bench.reach(State.OPEN_SENT)
    again = decode_open(bench.router.frames[0].body).graceful
    assert not again.restarting
    assert again.time_s == 120
    assert again.forwarding == frozenset(Family)


def test_no_connection_is_opened_before_the_first_table():
    bench = Bench()
    assert bench.session.deadline is None
    assert bench.advance(1000) == []
    assert bench.tell(Wanted(table={}))[0] == Connect()


def test_terms_are_the_lesser_of_both_ends():
    bench = Bench().reach(
        State.ESTABLISHED, families=frozenset({Family.IPV4}), extended_next_hop=False, graceful=None
    )
    terms = bench.session.status.terms
    assert (terms.hold_time_s, terms.keepalive_s) == (30, 10)
    assert terms.families == {Family.IPV4}
    assert not terms.extended_next_hop
    assert not terms.graceful_restart


# --- The end


def test_a_stop_with_words_reaches_the_peer_as_a_shutdown_communication():
    bench = Bench().reach(State.ESTABLISHED)
    bench.tell(Stop(goodbye=cease(SHUTDOWN, "node drained by an operator")))
    assert told(bench).text == "node drained by an operator"
    assert bench.session.deadline is None
    assert bench.tell(Wanted(table={}), CLOSED) == []
    assert bench.state is State.IDLE


def test_a_stop_without_words_says_nothing_so_that_graceful_restart_keeps_the_routes():
    bench = Bench().reach(State.ESTABLISHED)
    bench.tell(Stop(goodbye=None))
    assert told(bench) is None


def test_the_words_of_the_peer_are_told_without_control_characters():
    text = "gone\x1b[31m for\nlunch"
    data = bytes([len(text)]) + text.encode()
    bench = Bench().reach(State.ESTABLISHED)
    bench.hear(encode_notification(Notification(code=6, subcode=2, data=data)))
    detail = bench.session.status.down.detail
    assert detail == 'the peer says 6/2 Administrative Shutdown: "gone [31m for lunch"'


# --- Back-pressure


def test_a_peer_that_reads_nothing_gets_one_batch_and_then_the_latest_wish():
    bench = Bench().reach(State.ESTABLISHED)
    bench.stalled = True
    bench.tell(Wanted(table=routes("198.51.100.7/32")))
    seen = bench.router.updates
    for last in range(50):
        bench.tell(Wanted(table=routes(f"198.51.100.{100 + last}/32")))
    assert bench.router.updates == seen
    bench.drain()
    assert prefixes_of(bench.router.table) == ["198.51.100.149/32"]


@pytest.mark.parametrize(
    ("peer", "source", "lacking"),
    [
        ("2001:db8::1", "fe80::11", True),
        ("2001:db8::1", "2001:db8::11", False),
        ("fe80::1", "fe80::11", False),
        ("192.0.2.1", "192.0.2.11", False),
    ],
)
def test_a_call_without_an_answer_names_its_source_and_whether_the_node_lacks_the_family(
    peer, source, lacking
):
    bench = Bench(make_peer(address=ip_address(peer), interface="eth0")).reach(State.CONNECT)
    bench.tell(Calling(source=ip_address(source)))
    bench.advance(bench.config.connect_retry_s)
    detail = bench.session.status.down.detail
    assert f"to a call from {source}" in detail
    assert ("no other address of the family" in detail) is lacking


def test_a_peer_that_reads_nothing_is_given_up_after_the_send_hold_time():
    bench = Bench().reach(State.ESTABLISHED)
    bench.stalled = True
    bench.tell(Wanted(table={}))
    for _ in range(int(SEND_HOLD_S) // 10 - 1):
        bench.advance(10)
        bench.hear(KEEPALIVE)
    assert bench.state is State.ESTABLISHED
    bench.advance(10)
    assert cause(bench) is Cause.SEND_HOLD_TIMER
    assert told(bench).code == 8


def test_a_peer_that_reads_again_has_the_whole_send_hold_time_anew():
    bench = Bench(make_peer(hold_time_s=0)).reach(State.ESTABLISHED)
    for _ in range(4):
        bench.stalled = True
        bench.tell(Wanted(table=TABLE), Wanted(table={}))
        bench.advance(SEND_HOLD_S - 1)
        bench.drain()
    assert bench.state is State.ESTABLISHED


def test_a_table_is_observed_when_its_last_byte_was_acknowledged():
    bench = Bench().reach(State.ESTABLISHED)
    count = sum(len(frame.body) + 19 for frame in bench.router.frames)
    bench.session.acknowledge(count - 1)
    assert not bench.session.status.observed
    bench.session.acknowledge(count)
    assert bench.session.status.observed
    bench.stalled = True
    bench.tell(Wanted(table={}))
    assert not bench.session.status.observed, "a withdraw is a part of the table"
    bench.session.acknowledge(count + 4096)
    assert bench.session.status.observed
    bench.tell(Wanted(table=TABLE))
    assert not bench.session.status.observed, "it waits for TCP"


def test_the_status_says_what_the_session_has_agreed_on_and_sent():
    bench = Bench().reach(State.ESTABLISHED)
    status = bench.session.status
    assert status.table_sent
    assert status.routes_wanted == 3
    assert status.routes_sent == {Family.IPV4: 2, Family.IPV6: 1}
    assert status.next_hops == {Family.IPV4: LINK[0], Family.IPV6: LINK[1]}
    assert status.terms.peer.identifier == PEER
    assert bench.session.counts.established == 1
    assert bench.tell(Drained()) == []
