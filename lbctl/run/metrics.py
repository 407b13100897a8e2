"""The table of metrics, and its exposition for Prometheus.

One table for all processes: docs/reference/metrics.md is generated from it, and a sample whose
name or labels are not in it is refused, so that no metric exists undocumented. Values are not
kept here: at each scrape the sources read them from what the process already holds (the plan,
the reflectors' tallies), so a metric cannot disagree with what the process does.

The only importer of prometheus_client. Called by `lbctl.controller.main` and `speaker.main`;
lb-fastpath sends its counters to lb-speaker, which exposes them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Kind(enum.StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Describe one metric. A counter's name ends in `_total`, as Prometheus wants it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Hold one value; `labels` are the values for `Metric.labels`, in that order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


Source = Callable[[], Iterable[Sample]]


def _gauge(name: str, help_: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, help=help_, labels=labels)


def _counter(name: str, help_: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, help=help_, labels=labels)


METRICS: Final = (
    # Every process
    _gauge("lbctl_build_info", "Always 1; the labels say what runs.", "process", "version"),
    _gauge("lbctl_api_contact_age_seconds", "Seconds since the API server was last heard."),
    _gauge("lbctl_reflector_objects", "Objects of a kind in memory.", "kind"),
    _gauge("lbctl_reflector_synced", "1 once a kind was read completely.", "kind"),
    _gauge("lbctl_reflector_unreadable", "Objects of a kind that cannot be read now.", "kind"),
    _counter("lbctl_reflector_lists_total", "LISTs of a kind.", "kind"),
    _counter("lbctl_reflector_watches_total", "Watches of a kind that were opened.", "kind"),
    _counter("lbctl_reflector_events_total", "Watch events of a kind.", "kind"),
    _counter("lbctl_reflector_failures_total", "Requests for a kind that failed.", "kind"),
    _gauge("lbctl_writes_pending", "Writes to the API server that wait or are under way."),
    _counter("lbctl_writes_total", "Writes to the API server by outcome.", "outcome"),
    _counter("lbctl_events_total", "Kubernetes Events by outcome.", "outcome"),
    _counter("lbctl_plans_total", "Plans made."),
    _counter("lbctl_plan_seconds_total", "Seconds spent planning."),
    # lb-controller
    _gauge("lbctl_controller_leading", "1 while this process holds the Lease."),
    _gauge("lbctl_services", "Services that are ours by the reason of Allocated.", "reason"),
    _gauge("lbctl_pool_addresses", "Addresses of a pool, by state.", "pool", "family", "state"),
    _gauge("lbctl_config_accepted", "1 if a configuration object is in effect.", "kind", "name"),
    _gauge(
        "lbctl_controller_problems",
        "Problems that /readyz names now, by the part that has them.",
        "part",
    ),
    _gauge("lbctl_webhook_serving", "1 while the admission server runs."),
    _counter(
        "lbctl_webhook_restarts_total",
        "Times that the admission server ended by itself and was started again.",
    ),
    # lb-speaker
    _gauge(
        "lbctl_speaker_announced",
        "1 for each address that this node announces.",
        "service",
        "protocol",
        "node",
        "ip",
    ),
    _gauge("lbctl_speaker_addresses", "Addresses in the fast path's table by mode.", "mode"),
    _gauge("lbctl_speaker_released", "Addresses given up to a peer without API contact."),
    _gauge("lbctl_speaker_link_up", "1 if a link is up and has carrier.", "link"),
    _gauge("lbctl_speaker_draining", "1 while this speaker gives its addresses away."),
    _gauge("lbctl_membership_view", "Number of the present view of a link.", "link"),
    _gauge("lbctl_membership_members", "Members of a link's view by state.", "link", "state"),
    _gauge("lbctl_membership_quorum", "1 if a link's view has a quorum.", "link"),
    _gauge("lbctl_fastpath_connected", "1 while lb-fastpath is connected."),
    _counter(
        "lbctl_fastpath_total",
        "What lb-fastpath counted since it started, by counter; link is empty for the process.",
        "counter",
        "link",
    ),
    _counter("lbctl_fastpath_connects_total", "Connections made to lb-fastpath."),
)


class Exposition(Collector):
    """Render samples as Prometheus text; sources are read at each scrape."""

    def __init__(self, sources: Sequence[Source], table: Sequence[Metric] = METRICS) -> None:
        self._sources = tuple(sources)
        self._table = {metric.name: metric for metric in table}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: names come from the table, and collecting twice would cost."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield a family per metric that has samples, in the order of the table."""
        found: dict[str, list[Sample]] = {name: [] for name in self._table}
        for source in self._sources:
            for sample in source():
                if sample.name not in found:
                    raise KeyError(f"metric {sample.name} is not in lbctl.run.metrics.METRICS")
                found[sample.name].append(sample)
        for name, samples in found.items():
            if samples:
                metric = self._table[name]
                family = _FAMILIES[metric.kind](name, metric.help, labels=metric.labels)
                for sample in samples:
                    family.add_metric(sample.labels, sample.value)
                yield family

    def render(self) -> bytes:
        return generate_latest(self._registry)


_FAMILIES: Final[dict[Kind, type[GaugeMetricFamily | CounterMetricFamily]]] = {
    Kind.GAUGE: GaugeMetricFamily,
    Kind.COUNTER: CounterMetricFamily,
}
