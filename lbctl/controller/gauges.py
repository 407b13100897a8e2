"""Read lb-controller's metrics from what it already holds; names are in `lbctl.run.metrics`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from lbctl.api.lease import Leadership
from lbctl.controller.inputs import Inputs
from lbctl.controller.operator import Operator
from lbctl.controller.reconciler import Reconciler
from lbctl.model.names import PoolName
from lbctl.plan.allocation import Counters
from lbctl.plan.free import COUNTER_LIMIT
from lbctl.run.api_samples import reflector_samples
from lbctl.run.metrics import Sample


def input_samples(inputs: Inputs) -> Iterator[Sample]:
    """Yield what the reflectors know about themselves."""
    now = time.monotonic()
    reflectors = {**inputs.reflectors, **inputs.witnesses}
    ages = [age for one in reflectors.values() if (age := one.contact_age_s(now)) is not None]
    if ages:
        yield Sample(name="lbctl_api_contact_age_seconds", value=min(ages))
    yield from reflector_samples(reflectors)


def plan_samples(reconciler: Reconciler, leadership: Leadership) -> Iterator[Sample]:
    """Yield what was planned. Only the leader plans, so only it has pools and Services to show."""
    yield Sample(name="lbctl_controller_leading", value=float(leadership.may_write()))
    yield Sample(name="lbctl_plans_total", value=reconciler.plans)
    yield Sample(name="lbctl_plan_seconds_total", value=reconciler.plan_seconds)
    if not leadership.leading.is_set():
        return
    for reason, count in sorted(reconciler.reasons().items()):
        yield Sample(name="lbctl_services", value=count, labels=(reason,))
    for reason, count in sorted(reconciler.announced().items()):
        yield Sample(name="lbctl_services_announced", value=count, labels=(reason,))
    yield Sample(name="lbctl_bgp_statuses_waiting", value=reconciler.bgp_statuses.waiting)
    for key, verdict in reconciler.verdicts.items():
        yield Sample(
            name="lbctl_config_accepted",
            value=float(verdict.accepted),
            labels=(key.kind, key.name),
        )
    wrong = any(not verdict.accepted for verdict in reconciler.verdicts.values())
    yield Sample(name="metallb_k8s_client_config_stale_bool", value=wrong)
    for pool, counters in reconciler.counters.items():
        yield from pool_samples(pool, counters)


def pool_samples(pool: PoolName, counters: Counters) -> Iterator[Sample]:
    """Yield the counters of one pool under MetalLB's names."""
    used4, used6, free4, free6 = counters
    # What is free is saturated already; with what is in use it would be beyond the limit.
    total4, total6 = min(used4 + free4, COUNTER_LIMIT), min(used6 + free6, COUNTER_LIMIT)
    for name, value in (
        ("addresses_total", total4 + total6),
        ("addresses_in_use_total", used4 + used6),
        ("ipv4_addresses_total", total4),
        ("ipv4_addresses_in_use_total", used4),
        ("ipv6_addresses_total", total6),
        ("ipv6_addresses_in_use_total", used6),
    ):
        yield Sample(name=f"metallb_allocator_{name}", value=value, labels=(str(pool),))


def problem_samples(problems: Iterable[tuple[str, str]]) -> Iterator[Sample]:
    """Yield how many problems each part has; a part that is well shows 0, so alerts can end."""
    found = Counter(part for part, _ in problems)
    for part in _PARTS:
        yield Sample(name="lbctl_controller_problems", value=found[part], labels=(part,))


def webhook_samples(operator: Operator) -> Iterator[Sample]:
    """Yield how the admission server does."""
    yield Sample(name="lbctl_webhook_serving", value=float(operator.serving))
    yield Sample(name="lbctl_webhook_restarts_total", value=operator.restarts)


_PARTS = ("inputs", "announcing", "lease", "reconciler", "webhook")
