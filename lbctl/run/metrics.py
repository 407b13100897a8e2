"""The table of metrics, and their exposition for Prometheus.

One table for all processes: docs/reference/metrics.md is generated from it, a process shows every
name that the table gives it (with or without samples), and a sample that is not in the table is
refused: what is documented and what is exposed cannot differ. Where a metric of MetalLB means the
same, it has MetalLB's name and labels, so that dashboards and alerts go on working.

Values are not kept here: at each scrape the sources read them from what the process already holds
(the plan, the reflectors' tallies). So a metric cannot disagree with what the process does, it
ends with the object that it is about, and thousands of Services cost nothing between scrapes.

The text is made here, not by prometheus_client (ADR 0009); the tests read it with that. Called by
`lbctl.controller.main` and `speaker.main`; lb-fastpath sends its counters to lb-speaker.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

CONTROLLER: Final = "lb-controller"
SPEAKER: Final = "lb-speaker"


class Kind(enum.StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Describe one metric. The name of a counter of ours ends in `_total`, as Prometheus wants."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """Hold one value; `labels` are the values for `Metric.labels`, in that order.

    No dataclass: a scrape makes one for each address, and a tuple is made in half the time.
    """

    name: str
    value: float
    labels: tuple[str, ...] = ()


Source = Callable[[], Iterable[Sample]]


def _gauge(name: str, help_: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, help=help_, labels=labels)


def _counter(name: str, help_: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, help=help_, labels=labels)


_BOTH: Final = (
    _gauge("lbctl_build_info", "Always 1; the labels say what runs.", "process", "version"),
    _gauge(
        "metallb_k8s_client_config_loaded_bool",
        "1 once every kind of object was read completely.",
    ),
    _gauge(
        "metallb_k8s_client_config_stale_bool",
        "1 while a configuration object is not in effect, because it is wrong. Of the replicas of "
        "lb-controller only the leader judges.",
    ),
    _counter(
        "metallb_k8s_client_updates_total", "Changes of Kubernetes objects that were taken in."
    ),
    _counter(
        "metallb_k8s_client_update_errors_total",
        "Plans that failed, and writes that the API server refused or that were given up.",
    ),
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
    _counter("process_cpu_seconds_total", "CPU time of this process, user and system, in seconds."),
    _gauge("process_resident_memory_bytes", "Memory of this process that is in RAM."),
    _gauge("process_start_time_seconds", "When this process started, in seconds since 1970."),
    _gauge("process_open_fds", "Files and sockets that this process has open."),
)

_OF_THE_CONTROLLER: Final = (
    _gauge(
        "metallb_allocator_addresses_total",
        "Addresses that a pool has, of both families; saturates at 2^63 - 1 for each family.",
        "pool",
    ),
    _gauge(
        "metallb_allocator_addresses_in_use_total",
        "Addresses of a pool that Services have; a shared address counts once.",
        "pool",
    ),
    _gauge("metallb_allocator_ipv4_addresses_total", "IPv4 addresses that a pool has.", "pool"),
    _gauge(
        "metallb_allocator_ipv4_addresses_in_use_total",
        "IPv4 addresses of a pool that Services have.",
        "pool",
    ),
    _gauge(
        "metallb_allocator_ipv6_addresses_total",
        "IPv6 addresses that a pool has; saturates at 2^63 - 1.",
        "pool",
    ),
    _gauge(
        "metallb_allocator_ipv6_addresses_in_use_total",
        "IPv6 addresses of a pool that Services have.",
        "pool",
    ),
    _gauge("lbctl_controller_leading", "1 while this process holds the Lease."),
    _gauge("lbctl_services", "Services that are ours by the reason of Allocated.", "reason"),
    _gauge(
        "lbctl_services_announced",
        "Services that are ours by the reason of Announced that they show.",
        "reason",
    ),
    _gauge(
        "lbctl_bgp_statuses_waiting",
        "ServiceBGPStatus objects that may differ from what is counted and wait for their turn.",
    ),
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
)

_OF_THE_SPEAKER: Final = (
    _gauge(
        "metallb_speaker_announced",
        "1 for each address that this node announces, by the Service (namespace/name) that has it.",
        "service",
        "protocol",
        "node",
        "ip",
    ),
    _counter(
        "metallb_layer2_requests_received",
        "ARP requests and neighbor solicitations for an address while this node announces it.",
        "ip",
    ),
    _counter("metallb_layer2_responses_sent", "Of these, those that were answered.", "ip"),
    _counter(
        "metallb_layer2_gratuitous_sent",
        "Frames sent unasked to announce an address.",
        "ip",
    ),
    _gauge(
        "metallb_bgp_session_up",
        "1 while the session with a BGP peer (address:port) is established.",
        "peer",
    ),
    _gauge(
        "metallb_bgp_announced_prefixes_total",
        "Routes that a BGP peer has been sent and that stand.",
        "peer",
    ),
    _gauge(
        "metallb_bgp_pending_prefixes_total",
        "Routes that a BGP peer is to have and has not been sent.",
        "peer",
    ),
    _counter("metallb_bgp_updates_total", "UPDATE messages sent to a BGP peer.", "peer"),
    _counter("metallb_bgp_updates_total_received", "UPDATE messages received.", "peer"),
    _counter("metallb_bgp_opens_sent", "OPEN messages sent to a BGP peer.", "peer"),
    _counter("metallb_bgp_opens_received", "OPEN messages received from a BGP peer.", "peer"),
    _counter("metallb_bgp_notifications_sent", "NOTIFICATIONs sent to a BGP peer.", "peer"),
    _counter("metallb_bgp_keepalives_sent", "KEEPALIVE messages sent to a BGP peer.", "peer"),
    _counter("metallb_bgp_keepalives_received", "KEEPALIVE messages received.", "peer"),
    _counter("metallb_bgp_total_sent", "Messages sent to a BGP peer.", "peer"),
    _counter("metallb_bgp_total_received", "Messages received from a BGP peer.", "peer"),
    _gauge(
        "lbctl_bgp_session_established",
        "1 while the session with a BGPPeer, by its name, is established.",
        "peer",
    ),
    _counter(
        "lbctl_bgp_session_resets_total",
        "Times that an established session with a BGPPeer has ended.",
        "peer",
    ),
    _gauge(
        "lbctl_bgp_acknowledged_prefixes",
        "Routes whose every byte the TCP of a BGPPeer has confirmed.",
        "peer",
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

METRICS_OF: Final[Mapping[str, tuple[Metric, ...]]] = {
    CONTROLLER: (*_BOTH, *_OF_THE_CONTROLLER),
    SPEAKER: (*_BOTH, *_OF_THE_SPEAKER),
}
"""What a process exposes, by its name."""

METRICS: Final = (*_BOTH, *_OF_THE_CONTROLLER, *_OF_THE_SPEAKER)


class Exposition:
    """Render samples as Prometheus text; sources are read at each scrape."""

    def __init__(self, sources: Sequence[Source], table: Sequence[Metric] = METRICS) -> None:
        self._sources = tuple(sources)
        self._table = {metric.name: metric for metric in table}
        self._templates = {metric.name: _template(metric) for metric in table}

    def render(self) -> bytes:
        """Return the page: every metric of the table in its order, with the samples it has.

        Raises:
            KeyError: a source has a sample that is not in the table.

        """
        lines: dict[str, list[str]] = {name: [] for name in self._table}
        templates = self._templates
        for source in self._sources:
            for sample in source():
                name, labels = sample.name, sample.labels
                if name not in lines:
                    raise KeyError(f"metric {name} is not in lbctl.run.metrics for this process")
                if _special(" ".join(labels)):
                    labels = tuple(label.translate(_ESCAPED) for label in labels)
                lines[name].append(templates[name] % (*labels, float(sample.value)))
        return "".join(self._pages(lines)).encode()

    def _pages(self, lines: Mapping[str, Sequence[str]]) -> Iterator[str]:
        for name, metric in self._table.items():
            yield f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n"
            yield from lines[name]


_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
"""The text format's escapes in label values. Help texts are ours and need none."""
_special: Final = re.compile(r'["\\\n]').search


def _template(metric: Metric) -> str:
    labels = ",".join(f'{label}="%s"' for label in metric.labels)
    return f"{metric.name}{{{labels}}} %r\n" if labels else f"{metric.name} %r\n"
