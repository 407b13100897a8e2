"""The parsers of the BGP kinds: every field, every limit, one clear sentence per fault."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from lbctl.kube.configured import Written
from lbctl.kube.crds.bfd_profile import parse_bfd_profile
from lbctl.kube.crds.bgp_advertisement import parse_bgp_advertisement
from lbctl.kube.crds.bgp_peer import parse_bgp_peer
from lbctl.kube.crds.communities import parse_communities
from lbctl.kube.groups import BGP_PEER, METALLB_GROUP, Groups, groups, own_groups
from lbctl.model.address import Family
from lbctl.model.community import Alias, ExtendedCommunity, LargeCommunity, StandardCommunity
from lbctl.model.names import ObjectKey
from lbctl.model.peer import BFDProfile, BGPPeer, DynamicASN
from tests.support.bgp_cases import CASES, PEER, Case, peer, unnumbered

PARSERS = {
    "BGPPeer": parse_bgp_peer,
    "BGPAdvertisement": parse_bgp_advertisement,
    "Community": parse_communities,
}


def body(spec: Any, name: str = "tor") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "lbctl-system",
            "uid": "u",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 3,
        },
        "spec": spec,
    }


def read(case: Case) -> Written[Any]:
    found = PARSERS[case.kind.kind](body(case.spec))
    assert found is not None
    return found


def parsed(case: Case) -> BGPPeer:
    found = parse_bgp_peer(body(case.spec))
    assert found is not None
    assert found.problems == ()
    assert found.spec is not None
    return found.spec


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_spec_is_good_or_refused_with_its_field_and_a_cure(case: Case) -> None:
    found = read(case)
    assert (found.spec is None) == bool(found.problems)
    assert [problem.path for problem in found.problems] == ([case.path] if case.path else [])
    for problem in found.problems:
        assert case.words in problem.message


def test_a_minimal_peer_gets_metallbs_defaults() -> None:
    made = parsed(peer())
    assert made == BGPPeer(
        name=made.name,
        namespace="lbctl-system",
        uid="u",
        created="2026-01-01T00:00:00Z",
        generation=3,
        my_asn=64500,
        peer_asn=64501,
        address=ip_address("192.0.2.1"),
        port=179,
        hold_time_s=90,
        keepalive_time_s=30,
    )
    assert not made.internal
    assert made.families == {Family.IPV4}


def test_every_field_of_a_peer_is_read() -> None:
    made = parsed(
        peer(
            peerASN=None,
            dynamicASN="external",
            localASN=65536,
            peerAddress="2001:db8::1",
            sourceAddress="2001:db8::9",
            peerPort=1179,
            holdTime="9s",
            keepaliveTime="2s",
            connectTime="5s",
            routerID="203.0.113.1",
            nodeSelectors=[{"matchLabels": {"rack": "1"}}],
            passwordSecret={"name": "key", "namespace": "lbctl-system"},
            bfdProfile="fast",
            enableGracefulRestart=True,
            ttlSecurityHops=2,
            vrf="red",
            dualStackAddressFamily=True,
        )
    )
    assert (made.peer_asn, made.dynamic_asn, made.local_asn) == (None, DynamicASN.EXTERNAL, 65536)
    assert (made.address, made.source) == (ip_address("2001:db8::1"), ip_address("2001:db8::9"))
    assert (made.port, made.router_id) == (1179, ip_address("203.0.113.1"))
    assert (made.hold_time_s, made.keepalive_time_s, made.connect_time_s) == (9, 2, 5)
    assert made.node_selectors[0].matches({"rack": "1"})
    assert (made.password, made.password_secret) == ("", "key")
    assert (made.bfd_profile, made.vrf) == ("fast", "red")
    assert (made.graceful_restart, made.multihop, made.ttl_security_hops) == (True, False, 2)
    assert made.families == set(Family)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({}, (90, 30)),
        ({"holdTime": "30s"}, (30, 10)),
        ({"keepaliveTime": "7s"}, (21, 7)),
        ({"holdTime": "30s", "keepaliveTime": "7s"}, (30, 7)),
        ({"holdTime": "0s"}, (0, 0)),
        ({"keepaliveTime": "0s"}, (0, 0)),
        ({"holdTime": "90.9s", "keepaliveTime": "1m0.9s"}, (90, 60)),
    ],
    ids=str,
)
def test_an_absent_time_follows_from_the_other_three_to_one(
    times: dict[str, str], expected: tuple[int, int]
) -> None:
    made = parsed(peer(**times))
    assert (made.hold_time_s, made.keepalive_time_s) == expected


@pytest.mark.parametrize(
    ("case", "internal"),
    [
        (peer(), False),
        (peer(peerASN=64500), True),
        (peer(peerASN=None, dynamicASN="internal"), True),
        (peer(peerASN=None, dynamicASN="external"), False),
        (unnumbered(peerASN=64500), True),
    ],
    ids=str,
)
def test_a_peer_of_our_own_as_is_internal(case: Case, internal: bool) -> None:
    assert parsed(case).internal is internal


def test_a_session_by_interface_carries_both_families() -> None:
    assert parsed(unnumbered()).families == set(Family)
    assert parsed(peer(peerAddress="2001:db8::1")).families == {Family.IPV6}
    assert parsed(peer(disableMP=True)).families == {Family.IPV4}


def test_a_password_is_in_no_message_and_in_no_repr() -> None:
    secret = "hunter2" * 12
    refused = read(peer(password=secret))
    assert [problem.path for problem in refused.problems] == ["spec.password"]
    assert "hunter2" not in str(refused)
    assert "hunter2" not in repr(parsed(peer(password="hunter2")))
    assert parsed(peer(password="hunter2")).password == "hunter2"
    assert "12345" not in str(read(peer(password=12345)))


def test_a_secret_of_another_namespace_is_refused() -> None:
    found = read(peer(passwordSecret={"name": "key", "namespace": "web"}))
    assert [problem.path for problem in found.problems] == ["spec.passwordSecret.namespace"]
    assert "keep the Secret in lbctl-system" in found.problems[0].message


def test_every_problem_of_a_peer_is_reported_at_once() -> None:
    found = read(peer(peerAddress="fe80::1", holdTime="1s", myASN=0, routerID="x"))
    assert [problem.path for problem in found.problems] == [
        "spec.myASN",
        "spec.peerAddress",
        "spec.holdTime",
        "spec.routerID",
    ]


def test_a_minimal_advertisement_announces_every_address_by_itself_to_everybody() -> None:
    found = parse_bgp_advertisement(body({}, "all"))
    assert found is not None
    made = found.spec
    assert made is not None
    assert found.key == ObjectKey("BGPAdvertisement", "lbctl-system", "all")
    assert (made.length(Family.IPV4), made.length(Family.IPV6)) == (32, 128)
    assert (made.local_preference, made.communities, made.peers) == (0, (), frozenset())
    assert (made.pools, made.pool_selectors) == (frozenset(), ())
    assert (made.node_selectors, made.service_selectors) == ((), ())


def test_every_field_of_an_advertisement_is_read() -> None:
    found = parse_bgp_advertisement(
        body(
            {
                "aggregationLength": 24,
                "aggregationLengthV6": 64,
                "localPref": 200,
                "communities": ["64500:1", "large:1:2:3", "extended:rt:64500:1", "no-export"],
                "ipAddressPools": ["gold"],
                "ipAddressPoolSelectors": [{"matchLabels": {"tier": "gold"}}],
                "nodeSelectors": [{"matchLabels": {"rack": "1"}}],
                "peers": ["tor1", "tor2"],
            }
        )
    )
    assert found is not None
    made = found.spec
    assert made is not None
    assert (made.length(Family.IPV4), made.length(Family.IPV6)) == (24, 64)
    assert made.local_preference == 200
    assert made.communities == (
        StandardCommunity(64500, 1),
        LargeCommunity(1, 2, 3),
        ExtendedCommunity(bytes.fromhex("0002fbf400000001")),
        Alias("no-export"),
    )
    assert made.pools == {"gold"}
    assert made.pool_selectors[0].matches({"tier": "gold"})
    assert made.node_selectors[0].matches({"rack": "1"})
    assert made.peers == {"tor1", "tor2"}


def test_service_selectors_are_read_beside_whole_addresses() -> None:
    found = parse_bgp_advertisement(body({"serviceSelectors": [{"matchLabels": {"a": "b"}}]}))
    assert found is not None
    assert found.spec is not None
    assert found.spec.service_selectors[0].matches({"a": "b"})


def test_the_names_of_a_community_object_are_read_in_order() -> None:
    found = parse_communities(
        body(
            {
                "communities": [
                    {"name": "no-export", "value": "65535:65281"},
                    {"name": "blue", "value": "large:64500:1:1"},
                ]
            }
        )
    )
    assert found is not None
    assert found.spec is not None
    assert found.spec.values == (
        ("no-export", StandardCommunity(65535, 65281)),
        ("blue", LargeCommunity(64500, 1, 1)),
    )


def test_a_bfd_profile_has_the_defaults_of_bfdd_and_every_field_is_read() -> None:
    found = parse_bfd_profile(body({}, "plain"))
    assert found is not None
    plain = BFDProfile(name="plain", namespace="lbctl-system", uid="u", generation=3)
    assert found.spec == plain
    assert (plain.receive_interval_ms, plain.transmit_interval_ms) == (300, 300)
    assert (plain.detect_multiplier, plain.echo_interval_ms, plain.minimum_ttl) == (3, 50, 254)
    spec = {
        "receiveInterval": 10,
        "transmitInterval": 20,
        "detectMultiplier": 2,
        "echoInterval": 30,
        "echoMode": True,
        "passiveMode": True,
        "minimumTtl": 1,
    }
    found = parse_bfd_profile(body(spec, "plain"))
    assert found is not None
    assert found.spec == replace(
        plain,
        receive_interval_ms=10,
        transmit_interval_ms=20,
        detect_multiplier=2,
        echo_interval_ms=30,
        echo_mode=True,
        passive_mode=True,
        minimum_ttl=1,
    )


def test_a_peer_of_metallb_is_read_in_its_second_version() -> None:
    table = groups(METALLB_GROUP)
    assert isinstance(table, Groups)
    assert table[BGP_PEER].api_version == "metallb.io/v1beta2"
    assert {one.version for one in table.resources.values() if one.kind != BGP_PEER} == {"v1beta1"}
    assert {one.version for one in own_groups().resources.values()} == {"v1beta1"}


def test_a_case_starts_from_a_good_peer() -> None:
    assert read(Case(kind=peer().kind, spec=PEER)).problems == ()
