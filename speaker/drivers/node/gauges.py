"""Read the metrics of lb-speaker from what it already holds; their table is `lbctl.run.metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from lbctl.kube.fold import Source
from lbctl.model.session import SessionState
from lbctl.run.api_samples import reflector_samples, write_samples
from lbctl.run.metrics import Sample
from speaker.agent.conductor import owned
from speaker.drivers.node.fastpath import FastpathClient, values_by_link
from speaker.drivers.node.loop import SpeakerLoop
from speaker.drivers.node.sessions import NodeSessions
from speaker.wire.bgp_frame import MessageType


def speaker_samples(loop: SpeakerLoop, now: float) -> Iterator[Sample]:
    """Yield every sample of this process."""
    yield from _api_samples(loop, now)
    yield from _announcing_samples(loop)
    yield from _membership_samples(loop)
    yield from _fastpath_samples(loop.fastpath)
    yield from session_samples(loop.sessions)


def _api_samples(loop: SpeakerLoop, now: float) -> Iterator[Sample]:
    if loop.last_contact is not None:
        yield Sample(name="lbctl_api_contact_age_seconds", value=now - loop.last_contact)
    reflectors = {str(source): one for source, one in loop.reflectors.items()}
    reflectors["statements"] = loop.statements
    yield from reflector_samples(reflectors)
    wrong = any(
        item.spec is None
        for source in (
            Source.POOLS,
            Source.ADVERTISEMENTS,
            Source.BGP_ADVERTISEMENTS,
            Source.COMMUNITIES,
            Source.PEERS,
        )
        for item in loop.reflectors[source].items.values()
    )
    yield Sample(name="metallb_k8s_client_config_stale_bool", value=wrong)
    yield from write_samples(loop.writer, loop.recorder)
    yield Sample(name="lbctl_plans_total", value=loop.plans)
    yield Sample(name="lbctl_plan_seconds_total", value=loop.plan_s)


def _announcing_samples(loop: SpeakerLoop) -> Iterator[Sample]:
    intentions = loop.intentions
    announcement = intentions.announcement
    if announcement is not None:
        for address in owned(intentions):
            owner = announcement.addresses.get(address)
            for service in owner.services if owner is not None else ():
                labels = (str(service), "layer2", str(loop.node), str(address))
                yield Sample(name="metallb_speaker_announced", value=1, labels=labels)
    plan = None if intentions.speaking is None else intentions.speaking.plan
    for address, routes in plan.addresses.items() if plan is not None else ():
        for service in routes.services if routes.asked else ():
            labels = (str(service), "bgp", str(loop.node), str(address))
            yield Sample(name="metallb_speaker_announced", value=1, labels=labels)
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


def _fastpath_samples(fastpath: FastpathClient) -> Iterator[Sample]:
    yield Sample(name="lbctl_fastpath_connected", value=float(fastpath.state.connected))
    yield Sample(name="lbctl_fastpath_connects_total", value=fastpath.connects)
    for labels, value in values_by_link(fastpath.counters).items():
        yield Sample(name="lbctl_fastpath_total", value=value, labels=labels)
    for address, count in fastpath.addresses.items():
        ip = (str(address),)
        received = count.answered + count.failed
        yield Sample(name="metallb_layer2_requests_received", value=received, labels=ip)
        yield Sample(name="metallb_layer2_responses_sent", value=count.answered, labels=ip)
        yield Sample(name="metallb_layer2_gratuitous_sent", value=count.announced, labels=ip)


def session_samples(sessions: NodeSessions) -> Iterator[Sample]:
    """Yield what is counted of each BGP session."""
    told: set[tuple[str]] = set()
    for peer, report in sessions.reports():
        up = float(report.state is SessionState.ESTABLISHED)
        named = (str(peer.name),)
        yield Sample(name="lbctl_bgp_session_established", value=up, labels=named)
        yield Sample(name="lbctl_bgp_session_resets_total", value=report.resets, labels=named)
        routes = report.routes()
        yield Sample(
            name="lbctl_bgp_acknowledged_prefixes", value=routes.acknowledged, labels=named
        )
        held = sessions.bgp.peers.get(peer.name)
        if held is None:
            continue
        there = (f"{held.config.address}:{held.config.port}",)
        if held.config.address.version == 6:
            there = (f"[{held.config.address}]:{held.config.port}",)
        # Two peers may share it, from two sources or links; MetalLB has no other label.
        if there in told:
            continue
        told.add(there)
        values = {
            "session_up": up,
            "announced_prefixes_total": routes.sent,
            "pending_prefixes_total": max(0, routes.wanted - routes.sent),
            "total_sent": sum(held.counts.sent.values()),
            "total_received": sum(held.counts.received.values()),
            **{name: held.counts.sent[kind] for kind, name in _SENT.items()},
            **{name: held.counts.received[kind] for kind, name in _RECEIVED.items()},
        }
        for name, value in values.items():
            yield Sample(name=f"metallb_bgp_{name}", value=value, labels=there)


_SENT: Final = {
    MessageType.OPEN: "opens_sent",
    MessageType.UPDATE: "updates_total",
    MessageType.NOTIFICATION: "notifications_sent",
    MessageType.KEEPALIVE: "keepalives_sent",
}
_RECEIVED: Final = {
    MessageType.OPEN: "opens_received",
    MessageType.UPDATE: "updates_total_received",
    MessageType.KEEPALIVE: "keepalives_received",
}


def _membership_samples(loop: SpeakerLoop) -> Iterator[Sample]:
    for name, view in loop.intentions.memberships.items():
        link = str(name)
        yield Sample(name="lbctl_membership_view", value=view.view.number, labels=(link,))
        yield Sample(name="lbctl_membership_quorum", value=float(view.quorum), labels=(link,))
        for state, count in Counter(view.members.values()).items():
            labels = (link, str(state))
            yield Sample(name="lbctl_membership_members", value=count, labels=labels)
