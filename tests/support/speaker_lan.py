"""Nodes with real lb-speaker and lb-fastpath processes, a client, and the fake API beside them.

The LAN carries what clients see; the API is reached over a second bridge, so that a link that is
cut on the LAN does not cut the node from the API server, as with a rack's management network.
"""

from __future__ import annotations

import asyncio
import http.client
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.support.fake_api import FakeApi
from tests.support.fastpath_process import FastPathProcess
from tests.support.lan import Host, Lan, inside, run

NAMESPACE = "lbctl-system"
MANAGEMENT = "veth-mgmt"
"""A name that the speaker's inventory leaves out."""
V4, V6 = "198.51.100.200", "2001:db8:1::200"
SERVICE = "shop"

T = TypeVar("T")


class ApiThread:
    """Run the fake API on a host of the management network, in a thread of its own."""

    def __init__(self, host: Host, address: str) -> None:
        self.api = FakeApi(host=address)
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        started = threading.Event()

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            async with self.api:
                started.set()
                await self._stop.wait()

        def live() -> None:
            with inside(host.namespace):
                asyncio.run(serve())

        self._thread = threading.Thread(target=live, daemon=True)
        self._thread.start()
        assert started.wait(10)

    def call(self, question: Callable[[FakeApi], T]) -> T:
        """Ask or change the API in its own thread."""

        async def ask() -> T:
            return question(self.api)

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(10)

    def close(self) -> None:
        if self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)


class SpeakerNode:
    """One node: a host on the LAN with the two processes of a speaker pod."""

    def __init__(self, host: Host, name: str, directory: Path, server: str) -> None:
        self.host = host
        self.name = name
        self._directory = directory
        self._socket = directory / f"{name}.sock"
        self._kubeconfig = directory / "kubeconfig"
        self._kubeconfig.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            f"clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n"
            "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
            "users: [{name: u, user: {token: t}}]\n"
        )
        self.fastpath: FastPathProcess | None = None
        self.speaker: subprocess.Popen[bytes] | None = None

    def start_fastpath(self, **how: tuple[str, ...]) -> None:
        self.fastpath = FastPathProcess(self.host.namespace, self._socket, **how)

    def start_speaker(self) -> None:
        with (self._directory / f"{self.name}.log").open("ab") as log:
            self.speaker = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.host.namespace),
                    *(sys.executable, "-m", "speaker.main"),
                    *("--node-name", self.name, "--namespace", NAMESPACE),
                    *("--fastpath-socket", str(self._socket)),
                    *("--kubeconfig", str(self._kubeconfig), "--listen", "127.0.0.1:9432"),
                ],
                stderr=log,
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal both processes and wait for their end."""
        if self.speaker is not None:
            self.speaker.send_signal(number)
            self.speaker.wait(20)
        if self.fastpath is not None and self.fastpath.running:
            self.fastpath.process.send_signal(number)
            self.fastpath.process.communicate(timeout=20)

    def get(self, page: str) -> tuple[int, str]:
        """Return status and body of a page of lb-speaker; (0, "") when it does not listen."""
        with inside(self.host.namespace):
            connection = http.client.HTTPConnection("127.0.0.1", 9432, timeout=10)
            try:
                connection.request("GET", f"/{page}")
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except OSError:
                return 0, ""
            finally:
                connection.close()

    @property
    def log(self) -> str:
        return (self._directory / f"{self.name}.log").read_text()

    @property
    def rss_kib(self) -> int:
        assert self.speaker is not None
        pid = self.speaker.pid
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0


class SpeakerLan:
    """Everything together; `close` leaves nothing behind."""

    def __init__(self, directory: Path, names: tuple[str, ...] = ("n1", "n2", "n3")) -> None:
        self.lan = Lan()
        self._management = "br1"
        run("ip", "-n", self.lan.switch, "link", "add", "br1", "type", "bridge")
        run("ip", "-n", self.lan.switch, "link", "set", "br1", "up")
        server = self.lan.host("api")
        self._manage(server, "203.0.113.254")
        self.api = ApiThread(server, "203.0.113.254")
        self.client = self.lan.host("client")
        self.nodes: dict[str, SpeakerNode] = {}
        for number, name in enumerate(names, 1):
            host = self.lan.host(name)
            self._manage(host, f"203.0.113.{number}")
            self.nodes[name] = SpeakerNode(host, name, directory, self.api.api.url)

    def _manage(self, host: Host, address: str) -> None:
        port = f"m-{host.number}"
        switch = self.lan.switch
        words = f"link add {MANAGEMENT} netns {host.namespace} type veth peer name {port}".split()
        run("ip", "-n", switch, *words)
        run("ip", "-n", switch, "link", "set", port, "master", "br1", "up")
        host.ip("link", "set", MANAGEMENT, "up")
        host.ip("addr", "add", f"{address}/24", "dev", MANAGEMENT)

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()
        self.api.close()
        self.lan.close()

    def cut_management(self, name: str, *, heal: bool = False) -> None:
        """Cut a node from the API server, or connect it again; its LAN stays as it is."""
        port = f"m-{self.nodes[name].host.number}"
        run("ip", "-n", self.lan.switch, "link", "set", port, "up" if heal else "down")

    # The cluster's objects, written as somebody else would.

    def put(self, plural: str, body: Mapping[str, Any]) -> None:
        self.api.call(lambda api: api.put(plural, body))

    def populate(self) -> None:
        for name in self.nodes:
            self.put_node(name)
        own = {"apiVersion": "lbctl.io/v1beta1"}
        self.put(
            "ipaddresspools",
            {
                **own,
                "kind": "IPAddressPool",
                "metadata": {"name": "pool", "namespace": NAMESPACE},
                "spec": {"addresses": ["198.51.100.200-198.51.100.250", "2001:db8:1::200/120"]},
            },
        )
        self.put(
            "l2advertisements",
            {
                **own,
                "kind": "L2Advertisement",
                "metadata": {"name": "all", "namespace": NAMESPACE},
                "spec": {},
            },
        )

    def put_node(
        self, name: str, *, labels: Mapping[str, str] | None = None, ready: str = "True"
    ) -> None:
        self.put(
            "nodes",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": dict(labels or {})},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            },
        )

    def put_service(
        self,
        name: str = SERVICE,
        *,
        policy: str = "Cluster",
        addresses: tuple[str, ...] = (V4, V6),
    ) -> None:
        self.put(
            "services",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": name,
                    "namespace": "default",
                    "uid": f"uid-{name}",
                    "annotations": {"lbctl.io/ip-allocated-from-pool": "pool"},
                },
                "spec": {
                    "type": "LoadBalancer",
                    "clusterIP": "198.18.0.10",
                    "clusterIPs": ["198.18.0.10", "2001:db8:ffff::10"],
                    "ipFamilies": ["IPv4", "IPv6"],
                    "externalTrafficPolicy": policy,
                    "ports": [{"port": 80, "protocol": "TCP"}],
                },
                "status": {"loadBalancer": {"ingress": [{"ip": one} for one in addresses]}},
            },
        )

    def put_endpoints(
        self, *nodes: str, ending: tuple[str, ...] = (), service: str = SERVICE
    ) -> None:
        """Give a Service one endpoint per node and family; those on `ending` serve their last."""
        for family, prefix in (("IPv4", "198.18.128."), ("IPv6", "2001:db8:ffff:1::")):
            self.put(
                "endpointslices",
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": f"{service}-{family.lower()}",
                        "namespace": "default",
                        "labels": {"kubernetes.io/service-name": service},
                    },
                    "addressType": family,
                    "endpoints": [
                        {
                            "addresses": [f"{prefix}{number}"],
                            "nodeName": node,
                            "conditions": {
                                "ready": node not in ending,
                                "serving": True,
                                "terminating": node in ending,
                            },
                        }
                        for number, node in enumerate(nodes, 1)
                    ],
                },
            )

    # What the client's kernel and the API show.

    def answering(self, address: str) -> str | None:
        """Return the node whose hardware address the client's kernel finds now."""
        self.client.forget(address)
        self.client.resolve(address)
        mac = self.client.neighbor(address)
        return next((n.name for n in self.nodes.values() if n.host.mac.hex(":") == mac), mac)

    def stated(self) -> dict[str, str]:
        """Return the announcing node by the name of its ServiceL2Status."""
        found = self.api.call(lambda api: list(api.objects("servicel2statuses")))
        return {
            body["metadata"]["name"]: body["status"]["node"] for body in found if "status" in body
        }
