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


def test_each_row_about_bgp_names_a_test_or_leans_on_the_row_above():
    lines = (ROOT / "docs/reference/bgp.md").read_text().splitlines()
    rules = {number for number, line in enumerate(lines) if line.startswith("|---")}
    rows = [
        line
        for number, line in enumerate(lines)
        if line.startswith("|") and not {number, number + 1} & rules
    ]
    assert len(rows) > 50
    assert [row for row in rows if "`test_" not in row and "the same |" not in row] == []
