"""The routers of a lab: what they are told, what they say, and what the kernel is told of it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbctl.kube.crds.bgp_peer import parse_bgp_peer
from lbctl.lab import assembly, routes
from lbctl.lab.routers import bird, fib, frr, gobgp, peers
from lbctl.lab.routers.held import Held
from lbctl.lab.spec import LabSpec, Router
from tests.unit.lab.test_plans import record

ALL = tuple(Router)


def spec(**changes: Any) -> LabSpec:
    wanted = {"name": "demo", "directory": Path("/nowhere/demo"), "nodes": 2, "routers": ALL}
    return LabSpec(**{**wanted, **changes})


def test_every_router_takes_a_call_of_every_node_over_both_families_and_calls_none() -> None:
    lab = spec(asn=64510)
    told = frr.files(lab)["bgpd.conf"]
    assert " neighbor nodes passive\n neighbor 192.0.2.11 peer-group nodes" in told.replace(
        " neighbor nodes remote-as 64510\n", ""
    )
    assert "neighbor 2001:db8:0:1::12 peer-group nodes" in told
    said = bird.files(lab)["bird.conf"]
    assert "passive;" in said
    assert "from nodes { neighbor 192.0.2.12 as 64510; }" in said
    assert "from nodes { neighbor 2001:db8:0:1::11 as 64510; }" in said
    parsed = tomllib.loads(gobgp.files(lab)["gobgp.toml"])
    found = {one["config"]["neighbor-address"] for one in parsed["neighbors"]}
    assert found == {"192.0.2.11", "192.0.2.12", "2001:db8:0:1::11", "2001:db8:0:1::12"}
    for one in parsed["neighbors"]:
        assert one["config"]["peer-as"] == 64510
        assert one["transport"]["config"]["passive-mode"]
        assert len(one["afi-safis"]) == 2


def test_one_path_or_several_is_what_the_lab_was_asked_for() -> None:
    for ecmp, paths, merge, multiple in ((False, "1", "off", False), (True, "64", "on", True)):
        lab = spec(ecmp=ecmp)
        assert frr.files(lab)["bgpd.conf"].count(f"maximum-paths {paths}\n") == 2
        assert bird.files(lab)["bird.conf"].count(f"merge paths {merge};") == 2
        parsed = tomllib.loads(gobgp.files(lab)["gobgp.toml"])
        assert parsed["global"]["use-multiple-paths"]["config"]["enabled"] is multiple
        carry = next(one for one in gobgp.programs(lab) if one.name == "carry")
        assert ("--ecmp" in carry.argv) is ecmp


def test_a_router_is_a_machine_with_its_daemons_alone(tmp_path: Path) -> None:
    made = record(tmp_path, routers=ALL)
    names = {
        router: [one.name for one in assembly.plan(made, router).programs] for router in Router
    }
    assert names == {
        "frr": ["frr-run", "zebra", "bgpd"],
        "bird": ["bird-run", "bird"],
        "gobgp": ["gobgpd", "carry"],
    }
    assert set(assembly.plan(made, "frr").files) == {"zebra.conf", "bgpd.conf"}


FRR = {
    "routes": {
        "203.0.113.1/32": [
            {"nexthops": [{"ip": "192.0.2.11", "afi": "ipv4", "used": True}]},
            {"locPrf": 0, "nexthops": [{"ip": "192.0.2.12", "afi": "ipv4", "used": True}]},
        ],
    }
}
FRR_V6 = {
    "routes": {
        "2001:db8:0:3::1/128": [
            {
                "nexthops": [
                    {"ip": "2001:db8:0:1::11", "scope": "global"},
                    {"ip": "fe80::1", "scope": "link-local", "used": True},
                ]
            }
        ]
    }
}


def test_the_table_of_frr_is_read_with_global_next_hops() -> None:
    assert frr.parse([json.dumps(FRR), json.dumps(FRR_V6)]) == (
        Held(prefix="203.0.113.1/32", next_hop="192.0.2.11"),
        Held(prefix="203.0.113.1/32", next_hop="192.0.2.12", local_pref=0),
        Held(prefix="2001:db8:0:3::1/128", next_hop="2001:db8:0:1::11"),
    )


BIRD = """\
BIRD 2.0.12 ready.
Access restricted
Table master4:
203.0.113.1/32       unicast [node1_v4 23:54:09.113] * (100) [AS64500i]
	via 192.0.2.11 on eth0
	Type: BGP univ
	BGP.origin: IGP
	BGP.local_pref: 100
                     unicast [node2_v4 23:54:09.113] (100) [AS64500i]
	via 192.0.2.12 on eth0
	Type: BGP univ
	BGP.local_pref: 0
	BGP.community: (65535,0)

Table master6:
2001:db8:0:3::1/128  unicast [node1_v4 23:54:09.113] * (100) [AS64500i]
	via 2001:db8:0:1::11 on eth0
	BGP.local_pref: 100
"""


def test_the_table_of_bird_is_read_with_every_way_to_a_prefix() -> None:
    assert bird.parse([BIRD]) == (
        Held(prefix="203.0.113.1/32", next_hop="192.0.2.11"),
        Held(prefix="203.0.113.1/32", next_hop="192.0.2.12", local_pref=0),
        Held(prefix="2001:db8:0:3::1/128", next_hop="2001:db8:0:1::11"),
    )


def path(
    hop: str, *, best: bool = False, pref: int | None = None, asns: tuple[int, ...] = (64500,)
) -> dict[str, Any]:
    attributes: list[dict[str, Any]] = [
        {"type": 1, "value": 0},
        {"type": 2, "as_paths": [{"segment_type": 2, "num": len(asns), "asns": asns}]},
        {"type": 14 if ":" in hop else 3, "nexthop": hop},
    ]
    if pref is not None:
        attributes.append({"type": 5, "value": pref})
    return {"best": best, "attrs": attributes}


def test_the_table_of_gobgp_is_read_from_both_attributes_that_name_a_next_hop() -> None:
    v4 = {"203.0.113.1/32": [path("192.0.2.11", best=True), path("192.0.2.12", pref=1)]}
    v6 = {"2001:db8:0:3::1/128": [path("2001:db8:0:1::11", best=True)]}
    assert gobgp.parse([json.dumps(v4), json.dumps(v6)]) == (
        Held(prefix="203.0.113.1/32", next_hop="192.0.2.11"),
        Held(prefix="203.0.113.1/32", next_hop="192.0.2.12", local_pref=1),
        Held(prefix="2001:db8:0:3::1/128", next_hop="2001:db8:0:1::11"),
    )


@pytest.mark.parametrize(
    ("paths", "one", "several"),
    [
        pytest.param(
            [path("192.0.2.12"), path("192.0.2.11", best=True)],
            ("192.0.2.11",),
            ("192.0.2.11", "192.0.2.12"),
            id="equal paths",
        ),
        pytest.param(
            [path("192.0.2.11", best=True), path("192.0.2.12", pref=1)],
            ("192.0.2.11",),
            ("192.0.2.11",),
            id="one is the last choice",
        ),
        pytest.param(
            [path("192.0.2.11", best=True), path("192.0.2.12", asns=(64500, 64500))],
            ("192.0.2.11",),
            ("192.0.2.11",),
            id="one is longer",
        ),
    ],
)
def test_what_gobgp_carries_to_the_kernel_is_the_best_path_and_its_equals(
    paths: list[Any], one: tuple[str, ...], several: tuple[str, ...]
) -> None:
    answers = [json.dumps({"203.0.113.1/32": paths}), "{}"]
    assert gobgp.chosen(answers, ecmp=False) == {"203.0.113.1/32": one}
    assert gobgp.chosen(answers, ecmp=True) == {"203.0.113.1/32": several}


KERNEL = [
    {"dst": "192.0.2.0/24", "dev": "eth0", "protocol": "kernel"},
    {"dst": "203.0.113.1", "gateway": "192.0.2.11", "dev": "eth0", "protocol": "bgp"},
    {
        "dst": "203.0.113.2",
        "protocol": "bird",
        "nexthops": [{"gateway": "192.0.2.12"}, {"gateway": "192.0.2.11"}],
    },
    {
        "dst": "203.0.113.3",
        "protocol": "bgp",
        "via": {"family": "inet6", "host": "2001:db8:0:1::11"},
    },
]
KERNEL_V6 = [
    {"dst": "2001:db8:0:3::1", "gateway": "2001:db8:0:1::11", "protocol": "bgp"},
    {"dst": "2001:db8:0:3::1", "gateway": "2001:db8:0:1::12", "protocol": "bgp"},
]


def test_what_the_kernel_has_of_a_daemon_is_read_in_each_form_that_ip_prints() -> None:
    assert fib.parse([json.dumps(KERNEL), json.dumps(KERNEL_V6)]) == {
        "203.0.113.1/32": ("192.0.2.11",),
        "203.0.113.2/32": ("192.0.2.11", "192.0.2.12"),
        "203.0.113.3/32": ("2001:db8:0:1::11",),
        "2001:db8:0:3::1/128": ("2001:db8:0:1::11", "2001:db8:0:1::12"),
    }
    assert fib.parse(["", ""]) == {}


def test_only_what_differs_is_changed_in_the_kernel() -> None:
    present = {
        "203.0.113.1/32": ("192.0.2.11",),
        "203.0.113.2/32": ("192.0.2.11",),
        "203.0.113.3/32": ("192.0.2.11",),
    }
    wanted = {
        "203.0.113.1/32": ("192.0.2.11",),
        "203.0.113.2/32": ("192.0.2.11", "192.0.2.12"),
        "2001:db8:0:3::1/128": ("2001:db8:0:1::11",),
    }
    assert fib.changes(present, wanted) == {
        "-4": (
            "route replace 203.0.113.2/32 proto bgp nexthop via 192.0.2.11 nexthop via 192.0.2.12",
            "route del 203.0.113.3/32 proto bgp",
        ),
        "-6": ("route replace 2001:db8:0:3::1/128 proto bgp nexthop via 2001:db8:0:1::11",),
    }
    assert fib.changes(wanted, wanted) == {}


def test_a_router_table_names_nodes_and_tells_used_ways_from_others() -> None:
    held = (
        Held(prefix="203.0.113.9/32", next_hop="192.0.2.12"),
        Held(prefix="203.0.113.10/32", next_hop="192.0.2.99"),
        Held(prefix="203.0.113.9/32", next_hop="192.0.2.11", local_pref=0),
    )
    found = routes.table(spec(), held, {"203.0.113.9/32": ("192.0.2.12",)})
    assert [(one.prefix, one.node, one.local_pref, one.used) for one in found] == [
        ("203.0.113.9/32", "node1", 0, False),
        ("203.0.113.9/32", "node2", 100, True),
        ("203.0.113.10/32", "", 100, False),
    ]


def test_every_router_is_a_peer_without_a_problem() -> None:
    made = [parse_bgp_peer(one) for one in yaml.safe_load_all(peers.manifest(spec(asn=64510)))]
    found = [one.spec for one in made if one is not None and not one.problems]
    assert [(one.name, one.my_asn, one.peer_asn, str(one.address)) for one in found if one] == [
        ("frr", 64510, 64501, "192.0.2.21"),
        ("bird", 64510, 64502, "192.0.2.22"),
        ("gobgp", 64510, 64503, "192.0.2.23"),
    ]
