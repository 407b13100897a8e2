"""BGPAdvertisements and Community objects beside what exists: in effect, in doubt, or not."""

from __future__ import annotations

import pytest

from lbctl.model.reason import Reason
from lbctl.plan.advertisements import Known, judge_bgp_advertisement
from lbctl.plan.communities import judge_communities
from tests.support.bgp_builders import held, make_aliases, make_bgp_advertisement, make_community
from tests.support.builders import configured, make_pool, make_selector

GOLD = configured(make_pool("gold", "192.0.2.0/28", "192.0.2.32-192.0.2.49", "2001:db8::/64"))
KNOWN = Known(pools={"gold": GOLD}, peers={"tor"}, communities={"blue"})


def judge(spec):
    (entry,) = held("BGPAdvertisement", spec).values()
    return judge_bgp_advertisement(entry, KNOWN)


@pytest.mark.parametrize(
    ("spec", "accepted", "reason", "words"),
    [
        (make_bgp_advertisement(), True, Reason.ACCEPTED, "the advertisement is in effect"),
        (
            make_bgp_advertisement(pools={"gold"}, peers={"tor"}, communities=["blue", "1:1"]),
            True,
            Reason.ACCEPTED,
            "in effect",
        ),
        ("bad", False, Reason.INVALID, "spec.broken"),
        (
            make_bgp_advertisement(communities=["1:1", "red"]),
            False,
            Reason.MISSING_COMMUNITY,
            "spec.communities[1]: no Community object defines 'red'; define it or correct",
        ),
        (
            make_bgp_advertisement(pools={"gold", "tin"}),
            True,
            Reason.MISSING_POOL,
            "in effect; but spec.ipAddressPools: there is no pool tin at present",
        ),
        (
            make_bgp_advertisement(peers={"tor", "spine"}),
            True,
            Reason.MISSING_PEER,
            "in effect; but spec.peers: there is no BGPPeer spine at present",
        ),
        (
            make_bgp_advertisement(pools={"tin"}, peers={"spine"}),
            True,
            Reason.MISSING_POOL,
            "there is no BGPPeer spine at present; create it or correct the name",
        ),
        (
            make_bgp_advertisement(aggregation_length=28, aggregation_length_v6=64),
            True,
            Reason.ACCEPTED,
            "in effect",
        ),
        (
            make_bgp_advertisement(aggregation_length=27, pools={"gold"}),
            True,
            Reason.AGGREGATE_TOO_WIDE,
            (
                "/27, which is wider than 192.0.2.0-192.0.2.15 (/28) of pool gold; the addresses of this "
                "entry (and of 1 more) are not announced; raise the length"
            ),
        ),
        (
            make_bgp_advertisement(aggregation_length_v6=63),
            True,
            Reason.AGGREGATE_TOO_WIDE,
            "spec.aggregationLengthV6: /63, which is wider than 2001:db8::",
        ),
        (
            make_bgp_advertisement(
                aggregation_length=8, pool_selectors=(make_selector({"a": "b"}),)
            ),
            True,
            Reason.ACCEPTED,
            "in effect",
        ),
    ],
    ids=[
        *("empty", "known", "invalid", "community", "pool", "peer", "both"),
        *("fits", "wide", "wide in IPv6", "wide elsewhere"),
    ],
)
def test_an_advertisement_is_judged_beside_the_names_that_exist(spec, accepted, reason, words):
    verdict = judge(spec)
    assert (verdict.accepted, verdict.reason) == (accepted, reason)
    assert words in verdict.message


def book(*specs):
    found = judge_communities(held("Community", *specs))
    return found.values, {key.name: verdict for key, verdict in found.verdicts.items()}


def test_names_of_all_objects_are_in_effect():
    values, verdicts = book(make_aliases("a", blue="1:1"), make_aliases("b", red="1:2"))
    assert values == {"blue": make_community("1:1"), "red": make_community("1:2")}
    assert {verdict.reason for verdict in verdicts.values()} == {Reason.ACCEPTED}


def test_of_two_definitions_of_a_name_the_older_counts_and_the_rest_of_the_younger_too():
    old, young = make_aliases("z", 1, blue="1:1"), make_aliases("a", 2, blue="1:2", red="1:3")
    for order in ((old, young), (young, old)):
        values, verdicts = book(*order)
        assert values == {"blue": make_community("1:1"), "red": make_community("1:3")}
        assert verdicts["z"].reason is Reason.ACCEPTED
        assert verdicts["a"].accepted
        assert verdicts["a"].reason is Reason.DUPLICATE_COMMUNITY
        assert "spec.communities[0].name: the older Community z defines 'blue'" in (
            verdicts["a"].message
        )


def test_a_broken_object_defines_nothing_and_stops_no_other():
    values, verdicts = book("broken", make_aliases("a", blue="1:1"))
    assert list(values) == ["blue"]
    assert (verdicts["broken"].accepted, verdicts["broken"].reason) == (False, Reason.INVALID)
