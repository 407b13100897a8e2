"""Communities: spelled, read and spelled again; the octets are those of the RFCs."""

from __future__ import annotations

import pytest

from lbctl.model.community import ExtendedCommunity, parse_community
from lbctl.model.outcome import Problem
from tests.support.bgp_cases import BAD_NUMBERS, GOOD_NUMBERS


@pytest.mark.parametrize("text", GOOD_NUMBERS)
def test_a_community_reads_back_as_it_is_spelled(text: str) -> None:
    found = parse_community(text, "here")
    assert not isinstance(found, Problem)
    assert parse_community(str(found), "here") == found


@pytest.mark.parametrize(("text", "why"), BAD_NUMBERS.items())
def test_a_wrong_community_is_refused_with_what_is_wrong(text: str, why: str) -> None:
    found = parse_community(text, "here")
    assert isinstance(found, Problem)
    assert (found.path, why in found.message) == ("here", True)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        # Type 0x00 (two-octet AS, RFC 4360 3.1) and 0x02 (four-octet AS, RFC 5668 2).
        ("extended:rt:64500:258", "00 02 fb f4 00 00 01 02"),
        ("extended:soo:64500:258", "00 03 fb f4 00 00 01 02"),
        ("extended:rt:65551:258", "02 02 00 01 00 0f 01 02"),
        ("extended:0x4004fbf44b189680", "40 04 fb f4 4b 18 96 80"),
    ],
)
def test_an_extended_community_has_the_octets_of_its_type(text: str, octets: str) -> None:
    assert parse_community(text, "") == ExtendedCommunity(bytes.fromhex(octets))


def test_octets_that_no_word_spells_are_shown_as_they_are() -> None:
    small_as_in_four_octets = ExtendedCommunity(bytes.fromhex("02020000fbf40001"))
    assert str(small_as_in_four_octets) == "extended:0x02020000fbf40001"


def test_a_long_text_is_cut_in_the_message() -> None:
    found = parse_community("9" * 100_000, "")
    assert isinstance(found, Problem)
    assert len(found.message) < 300
