"""ServiceL2Status: what a node says, and which objects it removes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from lbctl.kube.crds.service_l2_status import ServiceL2Status
from lbctl.model.membership import ViewNumber
from lbctl.model.names import LinkName, NodeName
from lbctl.model.snapshot import EVERYTHING
from lbctl.plan.announcement import plan_announcements
from speaker.agent.statement import statement_changes, statements
from speaker.wire.control import Entry, Epoch, Mode
from tests.support.builders import (
    make_advertisement,
    make_node,
    make_pool,
    make_service,
    make_slice,
    make_snapshot,
    make_speaker,
    service_key,
)

V4 = ip_address("192.0.2.10")
ME, OTHER = NodeName("node-c"), NodeName("node-a")
NAME = "default.shop.ipv4"


def plan(*, announced=True):
    return plan_announcements(
        None,
        make_snapshot(
            services=[make_service(status=["192.0.2.10"])],
            pools=[make_pool()],
            advertisements=[make_advertisement()],
            slices=[make_slice()] if announced else [],
            nodes=[make_node("node-a"), make_node("node-c")],
            speakers=[make_speaker("node-a"), make_speaker("node-c")],
        ),
        EVERYTHING,
        load_balancer_class=None,
    )


def entry(mode=Mode.OWN):
    epoch = Epoch(generation=0, number=7)
    return Entry(address=V4, links=(LinkName("eth0"),), epoch=epoch, mode=mode)


def observed(node=ME, **fields):
    values = {
        "service": service_key("default/shop"),
        "node": node,
        "interfaces": (LinkName("eth0"),),
        "addresses": (V4,),
        "epoch": ViewNumber(generation=0, number=7),
        "name": NAME,
        "resource_version": "5",
    }
    return ServiceL2Status(**(values | fields))


def changes(wanted, found, *, announced=True, me=ME, speakers=(ME, OTHER)):
    return statement_changes(
        wanted,
        {one.name: one for one in found},
        me=me,
        announcement=plan(announced=announced),
        speakers=speakers,
    )


def test_an_owner_states_service_address_links_and_epoch():
    said = statements(ME, {V4: entry()}, plan())
    assert said == {NAME: replace(observed(), resource_version="")}


def test_a_yielded_address_is_stated_by_its_successor_only():
    assert statements(ME, {V4: entry(Mode.YIELD)}, plan()) == {}


def test_nothing_is_written_when_nothing_changed():
    said = statements(ME, {V4: entry()}, plan())
    found = changes(said, [observed()])
    assert (found.write, found.remove) == ((), ())


def test_the_new_owner_rewrites_the_object_of_the_old_one():
    said = statements(ME, {V4: entry()}, plan())
    found = changes(said, [observed(OTHER)])
    assert found.write == ((said[NAME], observed(OTHER)),)


def test_the_old_owner_leaves_its_object_to_the_successor():
    assert changes({}, [observed()], announced=True).remove == ()


def test_what_nobody_announces_is_removed_by_the_node_it_names():
    assert changes({}, [observed()], announced=False).remove == (observed(),)
    assert changes({}, [observed(OTHER)], announced=False).remove == ()


def test_the_object_of_a_node_without_speaker_is_removed_by_exactly_one_other():
    gone = observed(NodeName("node-z"))
    removing = [
        me for me in (ME, OTHER) if changes({}, [gone], announced=False, me=me).remove == (gone,)
    ]
    assert len(removing) == 1


def test_objects_with_names_of_another_form_are_never_touched():
    foreign = observed(name="l2-abcde")
    assert changes({}, [foreign], announced=False).remove == ()
