"""What cluster tests do to a lab and ask of it: kubectl, the client, and who announces.

Everything polls with a deadline. The judge of "who announces" is the client's own kernel: its
neighbor table after a fresh resolution, as any host on the LAN would learn it.
"""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lbctl.lab import lab

T = TypeVar("T")
DEADLINE_S = 60.0
PRODUCT = "lbctl-system"
VALUES = ("webhook.otherNamespaces={default}",)
"""Of the chart: some tests store objects in "default", which the product must not mind."""


def eventually(what: str, probe: Callable[[], T], *, within_s: float = DEADLINE_S) -> T:
    """Return the first truthy value of `probe`; fail with its last value when time is over."""
    give_up = time.monotonic() + within_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {within_s:.0f} s: {what}; last seen: {value!r}")
        time.sleep(0.1)


def steadily(what: str, probe: Callable[[], object], *, for_s: float) -> None:
    """Fail if `probe` is false once within `for_s` seconds: for what must not happen."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        value = probe()
        assert value, f"{what}: {value!r}"
        time.sleep(0.2)


@dataclass
class Cluster:
    """Hold a lab by name."""

    lab: str
    kubeconfig: Path
    kubectl: Path
    nodes: tuple[str, ...]
    macs: dict[str, str] = field(default_factory=dict)

    def kube(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        done = subprocess.run(
            [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout if check else done.stdout + done.stderr

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kube("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        text = self.kube("-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else {}

    def list(self, kind: str, *selector: str) -> builtins.list[dict[str, Any]]:
        found = self.kube("get", kind, "-A", "-o", "json", *selector)
        return json.loads(found)["items"]

    def delete(self, kind: str, name: str, namespace: str = "default", *more: str) -> None:
        self.kube("-n", namespace, "delete", kind, name, "--ignore-not-found", *more)

    def addresses(self, name: str, namespace: str = "default") -> builtins.list[str]:
        status = self.get("service", name, namespace).get("status", {})
        return [entry["ip"] for entry in status.get("loadBalancer", {}).get("ingress", ())]

    def condition(
        self, kind: str, name: str, type_: str, namespace: str = "default"
    ) -> dict[str, Any]:
        conditions = self.get(kind, name, namespace).get("status", {}).get("conditions", ())
        return next((one for one in conditions if one["type"] == type_), {})

    def wait_address(
        self, name: str, count: int = 1, namespace: str = "default"
    ) -> builtins.list[str]:
        def found() -> builtins.list[str]:
            addresses = self.addresses(name, namespace)
            return addresses if len(addresses) >= count else []

        return eventually(f"Service {namespace}/{name} has {count} address(es)", found)

    def events(self, name: str, namespace: str = "default") -> builtins.list[tuple[str, str]]:
        """Return reason and message of the Events about an object of that name."""
        items = self.list("events.v1.", "--field-selector", f"involvedObject.name={name}")
        return [(item["reason"], item["message"]) for item in items]

    # -- the client on the LAN ------------------------------------------------------------------

    def in_net(self, machine: str, *argv: str, check: bool = True) -> str:
        """Run a host command in a machine's network namespace."""
        done = subprocess.run(
            ["ip", "netns", "exec", f"lbctl-{self.lab}-{machine}", *argv],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if check and done.returncode:
            raise AssertionError(f"{machine}: {' '.join(argv)}: {done.stdout}{done.stderr}")
        return done.stdout

    def ask(self, address: str, port: int = 80, *, within_s: float = 0.0) -> dict[str, Any]:
        host = f"[{address}]" if ":" in address else address
        text = self.in_net(
            "client", sys.executable, "-m", "lbctl.lab.meters.ask", f"http://{host}:{port}/",
            "--within", str(within_s), check=False,
        )  # fmt: skip
        return json.loads(text) if text.strip() else {"error": "the client printed nothing"}

    def mac_of(self, node: str) -> str:
        if node not in self.macs:
            links = json.loads(self.in_net(node, "ip", "-j", "link", "show", "eth0"))
            self.macs[node] = links[0]["address"]
        return self.macs[node]

    def neighbor(self, address: str) -> str:
        """Return the MAC that a fresh resolution by the client's kernel finds, or ""."""
        version = "-6" if ip_address(address).version == 6 else "-4"
        self.in_net("client", "ip", version, "neigh", "flush", "to", address, check=False)
        # A datagram to the discard port makes the kernel resolve; nothing needs to answer it.
        self.in_net("client", "ping", version, "-c", "1", "-W", "1", address, check=False)
        entries = json.loads(
            self.in_net("client", "ip", "-j", version, "neigh", "show", "to", address) or "[]"
        )
        for entry in entries:
            if "lladdr" in entry and not {"FAILED", "INCOMPLETE"} & set(entry["state"]):
                return str(entry["lladdr"])
        return ""

    def announcer(self, address: str) -> str:
        """Return the node whose MAC the client finds for the address, or ""."""
        mac = self.neighbor(address)
        return next((node for node in self.nodes if self.mac_of(node) == mac), mac)

    def answering_macs(self, address: str) -> set[str]:
        """Return every MAC that answers one ARP request: more than one is two owners."""
        text = self.in_net(
            "client", "arping", "-c", "2", "-w", "2", "-I", "eth0", address, check=False
        )
        return {word.strip("[]()").lower() for word in text.split() if word.count(":") == 5}

    def wait_announcer(
        self, address: str, *, other_than: str = "", within_s: float = DEADLINE_S
    ) -> str:
        def found() -> str:
            node = self.announcer(address)
            return node if node and node != other_than else ""

        return eventually(
            f"a node other than {other_than!r} announces {address}", found, within_s=within_s
        )

    # -- the lab's own verbs --------------------------------------------------------------------

    def lbctl(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "lbctl"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        if check and done.returncode:
            raise AssertionError(f"lbctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def inside(self, machine: str, *argv: str, check: bool = True) -> str:
        """Run a command inside all namespaces of a machine."""
        done = lab.run(self.lab, machine, argv, capture_output=True, timeout=120)
        if check and done.returncode:
            raise AssertionError(f"{machine}: {' '.join(argv)}: {done.stdout}{done.stderr}")
        return str(done.stdout)

    @contextmanager
    def stopped(self, machine: str, program: str) -> Iterator[None]:
        """Kill a program of a machine and keep it from being started again meanwhile."""
        lab.stop_process(self.lab, machine, program)
        try:
            yield
        finally:
            lab.start_process(self.lab, machine, program)

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """Make a namespace and remove it with all that a test made in it."""
        self.kube("create", "namespace", name)
        try:
            yield name
        finally:
            self.kube("delete", "namespace", name, "--wait=true", "--timeout=60s")


@contextmanager
def without_webhook(cluster: Cluster) -> Iterator[None]:
    """Take the webhook's registration away and bring it back."""
    kind, name = "validatingwebhookconfiguration", f"{PRODUCT}-lbctl"
    saved = cluster.get(kind, name)
    cluster.delete(kind, name)
    try:
        yield
    finally:
        for made in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
            saved["metadata"].pop(made, None)
        # Given back as helm's own, or its next upgrade would find a conflict.
        cluster.kube(
            "apply", "--server-side", "--field-manager=helm", "-f", "-", stdin=json.dumps(saved)
        )


def service(name: str, **spec: Any) -> dict[str, Any]:
    """Return a LoadBalancer Service in front of `app: echo`; keywords replace fields of the spec."""
    annotations = spec.pop("annotations", {})
    namespace = spec.pop("namespace", "default")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": "echo"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            **spec,
        },
    }


def pool(name: str, *addresses: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": PRODUCT},
        "spec": {"addresses": [*addresses], **spec},
    }


def advertisement(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": "L2Advertisement",
        "metadata": {"name": name, "namespace": PRODUCT},
        "spec": spec,
    }


def echo(name: str, *, replicas: int, node: str = "") -> dict[str, Any]:
    """Return a Deployment of echo servers, which become ready within a second or two."""
    pin = {"nodeName": node} if node else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    **pin,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {
                            "name": "echo",
                            "image": "example.com/echo:1",
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "readinessProbe": {
                                "httpGet": {"path": "/readyz", "port": "http"},
                                "periodSeconds": 1,
                            },
                        }
                    ],
                },
            },
        },
    }
