"""The filters, run by an interpreter: rows of frames. The laws are in tests/property/test_bpf.py."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from speaker.fast.bpf import arp_program, covering_prefixes, ndp_program
from speaker.wire import arp, ndp
from speaker.wire.ethernet import Mac
from tests.support.bpf_interpreter import OTHER_HOST, run_program

A, B = Mac(bytes.fromhex("02005e005301")), Mac(bytes.fromhex("02005e005302"))
OURS4, CLIENT4 = IPv4Address("192.0.2.10"), IPv4Address("198.51.100.1")
OURS6, CLIENT6 = IPv6Address("2001:db8::10"), IPv6Address("2001:db8:1::1")
ARP = arp_program(covering_prefixes([int(OURS4)], width=32))
NDP = ndp_program(covering_prefixes([int(OURS6)], width=128))


@pytest.mark.parametrize(
    ("frame", "accepted"),
    [
        pytest.param(arp.request(mac=A, sender=CLIENT4, target=OURS4), True, id="request"),
        pytest.param(arp.probe(mac=A, target=OURS4), True, id="probe"),
        pytest.param(arp.gratuitous_request(mac=A, address=OURS4), True, id="claim-request"),
        pytest.param(arp.gratuitous_reply(mac=A, address=OURS4), True, id="claim-reply"),
        pytest.param(
            arp.reply(mac=A, address=OURS4, to_mac=B, to=CLIENT4), True, id="unicast-claim"
        ),
        pytest.param(arp.request(mac=A, sender=OURS4, target=CLIENT4), True, id="asks-as-us"),
        pytest.param(arp.request(mac=A, sender=CLIENT4, target=CLIENT4), False, id="foreign"),
        pytest.param(
            arp.reply(mac=A, address=CLIENT4, to_mac=B, to=OURS4), False, id="reply-to-us"
        ),
    ],
)
def test_the_arp_filter_passes_questions_and_claims_of_our_addresses(frame, accepted):
    assert bool(run_program(ARP, frame.encode())) is accepted


@pytest.mark.parametrize(
    ("frame", "accepted"),
    [
        pytest.param(ndp.solicitation(mac=A, source=CLIENT6, target=OURS6), True, id="ns"),
        pytest.param(ndp.solicitation(mac=A, source=ndp.UNSPECIFIED, target=OURS6), True, id="dad"),
        pytest.param(ndp.unsolicited_advertisement(mac=A, address=OURS6), True, id="na"),
        pytest.param(ndp.solicitation(mac=A, source=OURS6, target=CLIENT6), False, id="foreign-ns"),
        pytest.param(ndp.unsolicited_advertisement(mac=A, address=CLIENT6), False, id="foreign-na"),
    ],
)
def test_the_ndp_filter_passes_questions_and_claims_of_our_addresses(frame, accepted):
    assert bool(run_program(NDP, frame.encode())) is accepted


def test_other_icmpv6_and_other_ipv6_are_rejected():
    frame = bytearray(ndp.solicitation(mac=A, source=CLIENT6, target=OURS6).encode())
    router = bytes(frame[:54]) + b"\x86" + bytes(frame[55:])
    tcp = bytes(frame[:20]) + b"\x06" + bytes(frame[21:])
    assert (run_program(NDP, router), run_program(NDP, tcp)) == (0, 0)


@pytest.mark.parametrize(
    ("program", "frame"),
    [
        (ARP, arp.request(mac=A, sender=CLIENT4, target=OURS4)),
        (NDP, ndp.solicitation(mac=A, source=CLIENT6, target=OURS6)),
    ],
    ids=["arp", "ndp"],
)
def test_frames_for_another_host_are_rejected_in_promiscuous_mode(program, frame):
    assert run_program(program, frame.encode())
    assert not run_program(program, frame.encode(), packet_type=OTHER_HOST)


def test_without_addresses_nothing_passes():
    frame = arp.request(mac=A, sender=CLIENT4, target=OURS4).encode()
    assert run_program(arp_program(()), frame) == 0
    assert run_program(ndp_program(()), frame) == 0


def test_few_addresses_are_covered_exactly():
    addresses = {int(OURS4) + 5 * number for number in range(64)}
    prefixes = covering_prefixes(addresses, width=32)
    assert {prefix.network for prefix in prefixes} == addresses
    assert {prefix.length for prefix in prefixes} == {32}


def test_a_full_block_is_one_prefix():
    block = range(int(IPv4Address("192.0.2.0")), int(IPv4Address("192.0.2.255")) + 1)
    assert [prefix.length for prefix in covering_prefixes(block, width=32)] == [24]


def test_a_lower_limit_gives_fewer_prefixes_that_still_cover_everything():
    addresses = [int(IPv4Address("198.18.0.0")) + 3 * number for number in range(500)]
    for limit in (32, 4, 1):
        prefixes = covering_prefixes(addresses, width=32, limit=limit)
        assert len(prefixes) == limit
        assert all(any(one in prefix for prefix in prefixes) for one in addresses)
