"""What a pool says and shows: its ranges, and its counters, whoever edited them."""

from __future__ import annotations

from typing import Any

import pytest

from lbctl.kube.crds.ip_address_pool import parse_pool
from lbctl.kube.patches import pool_patch
from lbctl.model.configuration import Verdict
from lbctl.model.reason import Reason

NOW = "2026-01-01T00:00:00Z"
RIGHT = {"assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 255, "availableIPv6": 0}
GOOD = Verdict(accepted=True, reason=Reason.ACCEPTED, message="the pool is in effect")


def patch(status: dict[str, Any]) -> Any:
    found = parse_pool(
        {
            "metadata": {"name": "p", "namespace": "lb", "resourceVersion": "1"},
            "spec": {"addresses": ["192.0.2.0/24"]},
            "status": status,
        }
    )
    assert found is not None
    return pool_patch(found, GOOD, (1, 0, 255, 0), NOW, own_schema=False)


@pytest.mark.parametrize(
    "edited",
    [{}, {**RIGHT, "assignedIPv4": 200}, {"assignedIPv4": 1}, {**RIGHT, "availableIPv6": "x"}],
)
def test_counters_that_are_missing_or_edited_are_put_right(edited: dict[str, Any]) -> None:
    assert patch(edited)["status"] == RIGHT


def test_right_counters_are_not_written_again() -> None:
    assert patch(RIGHT) is None


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [("192.0.2.7/24", "192.0.2.0-192.0.2.255"), ("2001:db8::7/127", "2001:db8::6-2001:db8::7")],
)
def test_host_bits_of_a_cidr_are_masked_away(spelled: str, meant: str) -> None:
    found = parse_pool({"metadata": {"name": "p"}, "spec": {"addresses": [spelled]}})
    assert found is not None
    assert found.spec is not None
    assert [str(block) for block in found.spec.ranges] == [meant]
