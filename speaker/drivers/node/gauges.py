"""Read the metrics of lb-speaker from what it already holds; their table is `lbctl.run.metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lbctl.run.metrics import Sample
from speaker.agent.conductor import owned
from speaker.drivers.node.fastpath import values_by_link
from speaker.drivers.node.loop import SpeakerLoop


def speaker_samples(loop: SpeakerLoop, now: float) -> Iterator[Sample]:
    """Yield every sample of this process."""
    yield from _api_samples(loop, now)
    yield from _announcing_samples(loop)
    yield from _membership_samples(loop)
    state = loop.fastpath.state
    yield Sample(name="lbctl_fastpath_connected", value=float(state.connected))
    yield Sample(name="lbctl_fastpath_connects_total", value=loop.fastpath.connects)
    for labels, value in values_by_link(loop.fastpath.counters).items():
        yield Sample(name="lbctl_fastpath_total", value=value, labels=labels)


def _api_samples(loop: SpeakerLoop, now: float) -> Iterator[Sample]:
    if loop.last_contact is not None:
        yield Sample(name="lbctl_api_contact_age_seconds", value=now - loop.last_contact)
    kinds = {str(source): one for source, one in loop.reflectors.items()}
    for kind, one in {**kinds, "statements": loop.statements}.items():
        prefix = "lbctl_reflector_"
        for name, value in (
            ("objects", len(one.items)),
            ("synced", one.synced.is_set()),
            ("unreadable", len(one.unreadable)),
            ("lists_total", one.counters.lists),
            ("watches_total", one.counters.watches),
            ("events_total", one.counters.events),
            ("failures_total", one.counters.failures),
        ):
            yield Sample(name=prefix + name, value=float(value), labels=(kind,))
    yield Sample(name="lbctl_writes_pending", value=loop.writer.depth)
    writes = loop.writer.counters
    for outcome in ("written", "conflicts", "missing", "refused", "superseded", "gave_up"):
        value = getattr(writes, outcome)
        yield Sample(name="lbctl_writes_total", value=value, labels=(outcome,))
    for outcome in ("written", "repeated", "limited", "lost"):
        value = getattr(loop.recorder.counters, outcome)
        yield Sample(name="lbctl_events_total", value=value, labels=(outcome,))
    yield Sample(name="lbctl_plans_total", value=loop.plans)
    yield Sample(name="lbctl_plan_seconds_total", value=loop.plan_s)


def _announcing_samples(loop: SpeakerLoop) -> Iterator[Sample]:
    intentions = loop.intentions
    announcement = intentions.announcement
    if announcement is not None:
        for address in owned(intentions):
            plan = announcement.addresses.get(address)
            for service in plan.services if plan is not None else ():
                labels = (str(service), "layer2", str(plan.owner if plan else ""), str(address))
                yield Sample(name="lbctl_speaker_announced", value=1, labels=labels)
    if intentions.table is not None:
        modes = Counter(str(entry.mode) for entry in intentions.table.entries.values())
        for mode in ("own", "yield"):
            yield Sample(name="lbctl_speaker_addresses", value=modes[mode], labels=(mode,))
    yield Sample(name="lbctl_speaker_released", value=len(loop.contact.released))
    for link in loop.links.current or ():
        working = float(link.up and link.carrier)
        yield Sample(name="lbctl_speaker_link_up", value=working, labels=(str(link.name),))
    draining = intentions.report is not None and intentions.report.draining
    yield Sample(name="lbctl_speaker_draining", value=float(draining))


def _membership_samples(loop: SpeakerLoop) -> Iterator[Sample]:
    for name, view in loop.intentions.memberships.items():
        link = str(name)
        yield Sample(name="lbctl_membership_view", value=view.view.number, labels=(link,))
        yield Sample(name="lbctl_membership_quorum", value=float(view.quorum), labels=(link,))
        for state, count in Counter(view.members.values()).items():
            labels = (link, str(state))
            yield Sample(name="lbctl_membership_members", value=count, labels=labels)
