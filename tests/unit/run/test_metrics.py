"""The table of metrics and its exposition, read by Prometheus's own parser."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lbctl.run.metrics import METRICS, METRICS_OF, Exposition, Kind, Sample
from lbctl.run.process_samples import process_samples
from tests.support.scraping import exposed


def read(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_what_prometheus_reads_is_what_the_sources_said():
    samples = [
        Sample(name="lbctl_reflector_events_total", value=3, labels=("services",)),
        Sample(name="lbctl_fastpath_connected", value=1),
        Sample(name="metallb_allocator_addresses_total", value=2**63 - 1, labels=("six",)),
        Sample(name="lbctl_plan_seconds_total", value=1.5e-7),
    ]
    found = read(Exposition([lambda: samples]).render())
    assert found == {(one.name, one.labels): float(one.value) for one in samples}


@pytest.mark.parametrize(
    "name", ['say "no"', "back\\slash", "two\nlines", "pröd/日本", "a,b}c{d", "", "\\n", "%s %(x)s"]
)
def test_any_label_value_arrives_as_it_is(name):
    sample = Sample(name="metallb_allocator_addresses_total", value=7, labels=(name,))
    found = read(Exposition([lambda: [sample]]).render())
    assert found == {("metallb_allocator_addresses_total", (name,)): 7.0}


def test_sources_are_read_at_each_scrape():
    values = iter([1.0, 2.0])
    page = Exposition([lambda: [Sample(name="lbctl_plans_total", value=next(values))]])
    assert b"lbctl_plans_total 1.0" in page.render()
    assert b"lbctl_plans_total 2.0" in page.render()


@pytest.mark.parametrize("process", METRICS_OF)
def test_a_process_shows_every_name_of_its_table_with_or_without_samples(process):
    table = METRICS_OF[process]
    text = Exposition([], table).render().decode()
    assert exposed(text) == {metric.name: (str(metric.kind), metric.help) for metric in table}


def test_a_metric_outside_the_table_of_the_process_is_refused():
    with pytest.raises(KeyError, match="lbctl_unheard_of"):
        Exposition([lambda: [Sample(name="lbctl_unheard_of", value=1)]]).render()
    sample = Sample(name="lbctl_fastpath_connected", value=1)
    with pytest.raises(KeyError, match="lbctl_fastpath_connected"):
        Exposition([lambda: [sample]], METRICS_OF["lb-controller"]).render()


def test_the_table_has_unique_names_with_help_and_ours_the_suffix_of_their_kind():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.help.endswith(".")
        assert "\n" not in metric.help
        assert "\\" not in metric.help
        if metric.name.startswith("lbctl_"):
            assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        else:
            assert metric.name.startswith(("metallb_", "process_"))


def test_a_process_tells_what_it_costs():
    found = {one.name: one.value for one in process_samples()}
    with Path("/proc/self/status").open() as status:
        [rss] = [int(line.split()[1]) for line in status if line.startswith("VmRSS:")]
    assert found["process_resident_memory_bytes"] / 1024 == pytest.approx(rss, rel=0.2)
    assert 0 < found["process_cpu_seconds_total"] <= time.process_time() + 1
    assert time.time() - found["process_start_time_seconds"] < 7 * 86400
    before = found["process_open_fds"]
    with Path("/proc/self/status").open():
        assert {one.name: one.value for one in process_samples()}["process_open_fds"] == before + 1
