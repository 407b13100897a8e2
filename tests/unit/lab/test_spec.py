"""Names and addresses of a lab."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab import spec as at
from lbctl.lab.spec import LabSpec, Router, SpecError, scoped


def make(**changes: Any) -> LabSpec:
    return LabSpec(**{"name": "demo", "directory": Path("/nowhere/demo"), **changes})


@pytest.mark.parametrize("name", ["a", "demo", "a-b", "0", "x" * 20])
def test_a_usable_name_is_taken(name: str) -> None:
    assert make(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "Demo", "a_b", "a.b", "a/b", "..", "x" * 21, "a\n", "ä"]
)
def test_a_name_that_is_no_short_dns_label_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(SpecError, match="lower-case letters"):
        make(name=name)


@pytest.mark.parametrize("nodes", [0, -1, 10])
def test_a_node_count_outside_one_to_nine_is_refused(nodes: int) -> None:
    with pytest.raises(SpecError, match="choose 1 to 9"):
        make(nodes=nodes)


def test_a_grace_period_that_no_kubelet_can_keep_is_refused() -> None:
    with pytest.raises(SpecError, match="4 s or more"):
        make(node_grace_s=3)


def test_a_lab_without_routers_has_nobody_behind_them() -> None:
    assert make(nodes=1).machines == ("lan", "cp", "node1", "client")
    machines = make(nodes=1, routers=(Router.BIRD,)).machines
    assert machines == ("lan", "cp", "node1", "bird", "client", "remote")


@pytest.mark.parametrize("asn", [0, -1, 23456, 65535, 2**32 - 1])
def test_a_number_that_no_as_may_have_is_refused_with_those_for_documentation(asn: int) -> None:
    with pytest.raises(SpecError, match="64496 to 64511"):
        make(asn=asn)


def test_nodes_in_the_as_of_a_router_are_refused_by_its_name() -> None:
    assert make(asn=Router.BIRD.asn, routers=(Router.FRR,)).asn == 64502
    with pytest.raises(SpecError, match="AS 64502 is the router bird's"):
        make(asn=64502, routers=(Router.FRR, Router.BIRD))


def test_a_router_that_is_named_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="named twice in frr, frr"):
        make(routers=(Router.FRR, Router.FRR))


@pytest.mark.parametrize(
    ("machine", "v4", "v6", "mac"),
    [
        ("lan", "192.0.2.1/24", "2001:db8:0:1::1/64", "00:00:5e:00:53:01"),
        ("cp", "192.0.2.2/24", "2001:db8:0:1::2/64", "00:00:5e:00:53:02"),
        ("node1", "192.0.2.11/24", "2001:db8:0:1::11/64", "00:00:5e:00:53:0b"),
        ("node9", "192.0.2.19/24", "2001:db8:0:1::19/64", "00:00:5e:00:53:13"),
        ("frr", "192.0.2.21/24", "2001:db8:0:1::21/64", "00:00:5e:00:53:15"),
        ("bird", "192.0.2.22/24", "2001:db8:0:1::22/64", "00:00:5e:00:53:16"),
        ("gobgp", "192.0.2.23/24", "2001:db8:0:1::23/64", "00:00:5e:00:53:17"),
        ("remote", "198.51.100.110/24", "2001:db8:0:2::110/64", "00:00:5e:00:53:6e"),
        ("client", "192.0.2.100/24", "2001:db8:0:1::100/64", "00:00:5e:00:53:64"),
    ],
)
def test_a_machine_has_its_addresses(machine: str, v4: str, v6: str, mac: str) -> None:
    assert str(at.ipv4(machine)) == v4
    assert str(at.ipv6(machine)) == v6
    assert at.mac(machine) == mac


@pytest.mark.parametrize("machine", ["node0", "node10", "node", "nodeX", "worker1", ""])
def test_what_is_no_node_has_no_number(machine: str) -> None:
    with pytest.raises(SpecError, match="is not a node"):
        at.node_number(machine)


def test_pods_of_a_node_are_found_by_its_number() -> None:
    assert str(at.pod_v4("node3")) == "198.18.3.0/24"
    assert str(at.pod_v6("node3")) == "2001:db8:18:3::/64"


def test_no_two_things_share_an_address() -> None:
    machines = make(nodes=9, routers=tuple(Router)).machines
    assert len({at.ipv4(m).ip for m in machines}) == len(machines)
    assert len({at.ipv6(m).ip for m in machines}) == len(machines)
    far = {at.far_mac(router) for router in Router}
    assert len({at.mac(m) for m in machines} | far) == len(machines) + len(far)
    behind = [face(one) for one in Router for face in (at.far_v4, at.via_v4, at.far_v6, at.via_v6)]
    assert len({*behind, at.ipv4("remote"), at.ipv6("remote")}) == len(behind) + 2
    assert all(one.network in {at.REMOTE_V4, at.REMOTE_V6} for one in behind)
    for machine in machines:
        assert not at.POOL_V4[0] <= at.ipv4(machine).ip <= at.POOL_V4[1]
        assert at.ipv6(machine).ip not in at.POOL_V6


def test_what_pools_may_hand_out_is_on_the_lan() -> None:
    assert all(address in at.LAN_V4 for address in at.POOL_V4)
    assert at.POOL_V6.subnet_of(at.LAN_V6)


def test_every_address_is_for_documentation_or_benchmarks() -> None:
    for network in (at.LAN_V6, at.POD_V6, at.SERVICE_V6, at.REMOTE_V6, at.ROUTED_V6):
        assert IPv6Address("2001:db8::") <= network.network_address < IPv6Address("2001:db9::")
    for plain in (at.POD_V4, at.SERVICE_V4):
        assert IPv4Address("198.18.0.0") <= plain[0] <= plain[-1] < IPv4Address("198.20.0.0")


def test_pods_and_services_do_not_overlap() -> None:
    assert not at.POD_V4.overlaps(at.SERVICE_V4)
    assert not at.POD_V6.overlaps(at.SERVICE_V6)
    for node in make(nodes=9).node_names:
        assert at.pod_v4(node).subnet_of(at.POD_V4)
        assert at.pod_v6(node).subnet_of(at.POD_V6)


def test_machines_of_different_labs_never_share_a_name() -> None:
    labs = ("a", "a-cp", "a-node1", "a-frr", "cp")
    machines = make(nodes=9, routers=tuple(Router)).machines
    names = [scoped(lab, machine) for lab in labs for machine in machines]
    assert len(set(names)) == len(names)
