"""The kinds' parsers: every field, every limit, every problem at once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from lbctl.kube.crds.ip_address_pool import parse_pool, render_pool
from lbctl.kube.crds.l2_advertisement import parse_l2_advertisement, render_l2_advertisement
from lbctl.kube.crds.service_l2_status import (
    parse_service_l2_status,
    render_service_l2_status,
    status_name,
)
from lbctl.kube.crds.speaker_status import (
    parse_speaker_status,
    render_owner_references,
    render_speaker_status,
)
from lbctl.kube.naming import NAME_MAX
from lbctl.model.address import Family
from lbctl.model.names import ObjectKey, ServiceKey
from lbctl.model.node import Owner
from lbctl.model.pool import Pool, ServiceAllocation
from tests.support.builders import (
    make_advertisement,
    make_link,
    make_pool,
    make_selector,
    make_speaker,
)


def pool_object(*addresses: Any, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "first",
            "namespace": "lbctl-system",
            "uid": "u",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 3,
            "resourceVersion": "17",
            "labels": {"tier": "gold"},
        },
        "spec": {"addresses": list(addresses) or ["192.0.2.0/24"], **spec},
    }


def messages(body: dict[str, Any]) -> list[str]:
    found = parse_pool(body)
    assert found is not None
    assert (found.spec is None) == bool(found.problems)
    return [str(problem) for problem in found.problems]


def test_a_minimal_pool_gets_metallbs_defaults() -> None:
    found = parse_pool(pool_object("192.0.2.0/28", " 2001:db8::1 - 2001:db8::9 "))
    assert found is not None
    assert found.spec is not None
    pool = found.spec
    assert found.key == ObjectKey("IPAddressPool", "lbctl-system", "first")
    assert (found.generation, found.resource_version, found.counters) == (3, "17", None)
    assert (pool.auto_assign, pool.avoid_buggy_ips, pool.allocation) == (True, False, None)
    assert [str(block) for block in pool.ranges] == [
        "192.0.2.0-192.0.2.15",
        "2001:db8::1-2001:db8::9",
    ]
    assert pool.labels == {"tier": "gold"}


def test_every_field_of_service_allocation_is_read() -> None:
    found = parse_pool(
        pool_object(
            serviceAllocation={
                "priority": 50,
                "namespaces": ["web", "shop"],
                "namespaceSelectors": [{"matchLabels": {"team": "a"}}],
                "serviceSelectors": [
                    {"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "y"]}]}
                ],
            }
        )
    )
    assert found is not None
    assert found.spec is not None
    allocation = found.spec.allocation
    assert isinstance(allocation, ServiceAllocation)
    assert (allocation.priority, allocation.namespaces) == (50, {"web", "shop"})
    assert allocation.namespace_selectors[0].matches({"team": "a"})
    assert allocation.service_selectors[0].matches({"app": "y"})
    assert not allocation.service_selectors[0].matches({"app": "z"})


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param("192.0.2.1", "write 192.0.2.1/32", id="a bare address"),
        pytest.param("192.0.2.0/33", "not a CIDR", id="a prefix too long"),
        pytest.param("192.0.2.0/255.255.255.0", "no prefix length", id="a netmask"),
        pytest.param("192.0.2.0/024", "no prefix length", id="a leading zero"),
        pytest.param("192.0.2.9-192.0.2.1", "swap", id="a range that runs backwards"),
        pytest.param("192.0.2.1-2001:db8::1", "address family", id="two families"),
        pytest.param("192.0.2.1-192.0.2.4-192.0.2.9", "range", id="three ends"),
        pytest.param("::ffff:192.0.2.0/120", "as IPv4", id="a mapped CIDR"),
        pytest.param("::ffff:192.0.2.1-::ffff:192.0.2.9", "as IPv4", id="a mapped range"),
        pytest.param("fe80::1%eth0/64", "CIDR", id="a zone"),
        pytest.param("", "must not be empty", id="nothing"),
        pytest.param("x" * 101, "at most 100", id="too long"),
        pytest.param(7, "not a string", id="a number"),
        pytest.param(None, "not a string", id="null"),
    ],
)
def test_a_wrong_range_is_refused_with_a_cure(text: Any, part: str) -> None:
    (message,) = messages(pool_object(text))
    assert message.startswith("spec.addresses[0]: ")
    assert part in message


def test_every_problem_is_reported_at_once() -> None:
    found = messages(
        pool_object(
            "192.0.2.0/24",
            "nonsense",
            7,
            autoAssign="yes",
            serviceAllocation={
                "priority": 2**31,
                "namespaces": ["a", "a"],
                "serviceSelectors": [
                    {"matchLabels": {"-": "x y"}},
                    {"matchExpressions": [{"operator": "Near"}, {"key": "a", "operator": "In"}]},
                ],
            },
        )
    )
    paths = [message.split(": ")[0] for message in found]
    selectors = "spec.serviceAllocation.serviceSelectors"
    assert paths == [
        "spec.addresses[1]",
        "spec.addresses[2]",
        "spec.autoAssign",
        "spec.serviceAllocation.priority",
        "spec.serviceAllocation.namespaces[1]",
        f"{selectors}[0].matchLabels",
        f"{selectors}[0].matchLabels['-']",
        f"{selectors}[1].matchExpressions[0].key",
        f"{selectors}[1].matchExpressions[0].operator",
        f"{selectors}[1].matchExpressions[1]",
    ]


def test_a_thousand_ranges_are_accepted_and_one_more_is_not() -> None:
    blocks = [f"198.18.{i // 256}.{i % 256}/32" for i in range(1001)]
    assert messages(pool_object(*blocks[:1000])) == []
    (message,) = messages(pool_object(*blocks))
    assert message.startswith("spec.addresses: has 1,001 items; at most 1,000")


@pytest.mark.parametrize("spec", [None, {}, [], "x", {"addresses": []}, {"addresses": None}])
def test_a_pool_without_addresses_is_refused(spec: Any) -> None:
    assert len(messages({"metadata": {"name": "p"}, "spec": spec})) == 1


@pytest.mark.parametrize(
    ("addresses", "paths"),
    [
        pytest.param(["192.0.2.0/24", "192.0.2.7/32"], ["[1]"], id="inside"),
        pytest.param(["192.0.2.7/32", "192.0.2.0/24"], ["[1]"], id="around"),
        pytest.param(["192.0.2.0/25", "192.0.2.64-192.0.2.200"], ["[1]"], id="partly"),
        pytest.param(["192.0.2.0/24", "192.0.2.9/32", "192.0.2.99/32"], ["[1]", "[2]"], id="two"),
        pytest.param(["192.0.2.0/25", "192.0.2.128/25", "::/0"], [], id="beside"),
    ],
)
def test_a_pool_must_hold_every_address_once(addresses: list[str], paths: list[str]) -> None:
    found = messages(pool_object(*addresses))
    assert [message.split(": ")[0].removeprefix("spec.addresses") for message in found] == paths


def test_a_huge_pool_costs_nothing() -> None:
    found = parse_pool(pool_object("2001:db8::/32", "198.18.0.0/15"))
    assert found is not None
    assert found.spec is not None
    assert found.spec.ranges[0].size == 2**96


def test_shown_counters_and_conditions_are_read() -> None:
    body = pool_object() | {
        "status": {
            "assignedIPv4": 1,
            "assignedIPv6": 0,
            "availableIPv4": 255,
            "availableIPv6": 0,
            "conditions": [
                {"type": "Other", "status": "True"},
                {"type": "Accepted", "status": "False", "reason": "Invalid", "message": "m"},
            ],
        }
    }
    found = parse_pool(body)
    assert found is not None
    assert found.counters == (1, 0, 255, 0)
    assert found.accepted is not None
    assert (found.accepted.status, found.accepted.reason) == ("False", "Invalid")
    assert '"Other"' in found.conditions


def test_a_rendered_pool_reads_back() -> None:
    pool = make_pool(
        "p",
        "192.0.2.0/24",
        "2001:db8::/64",
        auto_assign=False,
        avoid_buggy_ips=True,
        labels={"a": "b"},
        allocation=ServiceAllocation(
            priority=7,
            namespaces=frozenset({"web"}),
            namespace_selectors=(make_selector({"team": "a"}),),
        ),
    )
    assert _spec(render_pool(pool)) == pool


def _spec(body: dict[str, Any]) -> Pool | None:
    found = parse_pool(body)
    assert found is not None
    return found.spec


def test_a_rendered_advertisement_reads_back() -> None:
    advertisement = make_advertisement(
        "a",
        pools={"p", "q"},
        interfaces={"eth0"},
        node_selectors=(make_selector({"rack": "1"}),),
        preferred_nodes=((30, {"fast": "yes"}),),
    )
    found = parse_l2_advertisement(render_l2_advertisement(advertisement))
    assert found is not None
    assert found.spec == advertisement


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"interfaces": ["averyverylonglinkname"]}, "spec.interfaces[0]"),
        ({"interfaces": ["et/h"]}, "spec.interfaces[0]"),
        ({"interfaces": ["eth0", "eth0"]}, "spec.interfaces[1]"),
        ({"ipAddressPools": "p"}, "spec.ipAddressPools"),
        ({"nodeSelectors": [{}, {}]}, "spec.nodeSelectors[1]"),
        (
            {"preferredNodeSelectors": [{"weight": 101, "preference": {}}]},
            "spec.preferredNodeSelectors[0].weight",
        ),
        ({"preferredNodeSelectors": [{"weight": 1}]}, "spec.preferredNodeSelectors[0].preference"),
    ],
)
def test_a_wrong_advertisement_is_refused_by_field(spec: dict[str, Any], path: str) -> None:
    found = parse_l2_advertisement({"metadata": {"name": "a"}, "spec": spec})
    assert found is not None
    assert found.spec is None
    assert [problem.path for problem in found.problems] == [path]


def test_an_empty_advertisement_announces_everything() -> None:
    found = parse_l2_advertisement({"metadata": {"name": "a"}})
    assert found is not None
    assert found.spec is not None
    assert not found.spec.pools
    assert not found.spec.interfaces


def test_a_rendered_speaker_status_reads_back() -> None:
    report = make_speaker(
        "node1",
        links=(make_link("eth0", "192.0.2.201/24", "2001:db8::1/64"), make_link("eth1", index=3)),
        faults=(("eth1", "no CAP_NET_RAW"),),
        draining=True,
        resource_version="5",
    )
    body = {
        "metadata": {"name": "node1", "resourceVersion": "5"},
        "status": render_speaker_status(report),
    }
    assert parse_speaker_status(body) == report


def test_a_speaker_status_tells_its_pod() -> None:
    report = make_speaker("node1", owners=(Owner(kind="Pod", name="speaker-x", uid="u1"),))
    references = render_owner_references(report.owners)
    assert [(one["controller"], one["blockOwnerDeletion"]) for one in references] == [
        (False, False)
    ]
    metadata = {"name": "node1", "ownerReferences": references}
    body = {"metadata": metadata, "status": render_speaker_status(report)}
    assert parse_speaker_status(body) == report
    body["metadata"]["ownerReferences"] = [{"kind": "Pod"}, "nonsense"]
    assert parse_speaker_status(body) == replace(report, owners=())


def test_a_speaker_status_just_created_says_nothing_yet() -> None:
    assert parse_speaker_status({"metadata": {"name": "node1"}}) is None


def test_a_rendered_service_l2_status_reads_back() -> None:
    body = {
        "metadata": {"name": "web.shop.ipv4", "resourceVersion": "9"},
        "status": {
            "node": "node1",
            "serviceName": "shop",
            "serviceNamespace": "web",
            "interfaces": [{"name": "eth0"}],
            "addresses": ["192.0.2.1"],
            "epoch": {"generation": 2, "number": 7},
        },
    }
    found = parse_service_l2_status(body)
    assert found is not None
    assert found.addresses == (ip_address("192.0.2.1"),)
    assert render_service_l2_status(found) == body["status"]


def test_status_names_are_valid_and_differ_for_every_service() -> None:
    long = "n" * 63, "s" * 240
    names = {
        status_name(ServiceKey(*long), Family.IPV4),
        status_name(ServiceKey(long[0], long[1] + "x"), Family.IPV4),
        status_name(ServiceKey(*long), Family.IPV6),
        status_name(ServiceKey("web", "shop"), Family.IPV4),
    }
    assert len(names) == 4
    assert "web.shop.ipv4" in names
    assert max(map(len, names)) <= NAME_MAX
