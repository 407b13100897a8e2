"""The audience of an address is what the plans of all nodes say together."""

from __future__ import annotations

from hypothesis import given

from lbctl.model.outcome import Refused
from lbctl.plan.all_routes import plans_of
from lbctl.plan.audience import hear, stage_of
from lbctl.plan.routes import Told
from tests.property.test_routes import full, worlds


@given(worlds())
def test_an_audience_is_what_the_plans_of_all_nodes_say(snapshot):
    stage = stage_of(snapshot)
    plans = {name: full(snapshot, name) for name in snapshot.nodes}
    assert stage.where.keys() | stage.silent.keys() == snapshot.nodes.keys()
    claimants: dict[object, set[object]] = {}
    for service in snapshot.services.values():
        for address in service.addresses if service.type == "LoadBalancer" else ():
            claimants.setdefault(address, set()).add(service.key)
    for address, keys in claimants.items():
        for key in keys:
            heard = hear(stage, snapshot, key, address, keys)
            found = set()
            if isinstance(heard, Refused):
                assert heard.detail
            else:
                found = {
                    (node, peer)
                    for hearers in heard
                    for node in stage.nodes(hearers)
                    for peer in hearers.peers
                }
                assert found, "or there would be a reason"
            wanted = {
                (name, peer.name)
                for name, plan in plans.items()
                for peer in snapshot.peers
                if address not in plan.unlawful.get(key, {})
                and isinstance(plan.verdict(address, peer.name), Told)
            }
            assert found == wanted


@given(worlds())
def test_the_plans_that_nodes_share_are_their_own(snapshot):
    stage = stage_of(snapshot)
    found = dict(plans_of(stage, snapshot, load_balancer_class=None))
    assert found.keys() == stage.where.keys()
    for name, plan in found.items():
        assert plan.tables == full(snapshot, name).tables
