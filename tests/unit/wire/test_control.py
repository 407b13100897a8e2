"""The control protocol: versions, limits, tolerance, messages that are wrong in one field."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from lbctl.model.names import Incarnation, LinkName, NodeName
from speaker.wire.control import (
    MAX_FRAME,
    VERSION,
    Applied,
    CountersRequest,
    Decoder,
    Delta,
    Entry,
    Epoch,
    Hello,
    Refused,
    Table,
    Version,
    encode,
    greet,
)
from speaker.wire.error import WireError

HELLO = Hello(incarnation=Incarnation("7"), node=NodeName("node-a"))
ENTRY = {"address": "192.0.2.10", "links": ["eth0"], "epoch": [1, 2], "mode": "own"}


def frame_of(value):
    body = json.dumps(value).encode()
    return len(body).to_bytes(4, "big") + body


def test_a_frame_reads_as_length_and_json():
    stream = encode(HELLO)
    assert int.from_bytes(stream[:4], "big") == len(stream) - 4
    assert json.loads(stream[4:]) == {
        "kind": "hello",
        "version": str(VERSION),
        "node": "node-a",
        "incarnation": "7",
    }


def test_unknown_kinds_are_counted_and_skipped():
    decoder = Decoder()
    stream = frame_of({"kind": "weather"}) + encode(CountersRequest())
    assert decoder.feed(stream) == [CountersRequest()]
    assert decoder.ignored == 1


def test_unknown_fields_are_skipped():
    value = {"kind": "applied", "revision": 3, "refused": [], "mood": {"good": True}}
    assert Decoder().feed(frame_of(value)) == [Applied(revision=3)]


def test_an_entry_announces_unless_told_otherwise():
    value = {"kind": "delta", "revision": 1, "upsert": [ENTRY], "remove": []}
    entry = Entry(
        address=ip_address("192.0.2.10"),
        links=(LinkName("eth0"),),
        epoch=Epoch(generation=1, number=2),
    )
    assert Decoder().feed(frame_of(value)) == [Delta(revision=1, upsert=(entry,))]


def test_an_lb_speaker_that_knows_nothing_of_router_links_has_none():
    """A frame of 1.1; a `Delta` without the field leaves them as they are."""
    table = {"kind": "table", "revision": 1, "entries": [], "links": ["eth0"], "peers": []}
    delta = {"kind": "delta", "revision": 2, "upsert": [], "remove": []}
    assert Decoder().feed(frame_of(table) + frame_of(delta)) == [
        Table(revision=1, entries=(), links=(LinkName("eth0"),), peers=(), router_links=()),
        Delta(revision=2, router_links=None),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param([], "message: expected an object", id="list"),
        pytest.param({}, "message.kind: expected a string", id="no-kind"),
        pytest.param({"kind": "applied"}, "message.revision", id="no-revision"),
        pytest.param({"kind": "applied", "revision": True}, "whole number", id="flag"),
        pytest.param({"kind": "applied", "revision": -1}, "whole number", id="negative"),
        pytest.param(
            {"kind": "hello", "version": "one", "incarnation": "1"}, "MAJOR.MINOR", id="version"
        ),
        pytest.param(
            {"kind": "delta", "revision": 1, "upsert": [ENTRY | {"address": "192.0.2.999"}]},
            r"message.upsert\[0\].address: expected an IP address",
            id="address",
        ),
        pytest.param(
            {"kind": "delta", "revision": 1, "upsert": [ENTRY, ENTRY | {"epoch": [1]}]},
            r"message.upsert\[1\].epoch",
            id="epoch",
        ),
        pytest.param(
            {"kind": "delta", "revision": 1, "upsert": [ENTRY | {"mode": "maybe"}]},
            "own or yield",
            id="mode",
        ),
        pytest.param(
            {"kind": "table", "revision": 1, "entries": [], "links": [], "peers": ["x"]},
            "not a hardware address",
            id="peer",
        ),
        pytest.param(
            {"kind": "delta", "revision": 1, "upsert": [], "remove": [], "router_links": [7]},
            "message.router_links",
            id="router-links",
        ),
    ],
)
def test_a_wrong_field_is_named(value, words):
    with pytest.raises(WireError, match=words):
        Decoder().feed(frame_of(value))


def test_a_length_above_the_limit_is_refused_before_it_is_read():
    with pytest.raises(WireError, match="above"):
        Decoder().feed((MAX_FRAME + 1).to_bytes(4, "big"))


def test_nesting_without_end_is_refused():
    with pytest.raises(WireError, match="not JSON"):
        Decoder().feed((100_000).to_bytes(4, "big") + b"[" * 100_000)


def test_an_end_inside_a_frame_is_an_error():
    decoder = Decoder()
    decoder.end()
    decoder.feed(encode(HELLO)[:-1])
    with pytest.raises(WireError, match="into a frame"):
        decoder.end()


def test_the_limit_holds_a_table_of_ten_thousand_addresses():
    entries = tuple(
        Entry(
            address=ip_address("2001:db8:ffff:ffff:ffff:ffff:ffff:0") + number,
            links=(LinkName("enp193s0f0np0"), LinkName("enp193s0f1np1")),
            epoch=Epoch(generation=2**40, number=2**40),
        )
        for number in range(10_000)
    )
    table = Table(revision=1, entries=entries, links=(), peers=())
    assert len(encode(table)) < MAX_FRAME / 3


@pytest.mark.parametrize(
    ("first", "words"),
    [
        pytest.param(Refused(message="too old"), "too old", id="refused"),
        pytest.param(CountersRequest(), "not Hello", id="another-message"),
        pytest.param(
            Hello(incarnation=Incarnation("1"), version=Version(major=2, minor=0)),
            "same major version",
            id="other-major",
        ),
    ],
)
def test_a_connection_that_begins_otherwise_is_refused_with_a_sentence(first, words):
    (message,) = Decoder().feed(encode(first))
    with pytest.raises(WireError, match=words):
        greet(message)


def test_another_minor_version_is_welcome():
    newer = Hello(
        incarnation=Incarnation("1"), version=Version(major=VERSION.major, minor=VERSION.minor + 1)
    )
    assert greet(newer) == newer


def test_another_major_version_gets_its_sentence_whatever_its_hello_looks_like():
    (message,) = Decoder().feed(frame_of({"kind": "hello", "version": "9.1", "who": 3}))
    with pytest.raises(WireError, match=r"9\.1"):
        greet(message)
