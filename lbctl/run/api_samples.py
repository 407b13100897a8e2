"""Read the metrics of what talks to the API server: alike for lb-controller and lb-speaker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lbctl.api.events import EventRecorder
from lbctl.api.reflector import Reflector
from lbctl.api.writer import Writer
from lbctl.run.metrics import Sample

_WRITES: Final = (
    "written",
    "conflicts",
    "missing",
    "refused",
    "retried",
    "superseded",
    "withheld",
    "gave_up",
)
_EVENTS: Final = ("written", "repeated", "limited", "lost")


def reflector_samples(reflectors: Mapping[str, Reflector[Any, Any]]) -> Iterator[Sample]:
    """Yield what the reflectors know about themselves, by kind and in all."""
    for kind, reflector in reflectors.items():
        tally = reflector.counters
        for name, value in (
            ("lbctl_reflector_objects", len(reflector.items)),
            ("lbctl_reflector_synced", reflector.synced.is_set()),
            ("lbctl_reflector_unreadable", len(reflector.unreadable)),
            ("lbctl_reflector_lists_total", tally.lists),
            ("lbctl_reflector_watches_total", tally.watches),
            ("lbctl_reflector_events_total", tally.events),
            ("lbctl_reflector_failures_total", tally.failures),
        ):
            yield Sample(name=name, value=value, labels=(kind,))
    every = reflectors.values()
    loaded = all(one.synced.is_set() for one in every)
    updates = sum(one.counters.events for one in every)
    yield Sample(name="metallb_k8s_client_config_loaded_bool", value=loaded)
    yield Sample(name="metallb_k8s_client_updates_total", value=updates)


def write_samples(
    writer: Writer, recorder: EventRecorder, *, failed_plans: int = 0
) -> Iterator[Sample]:
    """Yield what was written, and what could not be."""
    counters = writer.counters
    yield Sample(name="lbctl_writes_pending", value=writer.depth)
    for outcome in _WRITES:
        value = getattr(counters, outcome)
        yield Sample(name="lbctl_writes_total", value=value, labels=(outcome,))
    for outcome in _EVENTS:
        value = getattr(recorder.counters, outcome)
        yield Sample(name="lbctl_events_total", value=value, labels=(outcome,))
    errors = failed_plans + counters.refused + counters.gave_up
    yield Sample(name="metallb_k8s_client_update_errors_total", value=errors)
