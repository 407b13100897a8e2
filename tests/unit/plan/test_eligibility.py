"""Eligibility: every reason for no, and the endpoint table of the design as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbctl.model.address import Family
from lbctl.model.endpoints import EndpointState
from lbctl.model.names import LinkName, NodeName
from lbctl.model.outcome import Refused
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.model.service import TrafficPolicy
from lbctl.plan.eligibility import (
    EXCLUDE_LABEL,
    Eligible,
    eligibility,
    endpoint_refusal,
    placement,
    serving_nodes,
)
from lbctl.plan.endpoints import EndpointCount, count_endpoints
from tests.support.builders import (
    make_advertisement,
    make_endpoint,
    make_link,
    make_node,
    make_selector,
    make_slice,
    make_speaker,
)

READY, DRAINING, UNUSABLE = EndpointState.READY, EndpointState.DRAINING, EndpointState.UNUSABLE
ONE_READY = EndpointCount(ready=1, ready_nodes=frozenset({NodeName("node1")}))


def judge(*, node=None, report="healthy", advertisements=None, family=Family.IPV4):
    return eligibility(
        node=node or make_node(),
        report=make_speaker() if report == "healthy" else report,
        advertisements=(make_advertisement(),) if advertisements is None else advertisements,
        family=family,
        policy=TrafficPolicy.CLUSTER,
        endpoints=ONE_READY,
        ready_elsewhere=False,
    )


def test_a_healthy_node_may_announce_on_all_its_links():
    two = make_speaker(links=(make_link("eth1", index=3), make_link("eth0")))
    assert judge(report=two) == Eligible(links=(LinkName("eth0"), LinkName("eth1")))


NO_CASES = {
    Reason.NO_ADVERTISEMENT: {"advertisements": ()},
    Reason.NODE_NOT_SELECTED: {
        "advertisements": (make_advertisement(node_selectors=(make_selector({"rack": "b"}),)),)
    },
    Reason.NODE_EXCLUDED: {"node": make_node(labels={EXCLUDE_LABEL: ""})},
    Reason.NODE_NETWORK_UNAVAILABLE: {"node": make_node(network_unavailable=True)},
    Reason.NODE_NOT_READY: {"node": make_node(ready=False)},
    Reason.NODE_OUT_OF_SERVICE: {"node": make_node(out_of_service=True, ready=False)},
    Reason.NO_SPEAKER: {"report": None},
    Reason.NODE_DRAINING: {"report": make_speaker(draining=True)},
    Reason.FASTPATH_DOWN: {"report": make_speaker(fastpath_connected=False)},
    Reason.INTERFACE_MISSING: {"advertisements": (make_advertisement(interfaces=("eth7",)),)},
    Reason.INTERFACE_DOWN: {"report": make_speaker(links=(make_link(up=False, carrier=False),))},
    Reason.NO_CARRIER: {"report": make_speaker(links=(make_link(carrier=False),))},
    Reason.FAMILY_MISSING_ON_INTERFACE: {
        "report": make_speaker(links=(make_link(has_link_local=False),)),
        "family": Family.IPV6,
    },
    Reason.INTERFACE_UNUSABLE: {
        "report": make_speaker(faults=((LinkName("eth0"), "no CAP_NET_RAW"),))
    },
}


@pytest.mark.parametrize("reason", NO_CASES, ids=lambda reason: reason.value)
def test_each_rule_refuses_with_its_own_reason_and_a_sentence(reason):
    verdict = judge(**NO_CASES[reason])
    assert isinstance(verdict, Refused)
    assert verdict.reason is reason
    assert verdict.detail
    assert EXPLANATIONS[reason].cure


def test_the_drain_annotation_refuses_like_a_speaker_that_stops():
    verdict = judge(node=make_node(drain_requested=True))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.NODE_DRAINING


def test_a_node_without_any_link_lacks_the_interface():
    verdict = judge(report=make_speaker(links=()))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.INTERFACE_MISSING


def test_ipv4_needs_no_link_local_address():
    report = make_speaker(links=(make_link(has_link_local=False),))
    assert isinstance(judge(report=report), Eligible)


def test_one_working_link_is_enough():
    links = (make_link("eth0", carrier=False), make_link("eth1", index=3))
    assert judge(report=make_speaker(links=links)) == Eligible(links=(LinkName("eth1"),))


def test_of_several_broken_links_the_nearest_to_working_is_reported():
    links = (make_link("eth0", up=False), make_link("eth1", index=3, carrier=False))
    verdict = judge(report=make_speaker(links=links))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.NO_CARRIER


def test_interfaces_of_several_advertisements_are_united_and_none_means_all():
    links = tuple(make_link(f"eth{n}", index=n + 2) for n in range(3))
    report = make_speaker(links=links)
    first = make_advertisement("a", interfaces=("eth0",))
    second = make_advertisement("b", interfaces=("eth2",))
    assert judge(report=report, advertisements=(first, second)) == Eligible(
        links=(LinkName("eth0"), LinkName("eth2"))
    )
    everywhere = judge(report=report, advertisements=(first, make_advertisement("c")))
    assert everywhere == Eligible(links=tuple(link.name for link in links))


def test_an_advertisement_for_other_nodes_does_not_widen_the_interfaces():
    elsewhere = make_advertisement("b", node_selectors=(make_selector({"rack": "b"}),))
    here = make_advertisement("a", interfaces=("eth9",))
    verdict = judge(advertisements=(here, elsewhere))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.INTERFACE_MISSING


def test_families_are_judged_apart():
    report = make_speaker(links=(make_link(has_link_local=False),))
    both = placement(
        node=make_node(),
        report=report,
        advertisements=(make_advertisement(),),
        families=tuple(Family),
    )
    assert isinstance(both[Family.IPV4], Eligible)
    assert isinstance(both[Family.IPV6], Refused)


# Design section 7: policy, this node's endpoints, a ready one on another eligible node, and
# anywhere at all (for Cluster) -> the reason for no.
LOCAL, CLUSTER = TrafficPolicy.LOCAL, TrafficPolicy.CLUSTER
ENDPOINT_ROWS = [
    (LOCAL, (READY,), False, None),
    (LOCAL, (READY,), True, None),
    (LOCAL, (READY, DRAINING), True, None),
    (LOCAL, (DRAINING,), True, Reason.NO_LOCAL_ENDPOINTS),
    (LOCAL, (DRAINING,), False, None),
    (LOCAL, (DRAINING, UNUSABLE), False, None),
    (LOCAL, (UNUSABLE,), False, Reason.NO_LOCAL_ENDPOINTS),
    (LOCAL, (UNUSABLE,), True, Reason.NO_LOCAL_ENDPOINTS),
    (LOCAL, (), True, Reason.NO_LOCAL_ENDPOINTS),
    (LOCAL, (), False, Reason.NO_LOCAL_ENDPOINTS),
    (CLUSTER, (READY,), False, None),
    (CLUSTER, (DRAINING,), False, None),
    (CLUSTER, (), True, None),
    (CLUSTER, (UNUSABLE,), True, None),
    (CLUSTER, (UNUSABLE,), False, Reason.NO_ENDPOINTS),
    (CLUSTER, (), False, Reason.NO_ENDPOINTS),
]


@pytest.mark.parametrize(("policy", "here", "elsewhere", "reason"), ENDPOINT_ROWS)
def test_endpoints_decide_by_the_table(policy, here, elsewhere, reason):
    endpoints = [
        make_endpoint(f"198.18.1.{n}", node="node1", state=state) for n, state in enumerate(here)
    ]
    if elsewhere:
        endpoints.append(make_endpoint("198.18.2.1", node="node2"))
    slices = (replace(make_slice(), endpoints=tuple(endpoints)),)
    count = count_endpoints(slices, Family.IPV4)
    refused = endpoint_refusal(
        policy=policy, endpoints=count, node=NodeName("node1"), ready_elsewhere=elsewhere
    )
    assert (refused.reason if refused else None) is reason
    able = {NodeName("node1")} | ({NodeName("node2")} if elsewhere else set())
    chosen = serving_nodes(policy=policy, endpoints=count, able=able)
    assert (NodeName("node1") in chosen) is (reason is None)


def test_a_ready_endpoint_on_a_node_that_may_not_announce_leaves_the_draining_one_in_place():
    count = EndpointCount(
        ready=1,
        draining=1,
        ready_nodes=frozenset({NodeName("node2")}),
        draining_nodes=frozenset({NodeName("node1")}),
    )
    chosen = serving_nodes(policy=LOCAL, endpoints=count, able={NodeName("node1")})
    assert list(chosen) == ["node1"]


def test_an_endpoint_in_two_slices_counts_once_in_its_best_state():
    old = make_slice("default/shop", make_endpoint(state=DRAINING), name="a")
    new = make_slice("default/shop", make_endpoint(state=READY), name="b")
    assert count_endpoints((old, new), Family.IPV4) == ONE_READY
    assert count_endpoints((new, old), Family.IPV4) == ONE_READY


def test_slices_of_another_family_and_names_do_not_count():
    six = make_slice("default/shop", make_endpoint("2001:db8::1"), family=Family.IPV6)
    fqdn = make_slice("default/shop", make_endpoint("shop.example"), family=None)
    assert count_endpoints((six, fqdn), Family.IPV4) == EndpointCount()


def test_an_endpoint_without_a_node_is_local_to_none():
    count = count_endpoints((make_slice("default/shop", make_endpoint(node=None)),), Family.IPV4)
    assert (count.ready, count.ready_nodes) == (1, frozenset())


def test_a_speaker_that_ignores_the_exclude_label_says_so_and_its_node_announces():
    node = make_node(labels={EXCLUDE_LABEL: ""})
    assert isinstance(judge(node=node, report=make_speaker(ignores_exclude_label=True)), Eligible)
    refused = judge(node=node, report=make_speaker())
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NODE_EXCLUDED
