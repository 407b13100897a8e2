"""Addresses are read as `ipaddress` reads them, only faster."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbctl.model.address import Range, parse_address, parse_range, why_not_external
from lbctl.model.outcome import Problem

_LIKE_FOUR = st.from_regex(r"\A[ 0-9a-f.:%-]{0,4}(\.[0-9]{0,4}){2,4} ?\Z")


@settings(max_examples=300)
@given(_LIKE_FOUR | st.ip_addresses().map(str) | st.text(max_size=20))
@example("198.51.100.07")
@example("198.51.100.256")
@example("198.51.100.1 ")
@example("198.51.100.\uff11")
@example("0.0.0.0")
@example("255.255.255.255")
@example("::ffff:198.51.100.1")
def test_a_text_is_the_address_that_ipaddress_reads(text):
    try:
        expected = ip_address(text.strip())
    except ValueError:
        expected = None
    if "%" in text:
        expected = None
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["fe80::1%eth0", "198.51.100.1/32", "", "shop.example"])
def test_what_is_more_than_an_address_is_none(text):
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("192.0.2.1", "write 192.0.2.1/32"),
        (" 2001:db8::1 ", "write 2001:db8::1/128"),
        ("shop", "write 192.0.2.0/24 or 192.0.2.1-192.0.2.9"),
    ],
)
def test_a_range_without_a_length_is_told_the_length_of_its_family(text, hint):
    problem = parse_range(text, "spec.addresses[0]")
    assert isinstance(problem, Problem)
    assert problem.message == f"{text.strip()!r} is neither a CIDR nor first-last; {hint}"


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("0.255.255.255/32", "1.0.0.0/32"),
        ("127.0.0.0/32", "126.255.255.255/32"),
        ("127.255.255.255/32", "128.0.0.0/32"),
        ("169.254.0.0/32", "169.253.255.255/32"),
        ("169.254.255.255/32", "169.255.0.0/32"),
        ("224.0.0.0/32", "223.255.255.255/32"),
        ("239.255.255.255/32", "192.0.2.0/24"),
        ("240.0.0.0/32", "198.18.0.0/15"),
        ("255.255.255.255/32", "100.64.0.0/10"),
        ("::/128", "::2/128"),
        ("::1/128", "::7f00:1/128"),
        ("fe80::/128", "fe7f:ffff::/32"),
        ("febf::/16", "fec0::/16"),
        ("ff00::/128", "feff::/16"),
        ("ffff:ffff::/32", "2001:db8::/32"),
        ("0.0.0.0/0", "fc00::/7"),
    ],
)
def test_addresses_that_no_client_can_reach_are_known_to_the_last(inside, outside):
    for text, known in ((inside, True), (outside, False)):
        block = parse_range(text, "")
        assert isinstance(block, Range)
        assert (why_not_external(block) is not None) == known


def test_a_range_across_several_names_each():
    block = parse_range("239.0.0.0-241.0.0.0", "")
    assert isinstance(block, Range)
    assert why_not_external(block) == (
        "224.0.0.0/4, which are groups and no host's; and of 240.0.0.0/4, which are reserved and "
        "which most hosts refuse"
    )
