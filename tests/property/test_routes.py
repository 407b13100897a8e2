"""Laws of the plan of routes over any snapshot, and of its steps from one to the next."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lbctl.model.address import family_of
from lbctl.model.names import NodeName
from lbctl.model.outcome import Refused
from lbctl.model.route import Table
from lbctl.model.service import TrafficPolicy
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.endpoints import count_endpoints
from lbctl.plan.routes import Told, plan_routes
from tests.property.test_announcement import NAMES, SERVICES, snapshots, taken_over
from tests.support.bgp_builders import held, make_aliases, make_bgp_advertisement, make_peer
from tests.support.builders import make_selector, service_key

ZONES = st.sampled_from([(), (make_selector({"zone": "a"}),)])


@st.composite
def peers(draw):
    return [
        make_peer(
            name,
            draw(st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])),
            created=draw(st.integers(0, 2)),
            dual_stack=draw(st.booleans()),
            vrf=draw(st.sampled_from(["", "", "", "red"])),
            node_selectors=draw(ZONES),
        )
        for name in draw(st.sets(st.sampled_from(["p1", "p2", "p3"])))
    ]


@st.composite
def advertisements(draw):
    return [
        make_bgp_advertisement(
            name,
            aggregation_length=draw(st.sampled_from([32, 32, 24, 23])),
            aggregation_length_v6=draw(st.sampled_from([128, 64])),
            local_preference=draw(st.sampled_from([0, 0, 100, 200])),
            communities=draw(st.sampled_from([[], ["64500:1"], ["blue"], ["red"]])),
            peers=draw(st.sampled_from([(), (), ("p1",), ("p2", "p3")])),
            node_selectors=draw(ZONES),
        )
        for name in draw(st.sets(st.sampled_from(["x", "y", "z"])))
    ]


@st.composite
def worlds(draw) -> Snapshot:
    return replace(
        draw(snapshots()),
        peers=held("BGPPeer", *draw(peers())),
        bgp_advertisements=held("BGPAdvertisement", *draw(advertisements())),
        communities=held("Community", make_aliases("names", blue="64500:7")),
    )


def full(snapshot: Snapshot, node: str = "n1"):
    return plan_routes(None, snapshot, EVERYTHING, node=NodeName(node), load_balancer_class=None)


@given(
    st.lists(worlds(), min_size=2, max_size=4),
    st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(SERVICES)))),
)
def test_a_plan_that_follows_nodes_and_services_equals_a_full_one(given_worlds, steps):
    """Nodes, SpeakerStatuses and Services are taken over from one world into another, by name."""
    present, plan = given_worlds[0], full(given_worlds[0])
    for number, (names, keys) in enumerate(steps):
        other = given_worlds[number % len(given_worlds)]
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
        before = plan
        plan = plan_routes(before, present, changed, node=NodeName("n1"), load_balancer_class=None)
        assert plan == full(present)
        if plan.news is not None:
            assert different(before.tables, plan.tables) <= plan.news


def different(before, after):
    """Return the prefixes that some peer is told otherwise; both have the same peers."""
    assert before.keys() == after.keys()
    return {
        prefix
        for name in before
        for one, other in zip(parts(before[name]), parts(after[name]), strict=True)
        for prefix in one.keys() | other.keys()
        if one.get(prefix) != other.get(prefix)
    }


def parts(table: Table):
    return table.routes, table.parting, table.refused


@given(worlds())
def test_an_address_and_a_peer_have_a_route_or_a_reason(snapshot):
    plan = full(snapshot)
    assert plan.tables.keys() == plan.ground.sessions.kept.keys()
    assert {key.name for key in snapshot.peers} >= plan.tables.keys()
    for address in plan.addresses:
        for key in snapshot.peers:
            verdict = plan.verdict(address, key.name)
            table = plan.tables.get(key.name, Table())
            if isinstance(verdict, Told):
                assert verdict.routes.items() <= table.routes.items()
                assert all(address in prefix for prefix in verdict.routes)
            else:
                assert isinstance(verdict, Refused)
                assert verdict.detail


@given(worlds())
def test_a_table_holds_what_some_address_asks_for_and_nothing_else(snapshot):
    plan = full(snapshot)
    for name, table in plan.tables.items():
        told: dict[object, object] = {}
        for address in plan.addresses:
            verdict = plan.verdict(address, name)
            if isinstance(verdict, Told):
                told |= verdict.routes
        assert told == table.routes
        assert not table.routes.keys() & table.parting.keys()
        families = plan.ground.sessions.kept[name].families
        for prefix in (*table.routes, *table.parting):
            assert prefix.family in families


def endpoints_of(snapshot, service, address):
    return count_endpoints(snapshot.slices.get(service.key, {}).values(), family_of(address))


@given(worlds())
def test_a_node_announces_only_what_it_can_serve(snapshot):
    for node in NAMES:
        for address, plan in full(snapshot, node).addresses.items():
            services = [snapshot.services[key] for key in plan.services]
            counts = [(one, endpoints_of(snapshot, one, address)) for one in services]
            can = any(
                count.usable
                and (
                    one.traffic_policy is TrafficPolicy.CLUSTER
                    or node in count.ready_nodes | count.draining_nodes
                )
                for one, count in counts
            )
            assert can or not (plan.asked or plan.parting)


@given(worlds())
def test_an_address_that_some_node_could_serve_and_announce_is_announced_by_one(snapshot):
    plans = {node: full(snapshot, node) for node in NAMES}
    for address in plans["n1"].addresses:
        parts_of = [plan.addresses[address] for plan in plans.values()]
        refused = {part.refused.reason for part in parts_of if part.refused is not None}
        if any(part.asked for part in parts_of):
            continue
        # Whoever parts can serve: it may do so only because another announces, or it leaves.
        assert all(
            part.refused is not None and part.refused.reason == "NodeDraining"
            for part in parts_of
            if part.parting
        ), refused
