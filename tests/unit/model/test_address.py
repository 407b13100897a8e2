"""Addresses are read as `ipaddress` reads them, only faster."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbctl.model.address import parse_address

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
