"""Say what a row of the compatibility table is, and which test files it may name.

The rows are data (the other modules of this package), so that a check can read them: the page
docs/reference/compatibility.md is generated from them, and tests/unit/docs/test_compatibility.py
holds every row against the field tables, the flags, the metrics, the Event reasons and the tests
that exist. A row names its tests as `alias::test_name`; `FILES` gives the path of an alias.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Verdict(enum.StrEnum):
    """Name how we stand to what MetalLB does."""

    SAME = "same"
    BETTER = "better"
    REFUSED = "refused"
    NOT_APPLICABLE = "not applicable"
    LATER = "later"


class Subject(enum.StrEnum):
    """Name what a row is about; each has a check of its own."""

    FIELD = "field"
    ANNOTATION = "annotation"
    FLAG = "flag"
    EVENT = "event"
    METRIC = "metric"
    WEBHOOK = "webhook"
    BEHAVIOUR = "behaviour"

    @property
    def literal(self) -> bool:
        """Return whether a row's name is what one types, not words about it."""
        return self not in (Subject.WEBHOOK, Subject.BEHAVIOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Hold one line. `name` is MetalLB's; `ours` is our name where it is another one."""

    subject: Subject
    name: str
    verdict: Verdict
    how: str
    """How better, why refused or not applicable, what is missing; with `same` what it means."""
    tests: tuple[str, ...] = ()
    ours: str = ""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the tests as pytest spells them."""
        parts = (test.partition("::") for test in self.tests)
        return tuple(f"{FILES[alias]}::{name}" for alias, _, name in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Hold one table of the page."""

    title: str
    rows: tuple[Row, ...]
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Make rows of one subject, so that a line of data says only what differs."""

    subject: Subject

    def same(self, name: str, how: str, *tests: str, ours: str = "") -> Row:
        return self._row(name, Verdict.SAME, how, tests, ours)

    def better(self, name: str, how: str, *tests: str, ours: str = "") -> Row:
        return self._row(name, Verdict.BETTER, how, tests, ours)

    def refused(self, name: str, how: str, *tests: str, ours: str = "") -> Row:
        return self._row(name, Verdict.REFUSED, how, tests, ours)

    def not_applicable(self, name: str, how: str, *tests: str) -> Row:
        return self._row(name, Verdict.NOT_APPLICABLE, how, tests, "")

    def later(self, name: str, how: str, *tests: str) -> Row:
        return self._row(name, Verdict.LATER, how, tests, "")

    def _row(self, name: str, verdict: Verdict, how: str, tests: tuple[str, ...], ours: str) -> Row:
        return Row(
            subject=self.subject, name=name, verdict=verdict, how=how, tests=tests, ours=ours
        )


FIELD: Final = Rows(subject=Subject.FIELD)
ANNOTATION: Final = Rows(subject=Subject.ANNOTATION)
FLAG: Final = Rows(subject=Subject.FLAG)
EVENT: Final = Rows(subject=Subject.EVENT)
METRIC: Final = Rows(subject=Subject.METRIC)
WEBHOOK: Final = Rows(subject=Subject.WEBHOOK)
BEHAVIOUR: Final = Rows(subject=Subject.BEHAVIOUR)

FILES: Final = {
    "admission": "tests/unit/controller/test_admission.py",
    "adverts": "tests/unit/plan/test_announcement.py",
    "allocation": "tests/unit/plan/test_allocation.py",
    "allocator": "tests/property/test_allocator.py",
    "announce": "tests/unit/fast/test_announce.py",
    "announced": "tests/unit/controller/test_announced_end_to_end.py",
    "accepted": "tests/unit/controller/test_accepted_end_to_end.py",
    "arp": "tests/unit/wire/test_arp.py",
    "bgp": "tests/netns/test_bgp.py",
    "bgp_advertisements": "tests/unit/plan/test_bgp_advertisements.py",
    "bgp_bad_peers": "tests/unit/drivers/test_bgp_bad_peers.py",
    "bgp_driver": "tests/unit/drivers/test_bgp.py",
    "bgp_how_to": "tests/netns/test_bgp_how_to.py",
    "bgp_kinds": "tests/unit/kube/test_bgp_kinds.py",
    "bgp_continuity": "tests/netns/test_bgp_continuity.py",
    "bgp_matrix": "tests/netns/test_bgp_matrix.py",
    "bgp_product": "tests/netns/test_bgp_product.py",
    "bgp_restart": "tests/netns/test_bgp_restart.py",
    "bgp_settings": "tests/netns/test_bgp_settings.py",
    "bgp_statuses": "tests/unit/kube/test_bgp_statuses.py",
    "bpf": "tests/unit/fast/test_bpf.py",
    "certificates": "tests/unit/controller/test_certificates.py",
    "chart": "tests/cluster/test_chart.py",
    "chart_values": "tests/cluster/test_chart_values.py",
    "coming_back": "tests/unit/plan/test_coming_back.py",
    "community": "tests/unit/model/test_community.py",
    "counted": "tests/unit/controller/test_bgp_statuses_end_to_end.py",
    "conductor": "tests/unit/agent/test_conductor.py",
    "contact": "tests/unit/agent/test_contact.py",
    "corners": "tests/unit/plan/test_corners.py",
    "crds": "tests/unit/kube/test_crds.py",
    "doctor": "tests/unit/plan/test_doctor.py",
    "dropin": "tests/cluster/test_dropin.py",
    "election": "tests/unit/plan/test_election.py",
    "eligibility": "tests/unit/plan/test_eligibility.py",
    "end": "tests/unit/controller/test_allocation_end_to_end.py",
    "events": "tests/unit/api/test_events.py",
    "explain": "tests/unit/cli/test_get_and_explain.py",
    "fast_conductor": "tests/unit/fast/test_conductor.py",
    "fast": "tests/unit/fast/test_table.py",
    "faults": "tests/unit/controller/test_replicas_and_faults.py",
    "free": "tests/unit/plan/test_free.py",
    "gauges": "tests/unit/controller/test_gauges.py",
    "generated": "tests/unit/kube/test_generated.py",
    "handing": "tests/unit/controller/test_handing_over.py",
    "inventory": "tests/unit/agent/test_inventory.py",
    "lab_allocation": "tests/cluster/test_allocation.py",
    "lab_announced": "tests/cluster/test_announced.py",
    "lab_announcing": "tests/cluster/test_announcing.py",
    "lab_availability": "tests/cluster/test_availability.py",
    "lab_crds": "tests/cluster/test_crds.py",
    "lab_routed_demo": "tests/cluster/test_routed_demo.py",
    "leadership": "tests/simulation/test_leadership.py",
    "lease": "tests/unit/api/test_lease.py",
    "links": "tests/netns/test_links.py",
    "metrics": "tests/unit/run/test_metrics.py",
    "ndp": "tests/unit/wire/test_ndp.py",
    "objects": "tests/unit/kube/test_objects.py",
    "one_owner": "tests/property/test_announcement.py",
    "operator": "tests/unit/controller/test_operator.py",
    "patches": "tests/unit/kube/test_patches.py",
    "peering": "tests/unit/agent/test_peering.py",
    "peers": "tests/unit/plan/test_peers.py",
    "pool_status": "tests/unit/kube/test_pool_status.py",
    "pools": "tests/unit/plan/test_pools.py",
    "process": "tests/unit/controller/test_process.py",
    "requests": "tests/unit/plan/test_requests.py",
    "routers": "tests/netns/test_routers.py",
    "routes": "tests/unit/plan/test_routes.py",
    "said": "tests/unit/controller/test_said.py",
    "service": "tests/unit/kube/test_service.py",
    "sharing": "tests/unit/plan/test_sharing.py",
    "speaker": "tests/netns/test_speaker.py",
    "speaker_main": "tests/unit/drivers/test_speaker_main.py",
    "statement": "tests/unit/agent/test_statement.py",
    "states": "tests/unit/kube/test_status_objects.py",
    "rights": "tests/unit/docs/test_rights.py",
    "trust": "tests/unit/controller/test_trust.py",
    "unnumbered": "tests/netns/test_unnumbered.py",
    "webhook": "tests/unit/controller/test_webhook_end_to_end.py",
    "wire": "tests/netns/test_fastpath.py",
}
