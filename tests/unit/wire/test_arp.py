"""ARP frames: forms of RFC 826 and RFC 5227, and what is no ARP frame."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from speaker.wire import arp
from speaker.wire.error import WireError
from speaker.wire.ethernet import BROADCAST, UNKNOWN, Mac

MAC, ASKER = Mac(bytes.fromhex("02005e005301")), Mac(bytes.fromhex("02005e005302"))
ADDRESS, CLIENT = IPv4Address("192.0.2.10"), IPv4Address("198.51.100.1")
REQUEST = arp.request(mac=ASKER, sender=CLIENT, target=ADDRESS)


def test_the_gratuitous_request_is_an_announcement_without_a_target_hardware_address():
    frame = arp.gratuitous_request(mac=MAC, address=ADDRESS)
    assert (frame.destination, frame.target_mac) == (BROADCAST, UNKNOWN)
    assert (frame.is_announcement, frame.is_probe, frame.claims_sender) == (True, False, True)


def test_the_gratuitous_reply_names_its_sender_as_target_hardware_address():
    frame = arp.gratuitous_reply(mac=MAC, address=ADDRESS)
    assert frame.operation is arp.Operation.REPLY
    assert frame.destination == BROADCAST
    assert frame.sender_mac == frame.target_mac == MAC
    assert frame.sender == frame.target == ADDRESS


def test_a_probe_claims_nothing():
    frame = arp.probe(mac=ASKER, target=ADDRESS)
    assert (frame.is_probe, frame.claims_sender, frame.is_announcement) == (True, False, False)


def test_a_reply_is_no_announcement_even_with_equal_addresses():
    assert not arp.gratuitous_reply(mac=MAC, address=ADDRESS).is_announcement


@pytest.mark.parametrize(
    ("frame", "gratuitous"),
    [
        pytest.param(arp.gratuitous_request(mac=MAC, address=ADDRESS), True, id="request-form"),
        pytest.param(arp.gratuitous_reply(mac=MAC, address=ADDRESS), True, id="reply-form"),
        pytest.param(arp.request(mac=MAC, sender=ADDRESS, target=CLIENT), False, id="question"),
        pytest.param(
            arp.reply(mac=MAC, address=ADDRESS, to_mac=ASKER, to=CLIENT), False, id="answer"
        ),
        pytest.param(arp.probe(mac=MAC, target=IPv4Address(0)), False, id="no-address"),
    ],
)
def test_only_a_claim_to_all_about_itself_is_gratuitous(frame, gratuitous):
    assert frame.is_gratuitous is gratuitous


def changed(offset, *values):
    frame = bytearray(REQUEST.encode())
    frame[offset : offset + len(values)] = bytes(values)
    return bytes(frame)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        pytest.param(REQUEST.encode()[:13], "no room for its header", id="no-header"),
        pytest.param(REQUEST.encode()[:41], "shorter than 42", id="truncated"),
        pytest.param(changed(12, 0x86, 0xDD), "is not ARP", id="ethertype"),
        pytest.param(changed(14, 0, 6), "hardware type 6", id="hardware-type"),
        pytest.param(changed(16, 0x86, 0xDD), "protocol 0x86dd", id="protocol"),
        pytest.param(changed(20, 0, 3), "operation 3", id="reverse-arp"),
    ],
)
def test_what_is_no_arp_frame_is_refused_with_a_sentence(frame, words):
    with pytest.raises(WireError, match=words):
        arp.decode_arp(frame)
    assert not arp.is_request(frame)


def test_a_request_from_a_group_address_is_not_answered():
    assert arp.is_request(REQUEST.encode())
    assert not arp.is_request(changed(6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF))
