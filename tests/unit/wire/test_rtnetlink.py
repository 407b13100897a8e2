"""rtnetlink link messages: what is a link's news and what only looks like it."""

from __future__ import annotations

import struct

import pytest

from speaker.wire.error import WireError
from speaker.wire.rtnetlink import (
    DumpDone,
    Ipv6Changed,
    Link,
    LinkGone,
    decode_events,
    dump_request,
)

MAC = bytes.fromhex("02005e005301")
NEWLINK, DELLINK, NEWADDR, NEWROUTE = 16, 17, 20, 24
UNSPEC, BRIDGE, INET6 = 0, 7, 10


def attribute(kind, value):
    raw = struct.pack("=HH", 4 + len(value), kind) + value
    return raw + b"\0" * (-len(raw) % 4)


def message(kind, body):
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def link(kind=NEWLINK, *, family=UNSPEC, hardware=1, index=5, flags=0x41, name=b"eth0\0"):
    body = struct.pack("=BxHiII", family, hardware, index, flags, 0)
    return message(kind, body + attribute(3, name) + attribute(1, MAC))


@pytest.mark.parametrize(
    ("flags", "up", "carrier"),
    [(0x41, True, True), (0x01, True, False), (0x00, False, False)],
    ids=["running", "no-carrier", "down"],
)
def test_a_link_is_told_with_its_state(flags, up, carrier):
    expected = Link(index=5, name="eth0", mac=MAC, up=up, carrier=carrier)
    assert decode_events(link(flags=flags)) == (expected,)


def test_a_link_that_is_not_ethernet_has_no_hardware_address():
    assert decode_events(link(hardware=772))[0].mac is None


@pytest.mark.parametrize(
    ("datagram", "events"),
    [
        pytest.param(link(DELLINK), (LinkGone(index=5),), id="gone"),
        pytest.param(link(DELLINK, family=BRIDGE), (), id="left-a-bridge"),
        pytest.param(link(DELLINK, family=INET6), (Ipv6Changed(index=5),), id="lost-ipv6"),
        pytest.param(
            message(NEWADDR, struct.pack("=BBBBI", INET6, 64, 0, 0, 5)),
            (Ipv6Changed(index=5),),
            id="new-address",
        ),
        pytest.param(message(3, b"\0" * 4), (DumpDone(),), id="done"),
        pytest.param(message(NEWROUTE, b"\0" * 12), (), id="route"),
    ],
)
def test_news_of_other_kinds_is_told_apart(datagram, events):
    assert decode_events(datagram) == events


def test_several_messages_share_a_datagram():
    events = decode_events(link(index=5) + link(index=6, name=b"eth1\0"))
    assert [event.name for event in events] == ["eth0", "eth1"]


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(link()[:-4], id="cut"),
        pytest.param(struct.pack("=IHHII", 3, NEWLINK, 0, 0, 0), id="short-length"),
        pytest.param(message(NEWLINK, b"\0" * 8), id="short-body"),
        pytest.param(message(NEWADDR, b"\0" * 4), id="short-address"),
    ],
)
def test_lengths_that_do_not_fit_are_an_error(datagram):
    with pytest.raises(WireError):
        decode_events(datagram)


def test_the_request_asks_for_a_dump_of_links():
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", dump_request())
    assert (length, kind, flags) == (len(dump_request()), 18, 0x301)
