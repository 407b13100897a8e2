"""Run `lbctl` as people do, against the fake API over real HTTP.

The program is the environment's, the code is this checkout's, whichever the environment installs.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.support.fake_api import FakeApi

CHECKOUT = Path(__file__).resolve().parents[2]
LBCTL = Path(sys.executable).parent / "lbctl"
NAMESPACE = "lbctl-system"
Done = subprocess.CompletedProcess[str]
World = list[tuple[str, dict[str, Any]]]


def kubeconfig(path: Path, server: str, **user: Any) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                "clusters": [{"name": "here", "cluster": {"server": server}}],
                "users": [{"name": "me", "user": user}],
            }
        )
    )
    return path


def environment(config: Path, **more: str) -> dict[str, str]:
    return {
        "KUBECONFIG": str(config),
        "PATH": "/usr/bin:/bin",
        "HOME": str(config.parent),
        "PYTHONPATH": str(CHECKOUT),
        **more,
    }


def run(arguments: tuple[str, ...], config: Path, program: Path = LBCTL) -> Done:
    return subprocess.run(
        [str(program), *arguments],
        env=environment(config),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def run_in(
    world: World,
    arguments: tuple[str, ...],
    directory: Path,
    prepare: Callable[[FakeApi], object] = lambda _: None,
) -> Done:
    """Run a command against an API server that holds `world`, and is prepared otherwise."""

    async def serve() -> Done:
        async with FakeApi() as api:
            for plural, body in world:
                api.put(plural, body)
            prepare(api)
            config = kubeconfig(directory / "config", api.url)
            return await asyncio.to_thread(run, arguments, config)

    return asyncio.run(serve())


def service(name: str, **status: Any) -> tuple[str, dict[str, Any]]:
    return (
        "services",
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": name,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "198.19.0.9",
                "clusterIPs": ["198.19.0.9"],
                "ipFamilies": ["IPv4"],
                "ports": [{"protocol": "TCP", "port": 80}],
                "selector": {"app": "web"},
            },
            "status": {"loadBalancer": status},
        },
    )


def node(name: str, *addresses: str, pods: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    ready = {"type": "Ready", "status": "True"}
    return (
        "nodes",
        {
            "metadata": {"name": name, "uid": name},
            "spec": {"podCIDRs": list(pods)},
            "status": {
                "conditions": [ready],
                "addresses": [{"type": "InternalIP", "address": one} for one in addresses],
            },
        },
    )


def pool(name: str, *ranges: str, **spec: Any) -> tuple[str, dict[str, Any]]:
    return (
        "ipaddresspools",
        {
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": name,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"addresses": list(ranges), **spec},
        },
    )


def speaker(name: str, subnet: str = "192.0.2.1/24") -> tuple[str, dict[str, Any]]:
    """Return the SpeakerStatus of a node whose speaker is well, with one link."""
    link = {
        "name": "eth0",
        "index": 2,
        "mac": "02:00:00:00:00:02",
        "up": True,
        "carrier": True,
        "subnets": [subnet],
        "hasLinkLocal": True,
    }
    return (
        "speakerstatuses",
        {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "status": {"incarnation": "1", "fastpathConnected": True, "links": [link]},
        },
    )


def endpoints(
    service_name: str, *node_names: str, namespace: str = "default"
) -> tuple[str, dict[str, Any]]:
    """Return an EndpointSlice with one ready endpoint on each node."""
    return (
        "endpointslices",
        {
            "metadata": {
                "name": f"{service_name}-1",
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": service_name},
            },
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": [f"198.18.1.{number}"],
                    "conditions": {"ready": True},
                    "nodeName": node_name,
                }
                for number, node_name in enumerate(node_names, 1)
            ],
        },
    )


def sent(
    service_name: str, node_name: str, *addresses: str, namespace: str = "default"
) -> tuple[str, dict[str, Any]]:
    """Return the ServiceL2Status by which a node says that it announces a Service over IPv4.

    Without addresses it is as MetalLB's schema leaves it.
    """
    status = {
        "node": node_name,
        "serviceName": service_name,
        "serviceNamespace": namespace,
        "interfaces": [{"name": "eth0"}],
    }
    labels = {"lbctl.io/service-name": service_name, "lbctl.io/service-namespace": namespace}
    return (
        "servicel2statuses",
        {
            "metadata": {
                "name": f"{namespace}.{service_name}.ipv4",
                "namespace": NAMESPACE,
                "labels": labels,
            },
            "status": {**status, **({"addresses": list(addresses)} if addresses else {})},
        },
    )


ADVERTISEMENT: tuple[str, dict[str, Any]] = (
    "l2advertisements",
    {"metadata": {"name": "all", "namespace": NAMESPACE, "uid": "a"}, "spec": {}},
)


def peer(
    name: str = "tor", address: str = "192.0.2.250", **spec: Any
) -> tuple[str, dict[str, Any]]:
    """Return a BGPPeer of every node, unless `spec` selects some."""
    values = {"myASN": 64500, "peerASN": 64501, "peerAddress": address, **spec}
    return (
        "bgppeers",
        {"metadata": {"name": name, "namespace": NAMESPACE, "uid": name}, "spec": values},
    )


def bgp_advertisement(name: str = "bgp", **spec: Any) -> tuple[str, dict[str, Any]]:
    """Return a BGPAdvertisement of every pool to every peer, unless `spec` says less."""
    return (
        "bgpadvertisements",
        {"metadata": {"name": name, "namespace": NAMESPACE, "uid": name}, "spec": spec},
    )


def bgp_session(
    node_name: str,
    peer_name: str = "tor",
    state: str = "Established",
    routes: tuple[int, int, int] = (1, 1, 1),
    six: tuple[int, int, int] = (0, 0, 0),
    **status: Any,
) -> tuple[str, dict[str, Any]]:
    """Return the BGPSessionStatus of the speaker that `speaker` describes; `routes` are wanted,
    sent and acknowledged ones of IPv4, `six` those of IPv6."""
    names = ("wanted", "sent", "acknowledged")
    both = [sum(pair) for pair in zip(routes, six, strict=True)]
    return (
        "bgpsessionstatuses",
        {
            "metadata": {"name": f"{node_name}.{peer_name}", "namespace": NAMESPACE},
            "status": {
                "node": node_name,
                "peer": peer_name,
                "incarnation": "1",
                "state": state,
                "since": "2026-01-01T00:00:00Z",
                "routes": {
                    **dict(zip(names, both, strict=True)),
                    "ipv4": dict(zip(names, routes, strict=True)),
                    "ipv6": dict(zip(names, six, strict=True)),
                },
                **status,
            },
        },
    )
