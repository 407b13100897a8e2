"""Measure the real lb-speaker with many peers and many Services: resets, and resident memory.

One node, one FRR, the API server of the tests: what the speaker holds is what it holds in a
cluster. FRR tells 100 neighbors apart by 100 source addresses, and counts their sessions itself.
After each turn GoBGP tells the same routes to the same neighbors; it knows nothing of Services.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from lbctl.lab.records import Progress
from tests.bench import processes
from tests.bench.bgp_meter import Vty, asked
from tests.bench.bgp_rivals import Rivals
from tests.bench.figures import Figure, median, p99
from tests.support.bgp import OURS, THEIRS
from tests.support.lan import Host, eventually
from tests.support.routers import Frr, router
from tests.support.speaker_lan import NAMESPACE, SpeakerLan, SpeakerNode

RUNS: Final = 10
"""Each with a process of its own."""
PEERS: Final = 100
ROUTES: Final = 1_000
WATCHED_S: Final = 15.0
"""Of each run."""
HOLD_S: Final = 3
"""The least that is lawful: what the speaker does at a stretch for 100 peers must fit in it."""
PEERS_MIB: Final = 130.0
SERVICES: Final = 5_000
SERVICES_MIB: Final = 110.0
_FIRST: Final = IPv4Address("198.18.0.0")
_OURS: Final = IPv4Address("192.0.2.1")
_THEIRS: Final = IPv4Address("192.0.2.101")
_SETTLE_S: Final = 10.0
_WITHIN_S: Final = 120.0
_OWN: Final = {"apiVersion": "lbctl.io/v1beta1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Hold one cluster with one node, and its router."""

    lan: SpeakerLan
    node: SpeakerNode
    tor: Host
    vty: Vty
    frr: Frr

    def received(self) -> list[int]:
        return [int(one["pfxRcd"]) for one in self.vty.summary().values() if "pfxRcd" in one]

    def established(self) -> list[int]:
        """Return how often the session with each neighbor came up."""
        neighbors = json.loads(self.frr.tell("show bgp neighbors json"))
        return [
            one["connectionsEstablished"] for one in neighbors.values() if isinstance(one, dict)
        ]

    def mib(self, row: str = "VmRSS") -> float:
        assert self.node.speaker is not None
        return processes.resident_mib(self.node.speaker.pid, row)


def figures(progress: Progress) -> list[Figure]:
    resets, peers_mib, services_mib, highest_mib = [], [], [], []
    gobgp_peers_mib, gobgp_services_mib = [], []
    for turn in range(1, RUNS + 1):
        progress(f"turn {turn} of {RUNS}: {PEERS} peers with {ROUTES:,} routes each")
        with _world(PEERS, ROUTES) as world:
            begun = time.monotonic()
            world.node.start_speaker()
            _wait(world, PEERS, ROUTES)
            took = time.monotonic() - begun
            progress(f"all told after {took:.1f} s; changes for {WATCHED_S:.0f} s")
            _change_for(world, WATCHED_S)
            resets.append(float(sum(world.established()) - PEERS))
            peers_mib.append(world.mib("VmHWM"))
            gobgp_peers_mib.append(_gobgp_mib(world, PEERS, ROUTES))
    for turn in range(1, RUNS + 1):
        progress(f"turn {turn} of {RUNS}: {SERVICES:,} Services, one peer")
        with _world(1, SERVICES) as world:
            world.node.start_speaker()
            _wait(world, 1, SERVICES)
            time.sleep(_SETTLE_S)
            services_mib.append(world.mib())
            highest_mib.append(world.mib("VmHWM"))
            gobgp_services_mib.append(_gobgp_mib(world, 1, SERVICES))
    return [
        Figure(
            name=f"{PEERS} peers x {ROUTES:,} routes, hold time {HOLD_S} s, "
            f"a change a second for {WATCHED_S:.0f} s: session resets",
            unit="",
            runs=RUNS,
            median=median(resets),
            p99=max(resets),
            budget="0",
            holds=max(resets) == 0,
        ),
        _memory(
            f"{PEERS} peers x {ROUTES:,} routes, highest", peers_mib, PEERS_MIB, gobgp_peers_mib
        ),
        _memory(f"{SERVICES:,} Services, one peer, settled", services_mib, SERVICES_MIB),
        _memory(
            f"{SERVICES:,} Services, one peer, highest",
            highest_mib,
            SERVICES_MIB,
            gobgp_services_mib,
        ),
    ]


def _gobgp_mib(world: World, peers: int, routes: int) -> float:
    """Return what GoBGP has taken at most to tell the same routes to the same neighbors."""
    world.node.kill()
    eventually(lambda: not any(world.received()), within_s=_WITHIN_S, what="nobody tells FRR")
    calls = [(_OURS + number, _THEIRS + number) for number in range(peers)]
    with tempfile.TemporaryDirectory() as folder:
        rivals = Rivals(world.node.host, world.tor, Path(folder), routes)
        with rivals.gobgp_calling(calls) as (process, _):
            _wait(world, peers, routes)
            return processes.resident_mib(process, "VmHWM")


def _memory(name: str, mib: Sequence[float], budget: float, gobgp: Sequence[float] = ()) -> Figure:
    return Figure(
        name=f"resident memory of lb-speaker, {name}",
        unit="MiB",
        runs=len(mib),
        median=median(mib),
        p99=p99(mib),
        peer=median(gobgp) if gobgp else None,
        peer_p99=p99(gobgp) if gobgp else None,
        peer_name="GoBGP, told the routes" if gobgp else "",
        ratio=median(mib) / median(gobgp) if gobgp else None,
        budget=f"p99 <= {budget:g} MiB",
        holds=p99(mib) <= budget,
    )


@contextmanager
def _world(peers: int, services: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        lan = SpeakerLan(Path(folder), names=("n1",))
        try:
            node, tor = lan.nodes["n1"], lan.lan.host("tor")
            for number in range(peers):
                node.host.ip("addr", "add", f"{_OURS + number}/24", "dev", "eth0")
                tor.ip("addr", "add", f"{_THEIRS + number}/24", "dev", "eth0")
            _fill(lan, peers, services)
            with router(Frr, tor, _lines(peers)) as frr:
                frr.settled(str(_OURS + peers - 1))
                with asked(frr.folder) as vty:
                    yield World(lan=lan, node=node, tor=tor, vty=vty, frr=frr)
        finally:
            lan.close()


def _lines(peers: int) -> str:
    neighbors = "\n".join(
        f" neighbor {_OURS + number} {words}"
        for number in range(peers)
        for words in (f"remote-as {OURS}", "passive", f"timers 1 {HOLD_S}")
    )
    return (
        f"router bgp {THEIRS}\n bgp router-id 198.51.100.200\n"
        f" no bgp ebgp-requires-policy\n{neighbors}\n"
    )


def _fill(lan: SpeakerLan, peers: int, services: int) -> None:
    lan.put_node("n1")
    pool = {"addresses": [f"{_FIRST}-{_FIRST + services - 1}"]}
    lan.put("ipaddresspools", _configured("IPAddressPool", "pool", pool))
    lan.put("bgpadvertisements", _configured("BGPAdvertisement", "all", {}))
    for number in range(peers):
        spec = {
            "myASN": OURS,
            "peerASN": THEIRS,
            "peerAddress": str(_THEIRS + number),
            "sourceAddress": str(_OURS + number),
            "holdTime": f"{HOLD_S}s",
            "keepaliveTime": "1s",
        }
        lan.put("bgppeers", _configured("BGPPeer", f"peer-{number:03}", spec))
    made = [(_service(number), _slice(number, "n1")) for number in range(services)]

    for start in range(0, services, 500):
        part = made[start : start + 500]

        def put(api: Any, part: list[tuple[Any, Any]] = part) -> None:
            for service, endpoints in part:
                api.put("services", service)
                api.put("endpointslices", endpoints)

        lan.api.call(put)


def _configured(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {**_OWN, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def _service(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"web-{number:05}",
            "namespace": "default",
            "uid": f"uid-{number}",
            "annotations": {"lbctl.io/ip-allocated-from-pool": "pool"},
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": str(_FIRST + 2**16 + number),
            "clusterIPs": [str(_FIRST + 2**16 + number)],
            "ipFamilies": ["IPv4"],
            "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP"}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": str(_FIRST + number)}]}},
    }


def _slice(number: int, node: str | None) -> dict[str, Any]:
    """Return the endpoints of a Service: one that is ready, or none."""
    endpoint = {
        "addresses": [str(_FIRST + 2**16 + 2**15 + number)],
        "nodeName": node,
        "conditions": {"ready": True, "serving": True, "terminating": False},
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"web-{number:05}-a",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": f"web-{number:05}"},
        },
        "addressType": "IPv4",
        "endpoints": [endpoint] if node else [],
        "ports": [{"port": 80, "protocol": "TCP"}],
    }


def _wait(world: World, peers: int, routes: int) -> None:
    eventually(
        lambda: world.received() == [routes] * peers,
        within_s=_WITHIN_S,
        what=f"{peers} x {routes} routes",
    )


def _change_for(world: World, seconds: float) -> None:
    """Take one Service's endpoints away, see its route leave each peer, and bring them back."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        for node, routes in ((None, ROUTES - 1), ("n1", ROUTES)):
            world.lan.put("endpointslices", _slice(number, node))
            _wait(world, PEERS, routes)
            time.sleep(1)
        number += 1
