"""rtnetlink link messages: what is a link's news and what only looks like it."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface

import pytest

from speaker.wire.error import WireError
from speaker.wire.rtnetlink import (
    AddressGone,
    DumpDone,
    Ipv6Changed,
    KernelAddress,
    KernelLink,
    Link,
    LinkGone,
    Neighbor,
    decode_events,
    decode_inventory,
    decode_neighbors,
    dump_request,
    neighbor_dump_request,
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


def address(kind=NEWADDR, *, family=2, prefix=24, index=5, flags=0, attributes=b""):
    return message(kind, struct.pack("=BBBBI", family, prefix, flags, 0, index) + attributes)


V4, V6 = bytes([192, 0, 2, 11]), bytes.fromhex("20010db8000000010000000000000011")


def test_the_inventory_tells_links_with_mac_and_master():
    raw = link() + attribute(10, struct.pack("=I", 7))
    raw = struct.pack("=I", len(raw)) + raw[4:]
    assert decode_inventory(raw) == (
        KernelLink(index=5, name="eth0", mac="02:00:5e:00:53:01", flags=0x41, master=7),
    )
    assert decode_inventory(link(DELLINK)) == (LinkGone(index=5),)
    assert decode_inventory(link(DELLINK, family=BRIDGE)) == ()


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (
            address(attributes=attribute(1, bytes([192, 0, 2, 99])) + attribute(2, V4)),
            KernelAddress(index=5, interface=ip_interface("192.0.2.11/24"), flags=0),
        ),
        (
            address(family=10, prefix=64, flags=0x80, attributes=attribute(1, V6)),
            KernelAddress(index=5, interface=ip_interface("2001:db8:0:1::11/64"), flags=0x80),
        ),
        (
            address(
                family=10,
                prefix=64,
                flags=0x80,
                attributes=attribute(1, V6) + attribute(8, struct.pack("=I", 0x240)),
            ),
            KernelAddress(index=5, interface=ip_interface("2001:db8:0:1::11/64"), flags=0x240),
        ),
        (
            address(21, attributes=attribute(2, V4)),
            AddressGone(index=5, interface=ip_interface("192.0.2.11/24")),
        ),
    ],
    ids=["local-before-peer", "ipv6", "wide-flags", "gone"],
)
def test_the_inventory_tells_addresses(raw, event):
    assert decode_inventory(raw) == (event,)


@pytest.mark.parametrize(
    "raw",
    [
        address(prefix=33, attributes=attribute(2, V4)),
        message(NEWADDR, b"\2"),
        message(NEWLINK, b"\0" * 4),
        message(2, struct.pack("=i", -1)),
    ],
    ids=["prefix-length", "short-address", "short-link", "refused"],
)
def test_an_inventory_message_that_cannot_be_is_a_wire_error(raw):
    with pytest.raises(WireError):
        decode_inventory(raw)


def test_addresses_of_other_families_are_left_out():
    assert decode_inventory(address(family=12, attributes=attribute(1, V4))) == ()


ROUTER = ip_address("fe80::1")
NEWNEIGH, DELNEIGH = 28, 29
NTF_ROUTER = 0x80
REACHABLE, STALE, FAILED, NOARP = 0x02, 0x04, 0x20, 0x40


def neighbor(
    kind=NEWNEIGH, *, family=INET6, state=STALE, flags=NTF_ROUTER, packed=ROUTER.packed, index=5
):
    body = struct.pack("=BxxxiHBB", family, index, state, flags, 1)
    return message(kind, body + attribute(1, packed) + attribute(2, MAC))


@pytest.mark.parametrize(
    ("raw", "router"),
    [
        pytest.param(neighbor(), True, id="marked"),
        pytest.param(neighbor(state=REACHABLE), True, id="spoken-to"),
        pytest.param(neighbor(flags=0), False, id="a-host"),
        pytest.param(neighbor(flags=0x10 | NTF_ROUTER), True, id="other-flags-beside"),
        pytest.param(neighbor(state=FAILED), False, id="not-found-any-more"),
        pytest.param(neighbor(DELNEIGH), False, id="forgotten"),
    ],
)
def test_a_neighbor_is_a_router_while_it_is_marked_and_can_be_found(raw, router):
    found = Neighbor(index=5, address=ROUTER, mac=MAC.hex(":"), router=router)
    assert decode_neighbors(raw) == (found,)


def test_links_are_told_with_their_neighbors_and_ipv4_is_left_out():
    four = neighbor(family=2, packed=b"\xc0\x00\x02\x01")
    found = decode_neighbors(link() + four + neighbor(packed=b"") + message(3, b"\0" * 4))
    assert [type(one) for one in found] == [KernelLink, DumpDone]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(message(NEWNEIGH, b"\0" * 11), id="cut"),
        pytest.param(message(2, b"\0" * 20), id="refused"),
    ],
)
def test_what_is_no_neighbor_is_said_so(raw):
    with pytest.raises(WireError):
        decode_neighbors(raw)


def test_the_request_asks_for_ipv6_neighbors():
    request = neighbor_dump_request()
    assert struct.unpack("=IHHII", request[:16]) == (28, 30, 0x301, 1, 0)
    assert request[16] == INET6
