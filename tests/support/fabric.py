"""One or two nodes of a cluster beside two hosts for routers, told what to do by objects."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.bgp import OURS, THEIRS
from tests.support.lan import Host
from tests.support.speaker_lan import NAMESPACE, V4, V6, SpeakerLan

BOTH = (f"{V4}/32", f"{V6}/128")
WITHIN_S = 30.0


class Fabric:
    """Nodes whose Service is announced to a router on `tor`, and to one on `spine`."""

    def __init__(self, cluster: SpeakerLan, tor: Host, spine: Host) -> None:
        self.cluster = cluster
        self.node = cluster.nodes["n1"]
        self.tor = tor
        self.spine = spine

    def put(self, plural: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        self.cluster.put(
            plural,
            {
                "apiVersion": "lbctl.io/v1beta1",
                "kind": kind,
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": spec,
            },
        )

    def put_peer(self, name: str, host: Host, **spec: Any) -> None:
        ends = {"myASN": OURS, "peerASN": THEIRS, "peerAddress": host.address}
        given = {"connectTime": "1s", "dualStackAddressFamily": True}
        self.put("bgppeers", "BGPPeer", name, {**ends, **given, **spec})

    def put_advertisement(self, name: str, **spec: Any) -> None:
        self.put("bgpadvertisements", "BGPAdvertisement", name, spec)

    def put_password(self, password: str) -> None:
        self.cluster.put(
            "secrets",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "tor-password", "namespace": NAMESPACE},
                "type": "kubernetes.io/basic-auth",
                "data": {"password": base64.b64encode(password.encode()).decode()},
            },
        )

    def put_node(self, name: str = "n1", *, also: str = "", **annotations: str) -> None:
        """Write the Node; `also` is one more address of it, and the first."""
        host = self.cluster.nodes[name].host
        self.cluster.put(
            "nodes",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {"kubernetes.io/hostname": name},
                    "annotations": {f"lbctl.io/{key}": text for key, text in annotations.items()},
                },
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [
                        {"type": "InternalIP", "address": address}
                        for address in (also, host.address, host.address6)
                        if address
                    ],
                },
            },
        )


@contextlib.contextmanager
def fabric_of(directory: Path, *names: str) -> Iterator[Fabric]:
    cluster = SpeakerLan(directory, names)
    try:
        made = Fabric(cluster, cluster.lan.host("tor"), cluster.lan.host("spine"))
        cluster.populate()
        cluster.api.call(lambda api: api.delete("l2advertisements", "all", NAMESPACE))
        for name in names:
            made.put_node(name)
            cluster.nodes[name].start_fastpath()
        cluster.put_service()
        cluster.put_endpoints("n1")
        made.put_advertisement("all")
        yield made
    finally:
        cluster.close()
