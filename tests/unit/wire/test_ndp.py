"""NDP messages: validity by RFC 4861 7.1, groups, forms of answer and announcement."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from speaker.wire import ndp
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac

MAC, ASKER = Mac(bytes.fromhex("02005e005301")), Mac(bytes.fromhex("02005e005302"))
ADDRESS, CLIENT = IPv6Address("2001:db8::10"), IPv6Address("2001:db8:1::1")
QUESTION = ndp.solicitation(mac=ASKER, source=CLIENT, target=ADDRESS)


def test_a_solicitation_goes_to_the_group_of_its_target():
    assert str(QUESTION.destination) == "ff02::1:ff00:10"
    assert QUESTION.destination_mac == bytes.fromhex("3333ff000010")
    assert QUESTION.options == (ndp.NdpOption(kind=ndp.SOURCE_LINK_ADDRESS, value=ASKER),)


def test_a_dad_probe_has_neither_source_nor_option():
    probe = ndp.solicitation(mac=ASKER, source=ndp.UNSPECIFIED, target=ADDRESS)
    assert (probe.is_probe, probe.options) == (True, ())


def test_the_announcement_overrides_and_is_not_solicited():
    frame = ndp.unsolicited_advertisement(mac=MAC, address=ADDRESS)
    assert (frame.override, frame.solicited, frame.router) == (True, False, False)
    assert frame.destination == ndp.ALL_NODES
    assert frame.claimed_mac == MAC


def test_an_advertisement_to_one_asker_is_not_unsolicited():
    question = ndp.solicitation(mac=ASKER, source=CLIENT, target=ADDRESS).encode()
    answer = ndp.decode_ndp(ndp.AdvertisementPatcher(MAC).patch(question))
    assert isinstance(answer, ndp.NeighborAdvertisement)
    assert not answer.is_unsolicited
    assert ndp.unsolicited_advertisement(mac=MAC, address=ADDRESS).is_unsolicited


@pytest.mark.parametrize("source", [CLIENT, ndp.UNSPECIFIED], ids=["asker", "dad"])
def test_a_patched_answer_is_a_valid_advertisement(source):
    question = ndp.solicitation(mac=ASKER, source=source, target=ADDRESS).encode()
    answer = ndp.decode_ndp(ndp.AdvertisementPatcher(MAC).patch(question))
    assert isinstance(answer, ndp.NeighborAdvertisement)
    dad = source == ndp.UNSPECIFIED
    assert answer.destination == (ndp.ALL_NODES if dad else CLIENT)
    assert (answer.solicited, answer.override) == (not dad, True)
    assert (answer.source, answer.target, answer.claimed_mac) == (ADDRESS, ADDRESS, MAC)


def test_a_solicitation_without_the_source_option_is_answered_too():
    bare = ndp.NeighborSolicitation(
        destination_mac=QUESTION.destination_mac,
        source_mac=ASKER,
        source=CLIENT,
        destination=QUESTION.destination,
        target=ADDRESS,
    ).encode()
    assert ndp.is_solicitation(bare)
    assert ndp.AdvertisementPatcher(MAC).patch(bare)[:6] == ASKER


def test_an_advertisement_without_the_option_claims_the_frames_source():
    frame = ndp.NeighborAdvertisement(
        destination_mac=ASKER,
        source_mac=MAC,
        source=ADDRESS,
        destination=CLIENT,
        target=ADDRESS,
        router=False,
        solicited=True,
        override=True,
    )
    assert ndp.decode_ndp(frame.encode()).claimed_mac == MAC


def changed(offset, *values):
    frame = bytearray(QUESTION.encode())
    frame[offset : offset + len(values)] = bytes(values)
    return bytes(frame)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        pytest.param(QUESTION.encode()[:77], "shorter than 78", id="truncated"),
        pytest.param(QUESTION.encode()[:80], "truncated", id="truncated-option"),
        pytest.param(changed(12, 8, 0), "is not IPv6", id="ethertype"),
        pytest.param(changed(14, 0x40), "IP version 4", id="version"),
        pytest.param(changed(20, 0), "next header 0", id="extension-header"),
        pytest.param(changed(21, 254), "hop limit 254", id="routed"),
        pytest.param(changed(54, 134), "type 134", id="router-advertisement"),
        pytest.param(changed(55, 1), "code 1", id="code"),
        pytest.param(changed(56, 0, 0), "checksum", id="checksum"),
    ],
)
def test_an_invalid_solicitation_is_refused_with_a_sentence(frame, words):
    with pytest.raises(WireError, match=words):
        ndp.decode_ndp(frame)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        pytest.param({"target": IPv6Address("ff02::1")}, "multicast address", id="group-target"),
        pytest.param({"source": ndp.UNSPECIFIED}, "source link-layer", id="dad-with-option"),
        pytest.param(
            {"source": ndp.UNSPECIFIED, "destination": ndp.ALL_NODES},
            "solicited-node group",
            id="dad-to-all",
        ),
    ],
)
def test_a_well_formed_solicitation_that_breaks_a_rule_is_refused(broken, words):
    fields = {
        "destination_mac": QUESTION.destination_mac,
        "source_mac": ASKER,
        "source": CLIENT,
        "destination": QUESTION.destination,
        "target": ADDRESS,
        "options": QUESTION.options,
    }
    with pytest.raises(WireError, match=words):
        ndp.decode_ndp(ndp.NeighborSolicitation(**fields | broken).encode())


def test_a_multicast_advertisement_must_not_be_solicited():
    frame = bytearray(ndp.unsolicited_advertisement(mac=MAC, address=ADDRESS).encode())
    frame[58] |= 0x40
    check = int.from_bytes(frame[56:58], "big") - 0x4000
    frame[56:58] = (check % 0xFFFF).to_bytes(2, "big")
    with pytest.raises(WireError, match="multicast group"):
        ndp.decode_ndp(bytes(frame))


@pytest.mark.parametrize("size", [0, 9], ids=["zero", "past-the-end"])
def test_an_option_of_impossible_length_is_refused(size):
    frame = bytearray(QUESTION.encode())
    frame[79] = size
    check = int.from_bytes(frame[56:58], "big") - (size - 1)
    frame[56:58] = (check % 0xFFFF).to_bytes(2, "big")
    with pytest.raises(WireError, match="option"):
        ndp.decode_ndp(bytes(frame))
