"""The table of metrics and its exposition."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lbctl.run.metrics import METRICS, Exposition, Kind, Sample


def test_what_prometheus_reads_is_what_the_sources_said():
    samples = [
        Sample(name="lbctl_reflector_events_total", value=3, labels=("services",)),
        Sample(name="lbctl_fastpath_connected", value=1),
    ]
    text = Exposition([lambda: samples]).render().decode()
    found = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found == {(one.name, one.labels): one.value for one in samples}


def test_sources_are_read_at_each_scrape():
    values = iter([1.0, 2.0])
    page = Exposition([lambda: [Sample(name="lbctl_plans_total", value=next(values))]])
    assert b"lbctl_plans_total 1.0" in page.render()
    assert b"lbctl_plans_total 2.0" in page.render()


def test_a_metric_outside_the_table_is_refused():
    with pytest.raises(KeyError, match="lbctl_unheard_of"):
        Exposition([lambda: [Sample(name="lbctl_unheard_of", value=1)]]).render()


def test_the_table_has_unique_names_with_help_and_the_suffix_of_their_kind():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.help.endswith(".")
        assert metric.name.startswith("lbctl_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
