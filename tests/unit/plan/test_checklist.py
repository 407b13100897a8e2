"""The operator's checklist: each step fails first where it should, and nothing fails by guess."""

from __future__ import annotations

import pytest

from lbctl.model.names import NodeName
from lbctl.model.snapshot import EVERYTHING, Snapshot
from lbctl.plan.allocation import EMPTY, plan
from lbctl.plan.announced import Sent
from lbctl.plan.announcement import plan_announcements
from lbctl.plan.checklist import Answer, Checklist, checklist, cure_of
from lbctl.plan.explain import explain_service
from tests.support.builders import (
    NAMESPACE,
    addresses,
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

SHOP = service_key("default/shop")


def world(**changes) -> Snapshot:
    """Return a cluster in which the Service default/shop works, but for `changes`."""
    objects = {
        "services": [make_service("default/shop", status=["192.0.2.10"], mark="pool")],
        "pools": [make_pool("pool", "192.0.2.10-192.0.2.11")],
        "advertisements": [make_advertisement()],
        "slices": [make_slice("default/shop")],
        "nodes": [make_node("node1"), make_node("node2")],
        "speakers": [make_speaker("node1"), make_speaker("node2")],
    }
    return make_snapshot(**(objects | changes))


def walk(snapshot: Snapshot, sent: tuple[Sent, ...] = ()) -> Checklist:
    service = snapshot.services[SHOP]
    announcement = plan_announcements(None, snapshot, EVERYTHING, load_balancer_class=None)
    outcome = plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=None).outcomes[SHOP]
    return checklist(
        service,
        explain_service(service, outcome, announcement, sent),
        announcement,
        snapshot.slices.get(SHOP, {}),
        lbctl_namespace=NAMESPACE,
    )


SENT = tuple(
    Sent(node=NodeName(name), interfaces=(), addresses=addresses("192.0.2.10"))
    for name in ("node1", "node2")
)


def answers(found: Checklist) -> dict[str, Answer]:
    return {step.name: step.answer for step in found.steps}


def test_a_service_that_works_fails_no_step():
    found = walk(world(), SENT)
    assert found.fails_first is None
    assert Answer.NOT_REACHED not in answers(found).values()


def shop(**changes):
    return [make_service("default/shop", **{"status": ["192.0.2.10"], "mark": "pool", **changes})]


LOCAL = {"traffic_policy": "Local"}
FIRST_FAILURES = {
    "no pool": ({"pools": [], "services": shop(status=[], mark="")}, "pool", "NoPoolMatches"),
    "a pool that does not exist": (
        {"services": shop(status=[], mark="", pool="other")},
        "pool",
        "UnknownPool",
    ),
    "the pool is full": (
        {
            "services": [
                *shop(status=[], mark="", created=9),
                make_service("default/a", status=["192.0.2.10"], mark="pool"),
                make_service("default/b", status=["192.0.2.11"], mark="pool"),
            ]
        },
        "address",
        "PoolExhausted",
    ),
    "an address of no pool": (
        {"services": shop(status=[], mark="", request=["203.0.113.9"])},
        "address",
        "AddressNotInAnyPool",
    ),
    "an address that an older one holds": (
        {
            "services": [
                *shop(status=["192.0.2.10"], created=9),
                make_service("default/old", status=["192.0.2.10"], mark="pool"),
            ]
        },
        "address",
        "",
    ),
    "no advertisement": ({"advertisements": []}, "advertisement", "NoAdvertisement: no L2"),
    "an advertisement of other Services": (
        {
            "advertisements": [
                make_advertisement("some", service_selectors=(make_selector({"a": "b"}),))
            ]
        },
        "advertisement",
        "NoAdvertisement: the serviceSelectors of some, which cover pool pool",
    ),
    "no speaker": ({"speakers": []}, "eligible nodes", "NoSpeaker"),
    "links down": (
        {
            "speakers": [
                make_speaker(name, links=(make_link(up=False),)) for name in ("node1", "node2")
            ]
        },
        "eligible nodes",
        "InterfaceDown",
    ),
    "a selector that matches nothing": ({"slices": []}, "selector", "app=shop matches no Pod"),
    "no selector and no endpoints": (
        {"slices": [], "services": shop(selector={})},
        "selector",
        "none, and nobody",
    ),
    "endpoints that are not ready": (
        {"slices": [make_slice("default/shop", make_endpoint(state="unusable"))]},
        "endpoints ready",
        "NoEndpoints",
    ),
    "Local, and the endpoints elsewhere": (
        {
            "services": shop(**LOCAL),
            "slices": [make_slice("default/shop", make_endpoint(node="node3"))],
        },
        "local endpoints",
        "NoLocalEndpoints: externalTrafficPolicy is Local, node1, node2 may announce",
    ),
}


@pytest.mark.parametrize(("changes", "step", "words"), FIRST_FAILURES.values(), ids=FIRST_FAILURES)
def test_the_first_step_that_fails_is_the_cause(changes, step, words):
    first = walk(world(**changes)).fails_first
    assert first is not None
    assert first.name == step
    assert first.detail.startswith(words)
    assert first.confirm.startswith(("kubectl ", "lbctl "))


def test_a_step_without_a_subject_is_not_reached_instead_of_guessed():
    found = answers(walk(world(pools=[], services=shop(status=[], mark=""))))
    assert found["pool"] is Answer.FAILED
    for step in ("address", "advertisement", "eligible nodes", "announced"):
        assert found[step] is Answer.NOT_REACHED
    assert found["selector"] is Answer.OK, "it is judged without an address"


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "ExternalName"])
def test_a_service_of_another_type_has_nothing_to_do_and_is_told_why(kind):
    found = walk(world(services=shop(type=kind, status=[], mark="")))
    [step] = found.steps
    assert step.answer is Answer.NOTE
    assert step.detail.startswith(f"{kind}: nothing to do, because ")
    assert found.fails_first is None


def test_a_service_of_a_foreign_class_stops_at_its_class():
    found = walk(world(services=shop(load_balancer_class="other", status=[], mark="")))
    assert [(step.name, step.answer) for step in found.steps] == [
        ("type", Answer.OK),
        ("class", Answer.NOTE),
    ]


def test_an_announcement_that_nobody_reports_fails_and_one_by_another_node_is_noted():
    silent = walk(world()).fails_first
    assert silent is not None
    assert silent.name == "announced"
    assert silent.detail.startswith("NotReported: 192.0.2.10: node ")
    assert "logs of the speaker pod" in cure_of(silent)
    said = {
        step.answer
        for sent in SENT
        for step in walk(world(), (sent,)).steps
        if step.name == "announced"
    }
    assert said == {Answer.OK, Answer.NOTE}


@pytest.mark.parametrize(("policy", "word"), [("Local", "kept"), ("Cluster", "replaced")])
def test_the_policy_says_whether_the_source_address_is_kept(policy, word):
    found = walk(world(services=shop(traffic_policy=policy)))
    assert found.steps[-1].detail.startswith(word)


def test_a_failure_with_a_reason_brings_the_cure_of_that_reason():
    first = walk(world(advertisements=[])).fails_first
    assert first is not None
    assert "L2Advertisement" in cure_of(first)
    none = walk(world(slices=[])).fails_first
    assert none is not None
    assert cure_of(none) == ""
