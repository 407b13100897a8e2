"""Laws of BGP: the router's table is the last wish; no bytes break a session's shape."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from lbctl.model.address import Family
from speaker.protocols.bgp_inputs import Received, Wanted
from speaker.protocols.bgp_routes import Route
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp import decode_open, encode_open
from speaker.wire.bgp_fault import FaultError
from speaker.wire.bgp_frame import FrameReader, MessageType, check_update, encode_message
from speaker.wire.bgp_messages import PathAttributes
from tests.support.bgp import CLOSED, MESSAGES, Bench, Router, cidr, make_open

PREFIXES = [
    *(cidr(f"198.51.100.{n}/32") for n in range(5)),
    *(cidr(f"2001:db8:1::{n}/128") for n in range(5)),
    cidr("203.0.113.0/24"),
    cidr("203.0.113.0/25"),
]
ROUTES = [
    Route(),
    Route(attributes=PathAttributes(communities=(1, 2))),
    Route(attributes=PathAttributes(large_communities=((1, 2, 3),))),
    Route(next_hop=ip_address("2001:db8::99")),
]
tables = st.dictionaries(st.sampled_from(PREFIXES), st.sampled_from(ROUTES))
REFRESHES = [encode_message(MessageType.ROUTE_REFRESH, body) for body in (b"\0\1\0\1", b"\0\2\0\1")]
steps = st.lists(
    st.one_of(
        tables.map(lambda table: ("want", table)),
        st.just(("flap", None)),
        st.just(("stall", None)),
        st.just(("drain", None)),
        st.sampled_from(REFRESHES).map(lambda data: ("refresh", data)),
    ),
    max_size=25,
)


def expected(table):
    """The dumb oracle: what a router shows that holds `table`, learnt on one fresh session."""
    return Bench().reach(State.ESTABLISHED, table=table).router.table


@given(steps)
def test_whatever_was_wanted_refreshed_or_flapped_the_router_ends_up_with_the_last_table(history):
    bench = Bench()
    last = {}
    bench.reach(State.ESTABLISHED, table=last)
    for step, detail in history:
        match step:
            case "want":
                last = detail
                bench.tell(Wanted(table=last))
            case "stall":
                bench.stalled = True
            case "drain":
                bench.drain()
            case "refresh":
                bench.hear(detail)
            case "flap":
                bench.tell(CLOSED)
                bench.stalled = False
                bench.advance(5)
                bench.reach(State.ESTABLISHED, table=last)
    bench.drain()
    assert bench.router.table == expected(last)
    assert bench.router.ended == [Family.IPV4, Family.IPV6]


@given(st.binary(max_size=200), st.integers(0, 3))
def test_bytes_that_are_no_message_end_the_session_with_a_notification_or_wait(data, where):
    state = [State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED, State.ESTABLISHED][where]
    bench = Bench().reach(state)
    router = bench.router
    bench.tell(Received(data=data))
    if bench.state is State.IDLE:
        assert router.notified is not None
        assert router.notified.code in (1, 2, 3, 5)


@given(
    st.sampled_from(sorted(MESSAGES)),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    st.integers(0, 100),
    st.sampled_from([State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED]),
)
def test_a_mutated_or_cut_message_never_raises(name, changes, cut, state):
    data = bytearray(MESSAGES[name])
    for place, value in changes:
        data[place % len(data)] = value
    bench = Bench().reach(state)
    bench.tell(Received(data=bytes(data[: len(data) - cut % len(data)])))
    bench.advance(60)
    assert bench.state in State


@given(st.binary(max_size=300))
def test_an_open_is_read_or_refused_by_a_fault(parameters):
    for length in (len(parameters) % 256, 255):
        body = encode_open(make_open())[19:28] + bytes([length]) + parameters
        with contextlib.suppress(FaultError):
            decode_open(body)


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_mutated_open_is_read_or_refused_by_a_fault(changes):
    body = bytearray(encode_open(make_open())[19:])
    for place, value in changes:
        body[place % len(body)] = value
    with contextlib.suppress(FaultError):
        decode_open(bytes(body))


@given(st.binary(min_size=4, max_size=60))
def test_an_update_passes_the_check_exactly_when_its_lengths_fit(body):
    withdrawn = int.from_bytes(body[:2], "big")
    fits = withdrawn + 4 <= len(body)
    if fits:
        attributes = int.from_bytes(body[2 + withdrawn : 4 + withdrawn], "big")
        fits = 4 + withdrawn + attributes <= len(body)
    try:
        check_update(body)
    except FaultError:
        assert not fits
    else:
        assert fits


@given(st.lists(st.sampled_from(sorted(MESSAGES)), max_size=8), st.integers(1, 70))
def test_messages_are_the_same_in_any_cut_of_the_stream(names, size):
    stream = b"".join(MESSAGES[name] for name in names)
    whole = list(FrameReader().feed(stream))
    reader = FrameReader()
    cut = [
        frame
        for start in range(0, len(stream), size)
        for frame in reader.feed(stream[start : start + size])
    ]
    assert cut == whole
    assert [encode_message(frame.type, frame.body) for frame in whole] == [
        MESSAGES[name] for name in names
    ]


def test_the_oracle_reads_what_it_is_told():
    router = Router()
    router.read(MESSAGES["UPDATE"])
    assert router.ended == [Family.IPV4]
