"""Ask a Service from a client of the lab: what a person outside the cluster would see.

Addresses come from the Service's status, answers from the client's machine, the announcing
node's MAC from the client's own neighbor table. Behind a router the client is `remote`, and who
announces is what that router's kernel uses. Called by `lbctl lab client`, the demo and trouble's
measurements.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from lbctl.lab import lab, records, routes
from lbctl.lab import spec as at
from lbctl.lab.spec import Router


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
    """Hold one answer: who announced the address, which pod spoke, whom the pod saw.

    `via` is the router that the question went through; empty on the nodes' LAN.
    """

    service: str
    policy: str
    address: str
    mac: str
    announcer: str
    """The node with that MAC, or all that the router may choose of; empty when there is none."""
    pod: str
    pod_node: str
    client_seen: str
    error: str
    via: str = ""


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


def ask(name: str, target: Target, *, within_s: float, via: Router | None = None) -> list[Answer]:
    """Ask every address of a Service once, patiently for `within_s` seconds each.

    With `via` from behind that router. Raises ReachError when it has no TCP port to ask.
    """
    if not target.tcp_ports:
        raise ReachError(f"{target.service} has no TCP port in spec.ports, and HTTP needs one")
    macs = _macs(name) if via is None else {}
    return [
        _ask(name, target, address, macs=macs, within_s=within_s, via=via)
        for address in target.addresses
    ]


def standpoint(name: str, address: str, via: Router | None) -> tuple[str, str]:
    """Return the machine that asks for an address, and its own address that it asks from.

    An empty one leaves the choice to its kernel. Raises ReachError when the lab has no such router.
    """
    if via is None:
        return at.CLIENT, ""
    routers = records.load(name).spec.routers
    if via not in routers:
        has = f"it has {', '.join(routers)}" if routers else "it was made without --routers"
        raise ReachError(f"lab {name} has no router {via}; {has}")
    own = at.via_v6(via) if ip_address(address).version == 6 else at.via_v4(via)
    return at.REMOTE, str(own.ip)


def _ask(
    name: str,
    target: Target,
    address: str,
    *,
    macs: Mapping[str, str],
    within_s: float,
    via: Router | None,
) -> Answer:
    host = f"[{address}]" if ip_address(address).version == 6 else address
    url = f"http://{host}:{target.tcp_ports[0]}/"
    machine, source = standpoint(name, address, via)
    heard = _inside(
        name, machine, sys.executable, "-m", "lbctl.lab.meters.ask", url,
        "--within", str(within_s), "--source", source,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(heard or '{"error": "the client printed nothing"}')
    mac = _mac(name, address) if via is None else ""
    return Answer(
        service=target.service,
        policy=target.policy,
        address=address,
        mac=mac,
        announcer=macs.get(mac, "") if via is None else _carriers(name, via, address),
        pod=str(answer.get("pod", "")),
        pod_node=str(answer.get("node", "")),
        client_seen=str(answer.get("client", "")),
        error=str(answer.get("error", "")),
        via=via or "",
    )


def _mac(name: str, address: str) -> str:
    found = _inside(name, at.CLIENT, "ip", "-j", "neigh", "show", "to", address)
    entries = json.loads(found or "[]")
    return next((str(entry["lladdr"]) for entry in entries if "lladdr" in entry), "")


def _carriers(name: str, via: Router, address: str) -> str:
    """Return the nodes that a router's kernel may send packets for an address to."""
    held = routes.of_router(name, via)
    used = (route.node for route in held.routes if route.used and route.holds(address))
    return ",".join(sorted(set(used)))


def _macs(name: str) -> dict[str, str]:
    """Return the nodes by the MAC of their LAN interface."""
    found = {}
    for node in lab.status(name).nodes:
        done = lab.run(name, node, ["ip", "-j", "link", "show", "eth0"], capture_output=True)
        if done.returncode == 0:
            found[str(json.loads(done.stdout)[0]["address"])] = node
    return found


def _inside(name: str, machine: str, *argv: str) -> str:
    return str(lab.run(name, machine, argv, capture_output=True).stdout)
