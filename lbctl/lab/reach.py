"""Ask a Service from the lab's client: what a person outside the cluster would see.

Addresses come from the Service's status, answers from the client's machine, the announcing
node's MAC from the client's own neighbor table. Called by `lbctl lab client`, the demo and
trouble's measurements.
"""

import json
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from lbctl.lab import lab
from lbctl.lab import spec as at


class ReachError(RuntimeError):
    """The Service cannot be asked; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Hold where a Service can be asked."""

    service: str
    policy: str
    addresses: tuple[str, ...]
    tcp_ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold one answer: who announced the address, which pod spoke, whom the pod saw."""

    service: str
    policy: str
    address: str
    mac: str
    announcer: str
    """The node with that MAC; empty when no node has it."""
    pod: str
    pod_node: str
    client_seen: str
    error: str


def find(name: str, service: str) -> Target:
    """Return the addresses of NAMESPACE/NAME. Raises ReachError when there is no such Service."""
    namespace, _, short = service.rpartition("/")
    done = lab.kubectl(
        name,
        ["-n", namespace or "default", "get", "service", short, "-o", "json"],
        capture_output=True,
    )
    if done.returncode:
        raise ReachError(str(done.stderr).strip())
    found = json.loads(done.stdout)
    ingress = found.get("status", {}).get("loadBalancer", {}).get("ingress", ())
    return Target(
        service=f"{namespace or 'default'}/{short}",
        policy=found["spec"].get("externalTrafficPolicy", ""),
        addresses=tuple(entry["ip"] for entry in ingress if "ip" in entry),
        tcp_ports=tuple(p["port"] for p in found["spec"]["ports"] if p.get("protocol") == "TCP"),
    )


def ask(name: str, target: Target, *, within_s: float) -> list[Answer]:
    """Ask every address of a Service once, patiently for `within_s` seconds each.

    Raises ReachError when it has no TCP port to ask.
    """
    if not target.tcp_ports:
        raise ReachError(f"{target.service} has no TCP port in spec.ports, and HTTP needs one")
    macs = _macs(name)
    return [_ask(name, target, address, macs, within_s) for address in target.addresses]


def _ask(name: str, target: Target, address: str, macs: dict[str, str], within_s: float) -> Answer:
    host = f"[{address}]" if ip_address(address).version == 6 else address
    url = f"http://{host}:{target.tcp_ports[0]}/"
    heard = _in_client(
        name, sys.executable, "-m", "lbctl.lab.meters.ask", url, "--within", str(within_s)
    )
    answer: dict[str, Any] = json.loads(heard or '{"error": "the client printed nothing"}')
    entries = json.loads(_in_client(name, "ip", "-j", "neigh", "show", "to", address) or "[]")
    mac = next((str(entry["lladdr"]) for entry in entries if "lladdr" in entry), "")
    return Answer(
        service=target.service,
        policy=target.policy,
        address=address,
        mac=mac,
        announcer=macs.get(mac, ""),
        pod=str(answer.get("pod", "")),
        pod_node=str(answer.get("node", "")),
        client_seen=str(answer.get("client", "")),
        error=str(answer.get("error", "")),
    )


def _macs(name: str) -> dict[str, str]:
    """Return the nodes by the MAC of their LAN interface."""
    found = {}
    for node in lab.status(name).nodes:
        done = lab.run(name, node, ["ip", "-j", "link", "show", "eth0"], capture_output=True)
        if done.returncode == 0:
            found[str(json.loads(done.stdout)[0]["address"])] = node
    return found


def _in_client(name: str, *argv: str) -> str:
    return str(lab.run(name, at.CLIENT, argv, capture_output=True).stdout)
