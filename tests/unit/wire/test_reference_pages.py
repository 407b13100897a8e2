"""The pages about ARP, BGP and NDP name tests as their proof: every one of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("page", ["arp.md", "bgp.md", "ndp.md"])
def test_every_test_that_a_page_names_exists(page):
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/reference" / page).read_text()))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", sources))
    assert named
    assert named - defined == set()
