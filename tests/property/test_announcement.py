"""Laws of the announcement plan over any snapshot, and of speakers that all plan alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from lbctl.model.endpoints import EndpointState
from lbctl.model.membership import Member
from lbctl.model.names import NodeName
from lbctl.model.node import SpeakerReport
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.announcement import plan_announcements
from lbctl.plan.eligibility import EXCLUDE_LABEL, Eligible
from speaker.agent.conductor import NOTHING, Situation, conduct, owned
from speaker.agent.report import FastpathState
from tests.support.builders import (
    make_advertisement,
    make_endpoint,
    make_link,
    make_node,
    make_pool,
    make_selector,
    make_service,
    make_slice,
    make_snapshot,
    make_speaker,
    service_key,
)

NAMES = ("n1", "n2", "n3", "n4")
SERVICES = ("default/a", "default/b", "other/c")
ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "203.0.113.9")

flags = st.booleans()
rarely = st.integers(0, 5).map(lambda number: number == 0)


@st.composite
def nodes(draw):
    return [
        make_node(
            name,
            labels={"zone": draw(st.sampled_from("ab"))}
            | ({EXCLUDE_LABEL: ""} if draw(rarely) else {}),
            ready=not draw(rarely),
            network_unavailable=draw(rarely),
            out_of_service=draw(rarely),
            drain_requested=draw(rarely),
        )
        for name in draw(st.sets(st.sampled_from(NAMES)))
    ]


@st.composite
def links(draw):
    return tuple(
        make_link(
            f"eth{index}",
            *draw(st.sampled_from([(), ("192.0.2.201/24",), ("2001:db8::201/64",)])),
            index=index + 2,
            up=not draw(rarely),
            carrier=not draw(rarely),
            has_link_local=not draw(rarely),
        )
        for index in range(draw(st.integers(0, 2)))
    )


@st.composite
def reports(draw):
    return [
        make_speaker(
            name,
            links=draw(links()),
            draining=draw(rarely),
            fastpath_connected=not draw(rarely),
            resource_version=str(draw(st.integers(1, 50))),
        )
        for name in draw(st.sets(st.sampled_from(NAMES)))
    ]


@st.composite
def services(draw, key):
    return make_service(
        key,
        created=draw(st.integers(0, 3)),
        status=draw(st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True)),
        traffic_policy=draw(st.sampled_from(["Cluster", "Local"])),
        sharing_key=draw(st.sampled_from(["", "k"])),
        ports=[draw(st.sampled_from(["tcp/80", "tcp/81"]))],
        selector={"app": draw(st.sampled_from("xy"))},
        type="LoadBalancer" if not draw(rarely) else "ClusterIP",
        mark=draw(st.sampled_from(["", "pool"])),
    )


@st.composite
def slices(draw, key):
    return [
        make_slice(
            key,
            *(
                make_endpoint(
                    f"198.18.1.{number}",
                    node=draw(st.sampled_from([*NAMES, None])),
                    state=draw(st.sampled_from(list(EndpointState))),
                )
                for number in range(draw(st.integers(1, 3)))
            ),
            name=f"{family}",
            family=family,
        )
        for family in draw(st.sets(st.sampled_from(["IPv4", "IPv6"])))
    ]


@st.composite
def advertisements(draw):
    return [
        make_advertisement(
            name,
            interfaces=draw(st.sampled_from([(), ("eth0",), ("eth1", "eth9")])),
            node_selectors=draw(st.sampled_from([(), (make_selector({"zone": "a"}),)])),
            preferred_nodes=draw(st.sampled_from([(), ((7, {"zone": "b"}),)])),
        )
        for name in draw(st.sets(st.sampled_from(["x", "y"])))
    ]


@st.composite
def snapshots(draw) -> Snapshot:
    keys = draw(st.sets(st.sampled_from(SERVICES)))
    return make_snapshot(
        services=[draw(services(key)) for key in keys],
        pools=[make_pool("pool", "192.0.2.0/24", "2001:db8::/64")],
        advertisements=draw(advertisements()),
        slices=[one for key in SERVICES for one in draw(slices(key))],
        nodes=draw(nodes()),
        speakers=draw(reports()),
    )


def full(snapshot: Snapshot):
    return plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)


def situation(snapshot: Snapshot, report: SpeakerReport) -> Situation:
    return Situation(
        now=100.0,
        me=Member(node=report.node, incarnation=report.incarnation),
        snapshot=snapshot,
        synced=True,
        links=report.links,
        fastpath=FastpathState(connected=True, since=0.0, faults={}),
    )


@given(snapshots())
def test_an_address_has_one_owner_at_most_among_all_speakers(snapshot):
    plan = full(snapshot)
    owners: dict[object, list[NodeName]] = {}
    for report in snapshot.speakers.values():
        for address, entry in owned(conduct(NOTHING, situation(snapshot, report))).items():
            owners.setdefault(address, []).append(report.node)
            assert entry.links == plan.addresses[address].links
    assert all(len(names) == 1 for names in owners.values())
    wanted = {a: [one.owner] for a, one in plan.addresses.items() if one.owner is not None}
    assert owners == wanted


@given(snapshots())
def test_the_owner_is_the_only_candidate_with_yes_and_every_other_has_a_reason(snapshot):
    for plan in full(snapshot).addresses.values():
        verdicts = plan.candidates()
        assert verdicts.keys() == snapshot.nodes.keys()
        yes = [node for node, verdict in verdicts.items() if isinstance(verdict, Eligible)]
        assert yes == ([plan.owner] if plan.owner else [])
        assert (plan.owner is None) == (plan.refused is not None)
        assert plan.order()[:1] == tuple(yes)


@given(snapshots())
def test_only_lawful_services_are_announced(snapshot):
    plan = full(snapshot)
    assert ip_address("203.0.113.9") not in plan.addresses
    for address, one in plan.addresses.items():
        holders = [snapshot.services[key] for key in one.services]
        assert all(address in holder.addresses for holder in holders)
        assert all(holder.type == "LoadBalancer" for holder in holders)
        if len(holders) > 1:
            assert {holder.sharing_key for holder in holders} == {"k"}
            assert len({port for h in holders for port in h.sharing_ports}) == len(holders)


@given(snapshots(), snapshots(), st.sets(st.sampled_from(SERVICES)))
def test_an_incremental_plan_equals_a_full_one(before, other, changed):
    after = replace(
        before,
        services=taken_over(before.services, other.services, changed),
        slices=taken_over(before.slices, other.slices, changed),
    )
    keys = frozenset(key for world in (before, other) for key in world.slices | world.services)
    told = Changed(services=frozenset(key for key in keys if str(key) in changed))
    assert plan_announcements(full(before), after, told, load_balancer_class=None) == full(after)


@given(
    st.lists(snapshots(), min_size=2, max_size=4),
    st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(SERVICES)))),
)
def test_a_plan_that_follows_nodes_and_services_equals_a_full_one(worlds, steps):
    """Nodes, SpeakerStatuses and Services are taken over from one world into another, by name."""
    present, plan = worlds[0], full(worlds[0])
    for number, (names, keys) in enumerate(steps):
        other = worlds[number % len(worlds)]
        present = replace(
            present,
            nodes=taken_over(present.nodes, other.nodes, names),
            speakers=taken_over(present.speakers, other.speakers, names),
            services=taken_over(present.services, other.services, keys),
            slices=taken_over(present.slices, other.slices, keys),
        )
        changed = Changed(
            services=frozenset(service_key(key) for key in keys),
            nodes=frozenset(NodeName(name) for name in names),
        )
        plan = plan_announcements(plan, present, changed, load_balancer_class=None)
        assert plan == full(present)


def taken_over(mine, theirs, names):
    return {
        **{key: value for key, value in mine.items() if str(key) not in names},
        **{key: value for key, value in theirs.items() if str(key) in names},
    }


@given(snapshots(), snapshots())
def test_a_full_plan_is_the_same_whatever_was_planned_before(before, after):
    again = plan_announcements(full(before), after, EVERYTHING, load_balancer_class=None)
    assert again == full(after)


@given(st.lists(snapshots(), min_size=2, max_size=5), st.sampled_from(NAMES))
def test_epochs_of_an_address_never_run_backwards_at_one_fast_path(worlds, name):
    me = Member(node=NodeName(name), incarnation=make_speaker(name).incarnation)
    intentions, newest = NOTHING, {}
    for number, snapshot in enumerate(worlds):
        present = replace(situation(snapshot, make_speaker(name)), me=me, now=100.0 + number)
        intentions = conduct(intentions, present)
        for address, entry in (intentions.table.entries if intentions.table else {}).items():
            assert entry.epoch >= newest.get(address, entry.epoch)
            newest[address] = entry.epoch
