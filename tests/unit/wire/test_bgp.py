"""BGP messages: golden bytes, packing, faults with their codes. Oracles: test_bgp_oracles.py."""

from __future__ import annotations

import struct
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address

import pytest

from lbctl.model.address import Family
from lbctl.model.route import Prefix
from speaker.wire.bgp import decode_open, encode_attributes, encode_open
from speaker.wire.bgp_fault import FaultError, Notification, cease
from speaker.wire.bgp_frame import (
    KEEPALIVE,
    FrameReader,
    MessageType,
    check_update,
    decode_notification,
    decode_route_refresh,
    encode_notification,
    end_of_rib,
)
from speaker.wire.bgp_messages import GracefulRestart, OpenMessage, PathAttributes
from speaker.wire.bgp_update import announce, withdraw
from tests.support.bgp import cidr

BOTH = frozenset(Family)
MARKER = "ff" * 16
HOP, HOP6 = IPv4Address("192.0.2.11"), IPv6Address("2001:db8::11")
OPEN = OpenMessage(
    asn=65551,
    hold_time_s=90,
    identifier=IPv4Address("192.0.2.11"),
    families=BOTH,
    graceful=GracefulRestart(restarting=True, time_s=120, forwarding=BOTH),
)
FULL = PathAttributes(
    local_preference=250,
    communities=(64496 << 16 | 7, 0xFFFF0000),
    extended_communities=(bytes.fromhex("400400fc49742400"),),
    large_communities=((65551, 1, 4294967295),),
)


PLAIN = PathAttributes()


def packed(attributes=PLAIN, *, asn=64496, internal=False, wide=True, hop=HOP):
    return encode_attributes(
        attributes, local_asn=asn, internal=internal, four_octet_asn=wide, next_hop=hop
    )


def frames(data):
    return list(FrameReader().feed(data))


def fault_of(data):
    with pytest.raises(FaultError) as caught:
        frames(data)
    return caught.value.notification


# --- Golden bytes: what leaves the machine, byte by byte


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        pytest.param(KEEPALIVE, "001304", id="keepalive"),
        pytest.param(
            encode_open(OPEN),
            "0051 01 04 5ba0 005a c000020b 34"
            "0206 01 04 0001 00 01"
            "0206 01 04 0002 00 01"
            "0206 41 04 0001000f"
            "0202 02 00"
            "0208 05 06 0001 0001 0002"
            "020c 40 0a 8078 0001 01 80 0002 01 80",
            id="open-with-every-capability",
        ),
        pytest.param(
            encode_open(
                OpenMessage(
                    asn=64496,
                    hold_time_s=0,
                    identifier=IPv4Address("192.0.2.11"),
                    families=frozenset({Family.IPV6}),
                    extended_next_hop=False,
                    route_refresh=False,
                )
            ),
            "002d 01 04 fbf0 0000 c000020b 10 0206 01 04 0002 00 01 0206 41 04 0000fbf0",
            id="open-ipv6-only",
        ),
        pytest.param(
            encode_open(
                OpenMessage(
                    asn=64496,
                    hold_time_s=9,
                    identifier=IPv4Address("192.0.2.11"),
                    families=frozenset({Family.IPV4}),
                    four_octet_asn=False,
                    route_refresh=False,
                    extended_next_hop=False,
                    graceful=GracefulRestart(restarting=False, time_s=4095, forwarding=BOTH),
                )
            ),
            "0033 01 04 fbf0 0009 c000020b 16"
            "0206 01 04 0001 00 01 020c 40 0a 0fff 0001 01 80 0002 01 80",
            id="open-graceful-after-a-mere-reset",
        ),
        pytest.param(
            encode_notification(cease(2, "node drained")),
            "0022 03 06 02 0c 6e6f646520647261696e6564",
            id="shutdown",
        ),
        pytest.param(encode_notification(cease(10)), "0015 03 06 0a", id="bfd-down"),
        pytest.param(end_of_rib(Family.IPV4), "0017 02 0000 0000", id="end-of-rib-ipv4"),
        pytest.param(
            end_of_rib(Family.IPV6), "001d 02 0000 0006 80 0f 03 0002 01", id="end-of-rib-ipv6"
        ),
        pytest.param(
            *announce(Family.IPV4, HOP, packed(), [cidr("198.51.100.7/32")]),
            "0030 02 0000 0014 40 01 01 00 40 02 06 02 01 0000fbf0 40 03 04 c000020b 20 c6336407",
            id="ipv4-external",
        ),
        pytest.param(
            *announce(
                Family.IPV6,
                HOP6,
                packed(PathAttributes(local_preference=250), internal=True, hop=None),
                [cidr("2001:db8:1::/48"), cidr("::/0")],
            ),
            "0046 02 0000 002f"
            "90 0e 001d 0002 01 10 20010db8000000000000000000000011 00 30 20010db80001 00"
            "40 01 01 00 40 02 00 40 05 04 000000fa",
            id="ipv6-internal",
        ),
        pytest.param(
            *announce(Family.IPV4, HOP6, packed(hop=None), [cidr("198.51.100.0/25")]),
            "0042 02 0000 002b"
            "90 0e 001a 0001 01 10 20010db8000000000000000000000011 00 19 c6336400"
            "40 01 01 00 40 02 06 02 01 0000fbf0",
            id="rfc8950",
        ),
        pytest.param(
            *withdraw(Family.IPV4, [cidr("198.51.100.7/32"), cidr("0.0.0.0/0")]),
            "001d 02 0006 20 c6336407 00 0000",
            id="withdraw-ipv4",
        ),
        pytest.param(
            *withdraw(Family.IPV6, [cidr("2001:db8:1::/48")]),
            "0025 02 0000 000e 90 0f 000a 0002 01 30 20010db80001",
            id="withdraw-ipv6",
        ),
    ],
)
def test_the_bytes_are_these(message, golden):
    golden = golden.replace(" ", "")
    assert message.hex() == MARKER + golden


@pytest.mark.parametrize(
    ("attributes", "how", "golden"),
    [
        pytest.param(
            FULL,
            {"internal": True},
            "40010100 400200 400304c000020b 400504000000fa c00808fbf00007ffff0000"
            "c01008400400fc49742400 c0200c0001000f00000001ffffffff",
            id="every-attribute",
        ),
        pytest.param(
            PathAttributes(local_preference=250),
            {},
            "40010100 4002060201 0000fbf0 400304c000020b",
            id="local-preference-stays-inside",
        ),
        pytest.param(
            PathAttributes(),
            {"internal": True},
            "40010100 400200 400304c000020b 40050400000064",
            id="local-preference-100-when-nothing-is-said",
        ),
        pytest.param(
            PathAttributes(),
            {"asn": 65551, "wide": False},
            "40010100 4002040201 5ba0 c01106 0201 0001000f 400304c000020b",
            id="as4-path-for-a-peer-of-two-bytes",
        ),
        pytest.param(
            PathAttributes(),
            {"asn": 64496, "wide": False},
            "40010100 4002040201 fbf0 400304c000020b",
            id="two-bytes",
        ),
    ],
)
def test_the_bytes_of_attributes_are_these(attributes, how, golden):
    assert packed(attributes, **how).hex() == golden.replace(" ", "")


# --- Packing


@pytest.mark.parametrize(
    ("family", "hop", "count", "messages"),
    [
        (Family.IPV4, HOP, 10_000, 13),
        (Family.IPV6, HOP6, 10_000, 43),
        (Family.IPV4, HOP6, 10_000, 13),
    ],
)
def test_ten_thousand_prefixes_are_packed_into_few_full_updates(family, hop, count, messages):
    if family is Family.IPV4:
        prefixes = [Prefix(4, int(IPv4Address("198.18.0.0")) + n, 32) for n in range(count)]
    else:
        base = int(IPv6Address("2001:db8::"))
        prefixes = [Prefix(6, base + n, 128) for n in range(count)]
    plain = packed(hop=HOP if hop is HOP and family is Family.IPV4 else None)
    updates = list(announce(family, hop, plain, prefixes))
    assert len(updates) == messages
    assert max(map(len, updates)) <= 4096
    assert all(len(one) > 4096 - 20 for one in updates[:-1])
    for one in updates:
        (frame,) = frames(one)
        check_update(frame.body)


def test_the_most_attributes_leave_room_for_prefixes():
    most = PathAttributes(
        local_preference=1,
        communities=tuple(range(63)),
        extended_communities=tuple(struct.pack("!Q", n) for n in range(63)),
        large_communities=tuple((n, n, n) for n in range(63)),
    )
    prefixes = [cidr("2001:db8::1/128")]
    (update,) = announce(
        Family.IPV6, HOP6, packed(most, internal=True, wide=False, hop=None), prefixes
    )
    assert len(update) < 4096 // 2


@pytest.mark.parametrize(
    "given",
    [
        {"communities": tuple(range(65))},
        {"extended_communities": (b"short",)},
        {"large_communities": tuple((n, n, n) for n in range(65))},
    ],
)
def test_attributes_that_could_not_be_sent_are_refused(given):
    with pytest.raises(ValueError, match="communit"):
        PathAttributes(**given)


# --- Reading


def test_messages_come_out_of_any_cut_of_the_stream():
    stream = encode_open(OPEN) + KEEPALIVE + end_of_rib(Family.IPV6) + KEEPALIVE
    whole = [frame.type for frame in frames(stream)]
    assert whole == [
        MessageType.OPEN,
        MessageType.KEEPALIVE,
        MessageType.UPDATE,
        MessageType.KEEPALIVE,
    ]
    for size in (1, 2, 18, 19, 20, 23):
        reader = FrameReader()
        got = [
            frame.type
            for start in range(0, len(stream), size)
            for frame in reader.feed(stream[start : start + size])
        ]
        assert got == whole


def header(length, kind, marker=b"\xff" * 16):
    return marker + struct.pack("!HB", length, kind)


@pytest.mark.parametrize(
    ("data", "code", "subcode", "told"),
    [
        pytest.param(header(19, 4, b"\xff" * 15 + b"\xfe"), 1, 1, b"", id="marker"),
        pytest.param(header(18, 4), 1, 2, b"\0\x12", id="18-bytes"),
        pytest.param(header(0, 4), 1, 2, b"\0\0", id="0-bytes"),
        pytest.param(header(4097, 2), 1, 2, b"\x10\x01", id="4097-bytes"),
        pytest.param(header(65535, 2), 1, 2, b"\xff\xff", id="65535-bytes"),
        pytest.param(header(20, 4), 1, 2, b"\0\x14", id="keepalive-with-a-body"),
        pytest.param(header(28, 1), 1, 2, b"\0\x1c", id="open-too-short"),
        pytest.param(header(22, 2), 1, 2, b"\0\x16", id="update-too-short"),
        pytest.param(header(20, 3), 1, 2, b"\0\x14", id="notification-too-short"),
        pytest.param(header(24, 5), 1, 2, b"\0\x18", id="refresh-too-long"),
        pytest.param(header(19, 0), 1, 3, b"\0", id="type-0"),
        pytest.param(header(19, 6), 1, 3, b"\6", id="type-6"),
    ],
)
def test_each_fault_of_a_header_has_its_code_and_data(data, code, subcode, told):
    assert fault_of(data) == Notification(code=code, subcode=subcode, data=told)


@pytest.mark.parametrize(
    "body", ["00010000", "00000001", "ffff0000", "0000ffff", "000400000000", "0002000000"]
)
def test_an_update_whose_lengths_do_not_fit_is_malformed(body):
    with pytest.raises(FaultError) as caught:
        check_update(bytes.fromhex(body))
    fault = caught.value.notification
    assert (fault.code, fault.subcode) == (3, 1)


def open_body(parameters, version=4, length=None):
    size = len(parameters) if length is None else length
    return struct.pack("!BHHLB", version, 64500, 90, 0xC0000201, size) + parameters


@pytest.mark.parametrize(
    ("body", "code", "subcode"),
    [
        pytest.param(open_body(b"", version=3), 2, 1, id="version-3"),
        pytest.param(open_body(b"", version=5), 2, 1, id="version-5"),
        pytest.param(open_body(b"\1\1\0"), 2, 5, id="authentication-parameter"),
        pytest.param(open_body(b"\x63\1\0"), 2, 4, id="unknown-parameter"),
        pytest.param(open_body(b"\2\4\1\4"), 2, 0, id="parameter-past-the-end"),
        pytest.param(open_body(b"\2\3\1\4\0"), 2, 0, id="capability-past-the-end"),
        pytest.param(open_body(b"", length=9), 2, 0, id="parameters-past-the-end"),
        pytest.param(open_body(b"\2\0", length=0), 2, 0, id="bytes-after-the-parameters"),
        pytest.param(open_body(b"\xff", length=255), 2, 0, id="extended-length-cut"),
        pytest.param(open_body(b"\2\4\x41\2\0\1"), 2, 0, id="asn-of-two-bytes"),
    ],
)
def test_each_fault_of_an_open_has_its_code(body, code, subcode):
    with pytest.raises(FaultError) as caught:
        decode_open(body)
    fault = caught.value.notification
    assert (fault.code, fault.subcode) == (code, subcode)


def test_a_version_is_answered_with_ours():
    with pytest.raises(FaultError) as caught:
        decode_open(open_body(b"", version=3))
    assert caught.value.notification.data == b"\0\4"


def test_an_open_without_capabilities_offers_ipv4_and_two_bytes_of_asn():
    message = decode_open(open_body(b""))
    assert message.families == {Family.IPV4}
    assert (message.asn, message.four_octet_asn) == (64500, False)
    assert (message.route_refresh, message.extended_next_hop) == (False, False)
    assert message.graceful is None


def test_an_unknown_capability_is_named_and_does_not_matter():
    message = decode_open(open_body(b"\2\5\xc8\3abc" + b"\2\6\1\4\0\2\0\1"))
    assert message.others == (200,)
    assert message.families == {Family.IPV6}


@pytest.mark.parametrize("length", [255, 20, 1])
def test_an_open_with_extended_parameters_is_read(length):
    parameters = b"\2\0\6\1\4\0\2\0\1"
    body = open_body(b"\xff" + struct.pack("!H", len(parameters)) + parameters, length=length)
    assert decode_open(body).families == {Family.IPV6}


@pytest.mark.parametrize(
    ("body", "family"),
    [
        ("00010001", Family.IPV4),
        ("00020001", Family.IPV6),
        ("00010101", Family.IPV4),
        ("00010002", None),
        ("00190046", None),
    ],
)
def test_a_request_for_routes_names_a_family_of_ours_or_none(body, family):
    assert decode_route_refresh(bytes.fromhex(body)) is family


def test_words_of_a_shutdown_are_cut_between_characters_and_read_back():
    told = cease(2, "é" * 100)
    assert len(told.data) == 1 + 128
    assert decode_notification(encode_notification(told)[19:]).text == "é" * 64
    assert cease(3, "no room for words").data == b""


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Notification(code=6, subcode=1), "6/1 Maximum Number of Prefixes Reached"),
        (Notification(code=6, subcode=200), "6/200 Cease"),
        (Notification(code=99, subcode=1), "99/1 unknown"),
        (cease(4, "bye\r\nnow"), '6/4 Administrative Reset: "bye  now"'),
        (
            Notification(code=6, subcode=2, data=b"\xff\xfe\xfd"),
            '6/2 Administrative Shutdown: "��"',
        ),
    ],
)
def test_a_notification_is_told_by_its_name(told, words):
    assert str(told) == words


def test_an_image_needs_no_user_for_exabgps_daemon():
    script = """
import pwd
def nobody(name):
    raise KeyError(name)
pwd.getpwnam = nobody
import speaker.wire.bgp
"""
    subprocess.run([sys.executable, "-c", script], check=True)
