"""Metrics of pools: sums of counters that saturate stay within what the page says."""

from __future__ import annotations

import pytest

from lbctl.controller.gauges import pool_samples
from lbctl.model.names import PoolName

LIMIT = 2**63 - 1


@pytest.mark.parametrize(
    ("counters", "totals"),
    [
        ((1, 2, 30, 400), (433, 31, 402)),
        ((1, 5, 30, LIMIT), (31 + LIMIT, 31, LIMIT)),
        ((1, 5, 30, LIMIT - 5), (31 + LIMIT, 31, LIMIT)),
        ((1, 5, 30, LIMIT - 6), (30 + LIMIT, 31, LIMIT - 1)),
    ],
)
def test_the_totals_of_a_pool_saturate_for_each_family(
    counters: tuple[int, int, int, int], totals: tuple[int, int, int]
) -> None:
    found = {
        sample.name.removeprefix("metallb_allocator_"): sample.value
        for sample in pool_samples(PoolName("p"), counters)
    }
    names = ("addresses_total", "ipv4_addresses_total", "ipv6_addresses_total")
    assert tuple(found[name] for name in names) == totals
    assert found["addresses_in_use_total"] == counters[0] + counters[1]
