"""What the command says of BGP: peers, sessions, routes, and the explanations; over real HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commanding import (
    World,
    bgp_advertisement,
    bgp_session,
    endpoints,
    kubeconfig,
    node,
    peer,
    pool,
    run,
    run_in,
    service,
    speaker,
)
from tests.support.fake_api import FakeApi
from tests.support.faults import FaultKind

REFUSED = {"direction": "received", "code": 6, "subcode": 5, "text": "Cease/5", "at": "then"}
WORLD: World = [
    pool("first", "192.0.2.10-192.0.2.11"),
    peer(),
    peer("six", "2001:db8::1"),
    peer("red", "192.0.2.252", vrf="red"),
    bgp_advertisement(communities=["64500:7"], localPref=150),
    node("node1", "192.0.2.1"),
    node("node2", "192.0.2.2"),
    speaker("node1"),
    speaker("node2"),
    endpoints("web", "node1"),
    service("web", ingress=[{"ip": "192.0.2.10"}]),
    bgp_session("node1"),
    bgp_session(
        "node2",
        state="Connect",
        routes=(1, 0, 0),
        message="the peer says Cease/5",
        lastNotification=REFUSED,
    ),
    bgp_session("node1", "six", routes=(0, 0, 0)),
    bgp_session("node2", "six", routes=(0, 0, 0)),
]


def table(words: str, directory: Path) -> list[list[str]]:
    done = run_in(WORLD, tuple(words.split()), directory)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split() for line in done.stdout.splitlines()[1:]]


def rows(words: str, directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        run_in(WORLD, (*words.split(), "-o", "json"), directory).stdout
    )
    return found


def test_get_peers_says_who_is_in_effect_and_how_many_sessions_stand(tmp_path: Path) -> None:
    assert [(row[0], row[1]) for row in table("get peers", tmp_path)] == [
        ("red", "no"),
        ("six", "yes"),
        ("tor", "yes"),
    ]
    found = {row["name"]: (row["established"], row["nodes"]) for row in rows("get peers", tmp_path)}
    assert found == {"red": (0, 0), "six": (2, 2), "tor": (1, 2)}


def test_get_sessions_says_how_each_stands(tmp_path: Path) -> None:
    found = {
        (row["node"], row["peer"]): (row["state"], row["acknowledged"], row["reason"])
        for row in rows("get sessions", tmp_path)
    }
    assert found == {
        ("node1", "six"): ("Established", 0, "Announced"),
        ("node1", "tor"): ("Established", 1, "Announced"),
        ("node2", "six"): ("Established", 0, "Announced"),
        ("node2", "tor"): ("Connect", 0, "SessionDown"),
    }
    [row] = table("get sessions --node node2 --peer tor", tmp_path)
    assert row[:3] == ["node2", "tor", "Connect"]
    assert "1/0/0" in row
    assert " ".join(row).endswith("the peer says Cease/5")


def test_get_routes_has_the_plan_beside_what_the_session_says(tmp_path: Path) -> None:
    assert table("get routes", tmp_path) == [
        ["node1", "six", "0", "0", "0", "Established", "0/0/0"],
        ["node1", "tor", "1", "0", "0", "Established", "1/1/1"],
        ["node2", "six", "0", "0", "0", "Established", "0/0/0"],
        ["node2", "tor", "1", "0", "0", "Connect", "1/0/0"],
    ]
    assert rows("get routes --node node1", tmp_path) == [
        {
            "node": "node1",
            "peer": "tor",
            "prefix": "192.0.2.10/32",
            "local_preference": 150,
            "communities": ["64500:7"],
            "parting": False,
            "advertisements": ["bgp"],
            "services": ["default/web"],
        }
    ]


def test_get_services_and_addresses_name_the_peers_that_have_confirmed(tmp_path: Path) -> None:
    [address] = rows("get addresses", tmp_path)
    assert (address["reason"], address["peers"], address["sent"]) == ("Announced", ["tor"], [])
    [one] = rows("get services", tmp_path)
    assert (one["reason"], one["peers"], one["announced_by"]) == ("Allocated", ["tor"], [])
    assert "BGP:tor" in table("get services", tmp_path)[0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("service web", 0, "tor   yes   192.0.2.10/32 local preference 150, communities 64500:7"),
        ("service web", 0, "six   no    -"),
        ("service web", 0, "BGP sessions     note"),
        ("address 192.0.2.10", 0, "in use by default/web, announced by BGP to tor"),
        ("pool first", 0, "BGPAdvertisements that cover it:"),
        ("node node1", 0, "BGP sessions (the node is selected by bgp):"),
        ("node node2", 1, "cure:  The router refuses this node: add it as a neighbor there"),
        ("node node1 --service web", 0, "is to announce 192.0.2.10: Announced: BGP, peer tor"),
        ("peer tor", 1, "Sessions: 1 of 2 established"),
        ("peer six", 0, "carries IPv6"),
        ("peer red", 1, "VrfUnsupported: spec.vrf: a session in VRF red is not possible yet"),
    ],
)
def test_explain_tells_of_bgp(words: str, code: int, said: str, tmp_path: Path) -> None:
    done = run_in(WORLD, ("explain", *words.split()), tmp_path)
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout
    data = json.loads(run_in(WORLD, ("explain", *words.split(), "-o", "json"), tmp_path).stdout)
    assert data["fine"] is (code == 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("explain peer rot", "there is no BGPPeer rot in namespace lbctl-system"),
        ("get sessions --peer rot", "there is no BGPPeer rot"),
        ("get routes --node node9", "there is no node node9"),
    ],
)
def test_a_name_of_nothing_is_wrong_usage(words: str, said: str, tmp_path: Path) -> None:
    done = run_in(WORLD, tuple(words.split()), tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_an_installation_without_bgps_kinds_is_read_all_the_same(tmp_path: Path) -> None:
    async def serve() -> Any:
        async with FakeApi() as api:
            for plural in ("bgppeers", "bgpadvertisements", "communities", "bgpsessionstatuses"):
                api.faults.arm(FaultKind.CRD_MISSING, resource=plural, times=None)
            for plural, body in WORLD[:1] + WORLD[5:11]:
                api.put(plural, body)
            config = kubeconfig(tmp_path / "config", api.url)
            return await asyncio.to_thread(run, ("explain", "web"), config)

    done = asyncio.run(serve())
    assert (done.returncode, done.stderr) == (1, "")
    assert "NoAdvertisement" in done.stdout
    assert "BGP sessions" not in done.stdout
