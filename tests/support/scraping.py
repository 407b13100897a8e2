"""Read a /metrics page with Prometheus's own parser and hold it against the table."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from lbctl.run.metrics import METRICS_OF, Kind


def exposed(text: str) -> dict[str, tuple[str, str]]:
    """Return type and help of every name on the page, with or without samples."""
    types = dict(line.split(" ", 3)[2:] for line in text.splitlines() if line.startswith("# TYPE "))
    helps = dict(line.split(" ", 3)[2:] for line in text.splitlines() if line.startswith("# HELP "))
    assert types.keys() == helps.keys()
    return {name: (types[name], helps[name]) for name in types}


def series(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by name and sorted labels, as Prometheus reads them.

    The parser ends each counter's name in `_total`; the page's own names are given back.
    """
    names = exposed(text)
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name if sample.name in names else sample.name.removesuffix("_total")
            found[name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labels_of(text: str, name: str) -> list[Mapping[str, str]]:
    """Return the labels of every series of a metric."""
    return [dict(labels) for found, labels in series(text) if found == name]


OF_BGP = frozenset(
    metric.name
    for metrics in METRICS_OF.values()
    for metric in metrics
    if metric.name.startswith(("metallb_bgp_", "lbctl_bgp_"))
)
"""Metrics that a node without a BGP peer has no sample of."""


def check_page(process: str, text: str, *, silent: frozenset[str] = frozenset()) -> None:
    """Fail unless the page has exactly the names, types and labels of the table.

    Every metric must have a sample, apart from those in `silent`.
    """
    table = {metric.name: metric for metric in METRICS_OF[process]}
    assert exposed(text) == {name: (str(one.kind), one.help) for name, one in table.items()}
    spoken = set()
    for (name, labels), value in series(text).items():
        assert {label for label, _ in labels} == set(table[name].labels), name
        assert table[name].kind is Kind.GAUGE or value >= 0
        spoken.add(name)
    assert table.keys() - spoken == silent & table.keys()
