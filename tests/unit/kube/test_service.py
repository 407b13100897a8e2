"""The projection of a Service: annotations in all spellings, requests, status."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from lbctl.kube.service import WrittenService, parse_service
from lbctl.model.address import Family
from lbctl.model.service import FamilyPolicy, TrafficPolicy


def read(
    annotations: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> WrittenService:
    service = parse_service(
        {
            "metadata": {"name": "shop", "namespace": "web", "annotations": annotations or {}},
            "spec": {"type": "LoadBalancer", **spec},
            "status": status or {},
        }
    )
    assert service is not None
    return service


def test_a_full_service_is_read() -> None:
    service = read(
        clusterIPs=["198.18.0.1", "2001:db8::1"],
        ipFamilies=["IPv4", "IPv6"],
        ipFamilyPolicy="PreferDualStack",
        externalTrafficPolicy="Local",
        healthCheckNodePort=31000,
        selector={"app": "shop"},
        loadBalancerClass="example.com/lb",
        ports=[{"port": 80, "targetPort": "http", "name": "web"}, {"port": 53, "protocol": "UDP"}],
        status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    )
    assert str(service.key) == "web/shop"
    assert service.cluster_ips == (ip_address("198.18.0.1"), ip_address("2001:db8::1"))
    assert service.families == (Family.IPV4, Family.IPV6)
    assert service.family_policy is FamilyPolicy.PREFER_DUAL_STACK
    assert service.traffic_policy is TrafficPolicy.LOCAL
    assert service.health_check_node_port == 31000
    assert service.sharing_ports == {("TCP", 80), ("UDP", 53)}
    assert service.ports[0].target_port == "http"
    assert service.load_balancer_class == "example.com/lb"
    assert service.addresses == (ip_address("192.0.2.1"),)
    assert service.vip_mode


def test_defaults_are_those_of_the_api_server() -> None:
    service = read()
    assert service.family_policy is FamilyPolicy.SINGLE_STACK
    assert service.traffic_policy is TrafficPolicy.CLUSTER
    assert service.load_balancer_class is None
    assert service.mark == service.sharing_key == ""


def test_a_headless_service_has_no_cluster_ip() -> None:
    assert read(clusterIP="None", clusterIPs=["None"]).cluster_ips == ()


def test_families_follow_from_cluster_ips_where_the_spec_is_silent() -> None:
    assert read(clusterIP="2001:db8::1").families == (Family.IPV6,)


@pytest.mark.parametrize(
    ("annotations", "pool", "deprecated"),
    [
        ({"lbctl.io/address-pool": "a", "metallb.io/address-pool": "b"}, "a", ()),
        ({"metallb.io/address-pool": "b", "metallb.universe.tf/address-pool": "c"}, "b", ()),
        (
            {"metallb.universe.tf/address-pool": "c"},
            "c",
            ("metallb.universe.tf/address-pool",),
        ),
        ({"lbctl.io/address-pool": "", "metallb.io/address-pool": "b"}, None, ()),
        ({"lbctl.io/address-pool": 7, "metallb.io/address-pool": "b"}, "b", ()),
    ],
)
def test_the_first_spelling_that_is_present_counts(
    annotations: dict[str, Any], pool: str | None, deprecated: tuple[str, ...]
) -> None:
    service = read(annotations)
    assert service.request.pool == pool
    assert service.uses_deprecated_annotations == deprecated


def test_the_oldest_spelling_is_no_mark() -> None:
    assert read({"metallb.universe.tf/ip-allocated-from-pool": "p"}).mark == ""
    assert read({"metallb.io/ip-allocated-from-pool": "p"}).mark == "p"
    assert (
        read(
            {"metallb.io/ip-allocated-from-pool": "p", "lbctl.io/ip-allocated-from-pool": "q"}
        ).mark
        == "q"
    )


@pytest.mark.parametrize(
    ("annotation", "in_spec", "wanted"),
    [
        ("192.0.2.1", None, ["192.0.2.1"]),
        (" 2001:db8::1 , 192.0.2.1 ", None, ["2001:db8::1", "192.0.2.1"]),
        (None, "192.0.2.1", ["192.0.2.1"]),
        ("", "192.0.2.1", ["192.0.2.1"]),
        ("192.0.2.1", "192.0.2.1", ["192.0.2.1"]),
        ("", None, []),
    ],
)
def test_addresses_are_requested_by_annotation_or_spec(
    annotation: str | None, in_spec: str | None, wanted: list[str]
) -> None:
    annotations = {} if annotation is None else {"lbctl.io/loadBalancerIPs": annotation}
    request = read(annotations, loadBalancerIP=in_spec).request
    assert request.problem is None
    assert [str(address) for address in request.addresses] == wanted


@pytest.mark.parametrize(
    ("annotation", "in_spec", "part"),
    [
        ("192.0.2.1,", None, "''"),
        ("shop.example", None, "not an IP address"),
        ("192.0.2.1,192.0.2.2", None, "two addresses of one family"),
        ("192.0.2.1,2001:db8::1,2001:db8::2", None, "3 addresses"),
        ("::ffff:192.0.2.1", None, "write 192.0.2.1"),
        ("192.0.2.1", "192.0.2.2", "remove one of the two"),
        ("192.0.2.1,2001:db8::1", "192.0.2.1", "remove one of the two"),
        ("2001:db8::1,192.0.2.1", "2001:db8::1", "remove one of the two"),
        ("192.0.2.1", "x", "not an IP address"),
    ],
)
def test_a_request_that_cannot_be_read_is_a_problem_of_its_service(
    annotation: str, in_spec: str | None, part: str
) -> None:
    request = read({"metallb.io/loadBalancerIPs": annotation}, loadBalancerIP=in_spec).request
    assert request.problem is not None
    assert part in str(request.problem)
    assert request.problem.path in {
        "metadata.annotations[metallb.io/loadBalancerIPs]",
        "spec.loadBalancerIP",
    }


RUBBISH = [
    ("loadBalancerIPs", "192.0.2.1;192.0.2.2", "such as 192.0.2.10"),
    ("loadBalancerIPs", "192.0.2.0/24", "such as 192.0.2.10"),
    ("loadBalancerIPs", "192.0.2.1-192.0.2.9", "such as 192.0.2.10"),
    ("loadBalancerIPs", '["192.0.2.1"]', "such as 192.0.2.10"),
    ("loadBalancerIPs", "192.0.2.01", "such as 192.0.2.10"),
    ("loadBalancerIPs", "fe80::1%eth0", "such as 192.0.2.10"),
    ("loadBalancerIPs", "١٩٢.0.2.1", "such as 192.0.2.10"),
    ("loadBalancerIPs", "192.0.2.1\0", "such as 192.0.2.10"),
    ("loadBalancerIPs", "9" * 250_000, "such as 192.0.2.10"),
    ("loadBalancerIPs", "," * 250_000, "ask for one"),
    ("loadBalancerIPs", "192.0.2.1,192.0.2.1", "ask for one"),
    ("address-pool", "p" * 250_000, "name a pool"),
    ("address-pool", "\u202e" * 254, "name a pool"),
]


@pytest.mark.parametrize("prefix", ["lbctl.io", "metallb.io", "metallb.universe.tf"])
@pytest.mark.parametrize(("name", "text", "cure"), RUBBISH, ids=lambda part: str(part)[:30])
def test_rubbish_in_an_annotation_is_one_short_problem_with_the_key_and_a_cure(
    prefix: str, name: str, text: str, cure: str
) -> None:
    problem = read({f"{prefix}/{name}": text}).request.problem
    assert problem is not None
    assert problem.path == f"metadata.annotations[{prefix}/{name}]"
    assert cure in problem.message
    assert len(problem.message) < 600


def test_host_names_and_proxies_in_the_status_are_noticed() -> None:
    ingress = [{"hostname": "lb.example"}, {"ip": "192.0.2.1", "ipMode": "Proxy"}, {"ip": "x"}]
    service = read(status={"loadBalancer": {"ingress": ingress}})
    assert service.hostnames == ("lb.example", "x")
    assert service.addresses == (ip_address("192.0.2.1"),)
    assert not service.vip_mode


def test_a_foreign_condition_is_kept_and_is_no_news() -> None:
    def with_message(text: str) -> WrittenService:
        foreign = {"type": "example.com/X", "status": "True", "message": text}
        ours = {"type": "lbctl.io/Allocated", "status": "True", "reason": "Allocated"}
        return read(status={"conditions": [foreign, ours]})

    assert [item.type for item in with_message("a").conditions] == ["lbctl.io/Allocated"]
    assert "example.com/X" in with_message("a").written_conditions
    assert with_message("a") == with_message("b")


@pytest.mark.parametrize("prefix", ["lbctl.io/", "metallb.io/", "metallb.universe.tf/"])
def test_every_request_is_understood_in_all_three_spellings(prefix: str) -> None:
    service = read(
        {
            f"{prefix}loadBalancerIPs": "192.0.2.1",
            f"{prefix}address-pool": "p",
            f"{prefix}allow-shared-ip": "k",
        }
    )
    assert service.request.addresses == (ip_address("192.0.2.1"),)
    assert (service.request.pool, service.sharing_key) == ("p", "k")
    deprecated = prefix == "metallb.universe.tf/"
    assert len(service.uses_deprecated_annotations) == (3 if deprecated else 0)
