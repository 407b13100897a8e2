"""Which peers are in effect and which node keeps which session; each no has its reason."""

from __future__ import annotations

import pytest

from lbctl.model.reason import Reason
from lbctl.plan.peers import judge_peer, judge_peers, sessions
from tests.support.bgp_builders import held, make_peer
from tests.support.builders import make_node, make_selector

NODE = make_node("node1", labels={"rack": "1"})
RACK1, RACK2 = (make_selector({"rack": "1"}),), (make_selector({"rack": "2"}),)


def peers(*specs):
    return held("BGPPeer", *specs)


def reasons(*specs, node=NODE):
    found = sessions(peers(*specs), node)
    assert not found.kept.keys() & found.refused.keys()
    return sorted(found.kept), {name: no.reason for name, no in found.refused.items()}


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        (make_peer(), Reason.ACCEPTED, "in effect"),
        ("bad", Reason.INVALID, "spec.broken: is nonsense; correct it"),
        (make_peer(vrf="red"), Reason.VRF_UNSUPPORTED, "spec.vrf: a session in VRF red"),
        (make_peer(bfd_profile="fast"), Reason.BFD_UNSUPPORTED, "spec.bfdProfile: there is no BFD"),
    ],
    ids=["good", "invalid", "vrf", "bfd"],
)
def test_a_peer_is_judged_by_itself(spec, reason, words):
    (entry,) = peers(spec).values()
    verdict = judge_peer(entry)
    assert (verdict.accepted, verdict.reason) == (reason is Reason.ACCEPTED, reason)
    assert words in verdict.message


def test_a_bad_peer_stops_itself_alone():
    assert reasons("bad", make_peer("good")) == (["good"], {"bad": Reason.INVALID})


def test_a_peer_has_sessions_on_the_nodes_that_it_selects():
    assert reasons(make_peer("a", node_selectors=RACK1)) == (["a"], {})
    assert reasons(make_peer("a", node_selectors=RACK2)) == ([], {"a": Reason.NODE_NOT_SELECTED})
    assert reasons(make_peer("a", node_selectors=RACK2 + RACK1)) == (["a"], {})


SAME = [
    ({}, {}, True),
    ({"port": 179}, {"port": 1179}, False),
    ({"source": "192.0.2.8"}, {"source": "192.0.2.9"}, False),
    ({"source": "192.0.2.8"}, {"source": "192.0.2.8"}, True),
    ({"source": "192.0.2.8"}, {}, True),
    ({"address": "192.0.2.1"}, {"address": "192.0.2.2"}, False),
    ({"address": None, "interface": "eth0"}, {"address": None, "interface": "eth0"}, True),
    ({"address": None, "interface": "eth0"}, {"address": None, "interface": "eth1"}, False),
    ({"node_selectors": RACK1}, {"node_selectors": RACK2}, False),
    ({"vrf": "red"}, {}, False),
]


@pytest.mark.parametrize(("one", "other", "same"), SAME, ids=str)
def test_of_two_peers_that_mean_one_session_the_older_has_it(one, other, same):
    old, young = make_peer("z-old", created=1, **one), make_peer("a-young", created=2, **other)
    for order in ((old, young), (young, old)):
        kept, refused = reasons(*order)
        assert (refused.get("a-young") is Reason.DUPLICATE_PEER) is same
        assert "z-old" in kept or refused["z-old"] is not Reason.DUPLICATE_PEER


def test_a_refused_duplicate_names_the_peer_that_has_the_session():
    found = sessions(peers(make_peer("old", created=1), make_peer("young", created=2)), NODE)
    assert found.refused["young"].detail == (
        "the older peer old has the session with 192.0.2.1 port 179 there"
    )


def test_a_peer_that_another_excludes_on_some_nodes_stays_in_effect_and_says_so():
    objects = peers(
        make_peer("old", created=1, node_selectors=RACK1), make_peer("young", created=2)
    )
    nodes = [make_node(f"n{i}", labels={"rack": str(1 + i // 5)}) for i in range(6)]
    verdicts = {key.name: verdict for key, verdict in judge_peers(objects, nodes).items()}
    assert verdicts["old"].reason is Reason.ACCEPTED
    assert (verdicts["young"].accepted, verdicts["young"].reason) == (True, Reason.DUPLICATE_PEER)
    assert "not on node n0, n1, n2 and 2 more: the older peer old" in verdicts["young"].message
