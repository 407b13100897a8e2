"""The conductor: what a speaker commands, publishes and hands over in each situation."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from lbctl.model.membership import Member, Standing
from lbctl.model.names import Incarnation, LinkName, NodeName
from lbctl.model.node import Owner
from lbctl.model.snapshot import Changed
from speaker.agent.conductor import NOTHING, Situation, conduct, owned
from speaker.agent.report import FASTPATH_GRACE_S, FastpathState
from speaker.agent.table import YIELD_KEPT_S, Commanded
from speaker.wire.control import Entry, Epoch, Mode, Removal
from tests.support.bgp_builders import held, make_bgp_advertisement, make_peer
from tests.support.builders import (
    make_advertisement,
    make_endpoint,
    make_link,
    make_node,
    make_pool,
    make_service,
    make_slice,
    make_snapshot,
    make_speaker,
    service_key,
)

V4 = ip_address("192.0.2.10")
# 192.0.2.10 ranks node-c, node-b, node-a.
NAMES = ("node-a", "node-b", "node-c")
ME = Member(node=NodeName("node-c"), incarnation=Incarnation("node-c-1"))


def world(**overrides):
    values = {
        "services": [make_service(status=["192.0.2.10"], mark="pool")],
        "pools": [make_pool()],
        "advertisements": [make_advertisement()],
        "slices": [make_slice("default/shop", make_endpoint(node="node-a"))],
        "nodes": [make_node(name) for name in NAMES],
        "speakers": speakers(),
    }
    return make_snapshot(**(values | overrides))


def speakers(**changed):
    return [
        make_speaker(
            name,
            resource_version=str(100 + number),
            links=(make_link(index=number + 2),),
            **changed.get(name.replace("-", "_"), {}),
        )
        for number, name in enumerate(NAMES)
    ]


def situation(**fields):
    values = {
        "now": 50.0,
        "me": ME,
        "snapshot": world(),
        "synced": True,
        "links": (make_link(index=4),),
        "fastpath": FastpathState(connected=True, since=0.0, faults={}),
    }
    return Situation(**(values | fields))


def test_the_elected_node_owns_the_address_on_its_link_with_the_epoch_of_the_view():
    intentions = conduct(NOTHING, situation())
    epoch = intentions.memberships[LinkName("eth0")].view
    assert owned(intentions) == {V4: Entry(address=V4, links=(LinkName("eth0"),), epoch=epoch)}
    assert epoch == Epoch(generation=0, number=102)
    (said,) = intentions.statements.values()
    assert (said.addresses, said.node, said.interfaces) == ((V4,), "node-c", ("eth0",))


def test_the_other_nodes_own_nothing():
    other = Member(node=NodeName("node-a"), incarnation=Incarnation("node-a-1"))
    intentions = conduct(NOTHING, situation(me=other))
    assert intentions.table.entries == {}
    assert intentions.statements == {}
    assert intentions.peers == {"02:00:00:00:00:03", "02:00:00:00:00:04"}


def test_nothing_is_commanded_before_every_input_has_synced():
    intentions = conduct(NOTHING, situation(synced=False))
    assert intentions.table is None
    assert intentions.statements is None


def test_nothing_is_commanded_before_the_first_inventory_of_links():
    intentions = conduct(NOTHING, situation(links=None))
    assert (intentions.table, intentions.report) == (None, None)


def test_a_restarted_process_waits_until_its_own_report_is_out():
    reborn = replace(ME, incarnation=Incarnation("node-c-2"))
    intentions = conduct(NOTHING, situation(me=reborn))
    assert intentions.table is None
    assert intentions.report.incarnation == "node-c-2"
    seen = world(speakers=speakers(node_c={"incarnation": Incarnation("node-c-2")}))
    after = conduct(intentions, situation(me=reborn, snapshot=seen))
    assert list(owned(after)) == [V4]


def test_an_address_that_moves_is_yielded_with_the_successors_epoch_and_then_forgotten():
    before = conduct(NOTHING, situation())
    moved = world(speakers=speakers(node_c={"draining": True}))
    after = conduct(before, situation(snapshot=moved, stopping=True))
    entry = after.table.entries[V4]
    assert entry.mode is Mode.YIELD
    assert entry.epoch > before.table.entries[V4].epoch
    assert after.statements == {}
    assert after.deadline == 50.0 + YIELD_KEPT_S
    assert not after.handed_over
    done = conduct(after, situation(snapshot=moved, stopping=True, yielded=frozenset({V4})))
    assert done.table.entries == {}
    assert done.handed_over
    late = conduct(after, situation(snapshot=moved, stopping=True, now=50.0 + YIELD_KEPT_S))
    assert late.handed_over


def test_stopping_is_published_before_anything_moves():
    before = conduct(NOTHING, situation())
    stopping = conduct(before, situation(stopping=True))
    assert stopping.report.draining
    assert owned(stopping) == owned(before)
    assert not stopping.handed_over


def test_a_process_that_ends_before_it_knew_anything_takes_back_what_the_one_before_said():
    reborn = replace(ME, incarnation=Incarnation("node-c-2"))
    away = FastpathState(connected=False, since=50.0, faults={})
    early = {"me": reborn, "links": None, "fastpath": away, "synced": False, "stopping": True}
    stopping = conduct(NOTHING, situation(**early))
    own = speakers()[2]
    assert stopping.report == replace(own, draining=True, resource_version="")
    assert not stopping.handed_over
    told = world(speakers=speakers(node_c={"draining": True}))
    assert conduct(stopping, situation(**early, snapshot=told)).handed_over


def test_a_process_that_stops_makes_no_report_where_there_is_none():
    alone = world(speakers=speakers()[:2])
    stopping = conduct(NOTHING, situation(snapshot=alone, stopping=True))
    assert stopping.report is None
    assert stopping.handed_over


def test_a_process_that_stops_leaves_the_report_of_a_later_life_alone():
    before = conduct(NOTHING, situation())
    later = world(speakers=speakers(node_c={"incarnation": Incarnation("node-c-2")}))
    stopping = conduct(before, situation(snapshot=later, stopping=True))
    assert stopping.report is None
    done = conduct(stopping, situation(snapshot=later, stopping=True, yielded=frozenset({V4})))
    assert done.handed_over


def test_the_report_belongs_to_the_pod_until_the_end():
    pod = (Owner(kind="Pod", name="speaker-x", uid="u1"),)
    assert conduct(NOTHING, situation(owners=pod)).report.owners == pod
    # A pod that ends does not take over what another one may hold by now.
    assert conduct(NOTHING, situation(owners=pod, stopping=True)).report.owners == ()


def test_the_report_says_that_the_exclude_label_is_ignored():
    assert conduct(NOTHING, situation()).report.ignores_exclude_label is False
    assert conduct(NOTHING, situation(ignore_exclude_label=True)).report.ignores_exclude_label


def test_what_changes_no_owner_leaves_the_very_objects():
    before = conduct(NOTHING, situation())
    more = world(
        slices=[
            make_slice("default/shop", make_endpoint(node="node-a"), make_endpoint(node="node-b"))
        ]
    )
    shop = Changed(services=frozenset({service_key("default/shop")}))
    for changed in (shop, Changed(services=frozenset())):
        after = conduct(before, situation(snapshot=more, changed=changed))
        assert after.memberships is before.memberships
        assert after.table is before.table
        assert after.statements is before.statements


def test_a_service_that_changed_alone_is_announced_and_falls_silent():
    shop = Changed(services=frozenset({service_key("default/shop")}))
    none = conduct(NOTHING, situation(snapshot=world(slices=[])))
    assert owned(none) == {}
    one = conduct(none, situation(changed=shop))
    assert list(owned(one)) == [V4]
    assert owned(conduct(one, situation(snapshot=world(slices=[]), changed=shop))) == {}


def test_an_address_that_nobody_announces_any_more_falls_silent_at_once():
    before = conduct(NOTHING, situation())
    silent = conduct(before, situation(snapshot=world(slices=[])))
    assert silent.table.entries == {}


def test_an_address_that_comes_back_while_it_is_yielded_is_owned_again():
    before = conduct(NOTHING, situation())
    away = conduct(before, situation(snapshot=world(speakers=speakers(node_c={"draining": True}))))
    back = conduct(away, situation())
    assert back.table.entries[V4].mode is Mode.OWN
    assert back.table.entries[V4].epoch > away.table.entries[V4].epoch


def test_a_link_that_went_down_carries_nothing_whatever_the_others_know():
    before = conduct(NOTHING, situation())
    after = conduct(before, situation(links=(make_link(index=4, carrier=False),)))
    assert after.table.entries == {}
    assert not after.report.links[0].carrier


def test_a_released_address_is_silent_and_says_so_in_the_membership():
    before = conduct(NOTHING, situation())
    after = conduct(before, situation(released=frozenset({V4})))
    assert after.table.entries == {}
    membership = after.memberships[LinkName("eth0")]
    assert membership.released == {V4}
    assert membership.owners[V4].owner == ME


def test_an_ownership_keeps_its_epoch_while_the_view_changes_around_it():
    before = conduct(NOTHING, situation())
    nodes = [make_node("node-a"), make_node("node-b", ready=False), make_node("node-c")]
    after = conduct(before, situation(snapshot=world(nodes=nodes)))
    views = [one.memberships[LinkName("eth0")] for one in (before, after)]
    assert views[1].view > views[0].view
    assert views[1].last_change == "node-b is not ready"
    assert owned(after) == owned(before)


def test_a_fast_path_that_knows_newer_epochs_gets_newer_ones_still():
    before = conduct(NOTHING, situation())
    after = conduct(before, situation(floor=5000))
    assert owned(after)[V4].epoch.number >= 5000
    again = conduct(after, situation(floor=5000))
    assert owned(again) == owned(after)


def test_a_node_that_is_not_ready_has_no_standing_and_owns_nothing():
    nodes = [make_node("node-a"), make_node("node-b"), make_node("node-c", ready=False)]
    intentions = conduct(NOTHING, situation(snapshot=world(nodes=nodes)))
    membership = intentions.memberships[LinkName("eth0")]
    assert membership.standing is Standing.OUTSIDE
    assert membership.mine() == {}


def test_a_fast_path_that_is_away_for_a_moment_changes_no_report():
    away = FastpathState(connected=False, since=50.0, faults={})
    within = conduct(NOTHING, situation(fastpath=away, now=50.0 + FASTPATH_GRACE_S / 2))
    assert within.report.fastpath_connected
    assert within.deadline == 50.0 + FASTPATH_GRACE_S
    beyond = conduct(within, situation(fastpath=away, now=50.0 + FASTPATH_GRACE_S))
    assert not beyond.report.fastpath_connected


def test_a_speaker_that_has_just_started_reports_nothing_before_it_met_its_fast_path():
    away = FastpathState(connected=False, since=50.0, faults={})
    alone = world(speakers=speakers()[:2])
    assert conduct(NOTHING, situation(snapshot=alone, fastpath=away)).report is None
    late = situation(snapshot=alone, fastpath=away, now=50.0 + FASTPATH_GRACE_S)
    assert not conduct(NOTHING, late).report.fastpath_connected


def test_a_fault_of_one_family_leaves_the_other_alone():
    faults = {(LinkName("eth0"), 6): "no IPv6 here"}
    state = FastpathState(connected=True, since=0.0, faults=faults)
    report = conduct(NOTHING, situation(fastpath=state)).report
    assert (report.links[0].has_link_local, report.faults) == (False, ())
    state = FastpathState(connected=True, since=0.0, faults={(LinkName("eth0"), 0): "no"})
    assert conduct(NOTHING, situation(fastpath=state)).report.faults == ((LinkName("eth0"), "no"),)


def test_the_wire_gets_the_difference_and_nothing_when_there_is_none():
    entry = Entry(address=V4, links=(LinkName("eth0"),), epoch=Epoch(generation=0, number=1))
    empty, full = Commanded(), Commanded(entries={V4: entry})
    assert full.since(full, 7) is None
    assert full.since(empty, 7).upsert == (entry,)
    assert empty.since(full, 8).remove == (Removal(address=V4, epoch=entry.epoch),)
    assert full.whole(9).entries == (entry,)


def test_layer_2_goes_on_while_the_inputs_of_bgp_are_missing():
    done = conduct(NOTHING, situation(bgp_synced=False))
    assert done.table is not None
    assert done.speaking is None


def test_a_report_that_somebody_deletes_withdraws_no_route():
    """Layer 2 gives the address to another node meanwhile, since the others cannot know."""
    routed = {
        "peers": held("BGPPeer", make_peer()),
        "bgp_advertisements": held("BGPAdvertisement", make_bgp_advertisement()),
    }
    before = conduct(NOTHING, situation(snapshot=replace(world(), **routed)))
    [told] = before.speaking.peerings.values()
    assert [str(one) for one in told.table] == ["192.0.2.10/32"]
    others = [one for one in speakers() if one.node != ME.node]
    gone = situation(
        snapshot=replace(world(speakers=others), **routed), changed=Changed(nodes={ME.node})
    )
    after = conduct(before, gone)
    assert not owned(after)
    assert after.report is not None, "it is written again"
    assert after.speaking.peerings == before.speaking.peerings
