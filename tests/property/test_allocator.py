"""The laws of the allocator over some hundred histories; `make soak` lives through many more."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.support.allocation_machine import Allocator

Allocator.TestCase.settings = settings(
    max_examples=300,
    stateful_step_count=25,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAllocator = Allocator.TestCase
