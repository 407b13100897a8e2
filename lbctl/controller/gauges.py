"""Read lb-controller's metrics from what it already holds; names are in `lbctl.run.metrics`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from lbctl.api.events import EventRecorder
from lbctl.api.lease import Leadership
from lbctl.api.writer import Writer
from lbctl.controller.inputs import AnyReflector, Inputs
from lbctl.controller.operator import Operator
from lbctl.controller.reconciler import Reconciler
from lbctl.run.metrics import Sample

_WRITES = ("written", "conflicts", "missing", "refused", "retried", "withheld", "gave_up")
_EVENTS = ("written", "repeated", "limited", "lost")


def reflector_samples(inputs: Inputs) -> Iterator[Sample]:
    """Yield what the reflectors know about themselves."""
    now = time.monotonic()
    reflectors = {**inputs.reflectors, **inputs.witnesses}
    ages = [age for one in reflectors.values() if (age := one.contact_age_s(now)) is not None]
    if ages:
        yield Sample(name="lbctl_api_contact_age_seconds", value=min(ages))
    for kind, reflector in reflectors.items():
        yield from _of_kind(kind, reflector)


def write_samples(writer: Writer, recorder: EventRecorder) -> Iterator[Sample]:
    """Yield what was written."""
    yield Sample(name="lbctl_writes_pending", value=writer.depth)
    writes = asdict(writer.counters)
    for outcome in _WRITES:
        yield Sample(name="lbctl_writes_total", value=writes[outcome], labels=(outcome,))
    events = asdict(recorder.counters)
    for outcome in _EVENTS:
        yield Sample(name="lbctl_events_total", value=events[outcome], labels=(outcome,))


def plan_samples(reconciler: Reconciler, leadership: Leadership) -> Iterator[Sample]:
    """Yield what was planned. Only the leader plans, so only it has pools and Services to show."""
    yield Sample(name="lbctl_controller_leading", value=float(leadership.may_write()))
    yield Sample(name="lbctl_plans_total", value=reconciler.plans)
    yield Sample(name="lbctl_plan_seconds_total", value=reconciler.plan_seconds)
    if not leadership.leading.is_set():
        return
    for reason, count in sorted(reconciler.reasons().items()):
        yield Sample(name="lbctl_services", value=count, labels=(reason,))
    for key, verdict in reconciler.verdicts.items():
        yield Sample(
            name="lbctl_config_accepted",
            value=float(verdict.accepted),
            labels=(key.kind, key.name),
        )
    for pool, counts in reconciler.counters.items():
        for (family, state), value in zip(_STATES, counts, strict=True):
            yield Sample(
                name="lbctl_pool_addresses", value=value, labels=(str(pool), family, state)
            )


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

_STATES = (
    ("IPv4", "assigned"),
    ("IPv6", "assigned"),
    ("IPv4", "available"),
    ("IPv6", "available"),
)


def _of_kind(kind: str, reflector: AnyReflector) -> Iterator[Sample]:
    labels = (kind,)
    tally = reflector.counters
    for name, value in (
        ("lbctl_reflector_objects", len(reflector.items)),
        ("lbctl_reflector_synced", float(reflector.synced.is_set())),
        ("lbctl_reflector_unreadable", len(reflector.unreadable)),
        ("lbctl_reflector_lists_total", tally.lists),
        ("lbctl_reflector_watches_total", tally.watches),
        ("lbctl_reflector_events_total", tally.events),
        ("lbctl_reflector_failures_total", tally.failures),
    ):
        yield Sample(name=name, value=value, labels=labels)
