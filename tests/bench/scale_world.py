"""The objects of a large cluster, as an API server takes them: pools, Nodes, Services, slices.

A Node is as long as a kubelet makes one (with the images it lists), because its length is what a
heartbeat costs a reader. Slices have ready endpoints on these Nodes. Nothing here is announced:
no L2Advertisement is made. kube-proxy leaves Services and slices alone, by their label; in a rack
it runs on other machines than the API server.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any, Final

SERVICES: Final = 10_000
NODES: Final = 1_000
POOLS: Final = 100
POOL_SIZE: Final = 128
IMAGES: Final = 50
"""Images that a kubelet lists at most (nodeStatusMaxImages)."""

# Of the range for benchmarks, what neither Pods nor ClusterIPs of a lab have.
_FIRST: Final = IPv4Address("198.18.128.0")
TIGHT: Final = "tight"
_TIGHT_ADDRESS: Final = IPv4Address("198.18.191.255")
_PODS: Final = IPv4Address("198.18.64.0")
_NOT_FOR_KUBE_PROXY: Final = {"service.kubernetes.io/service-proxy-name": "bench"}
_NEVER: Final = "2026-01-01T00:00:00Z"


def pools() -> list[dict[str, Any]]:
    """Return the pools that the Services are served from, and one of a single address."""
    wide = [
        _pool(f"pool-{number:03}", _FIRST + number * POOL_SIZE, POOL_SIZE, auto_assign=True)
        for number in range(POOLS - 1)
    ]
    return [*wide, _pool(TIGHT, _TIGHT_ADDRESS, 1, auto_assign=False)]


def _pool(name: str, first: IPv4Address, size: int, *, auto_assign: bool) -> dict[str, Any]:
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": name},
        "spec": {"addresses": [f"{first}-{first + size - 1}"], "autoAssign": auto_assign},
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    """Return a Service without selector, whose slice is made by hand; keywords go into its spec."""
    annotations = spec.pop("annotations", {})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": name, **_NOT_FOR_KUBE_PROXY},
            "annotations": annotations,
        },
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": False,
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            **spec,
        },
    }


def node_name(number: int) -> str:
    return f"bench-{number:04}"


def node(number: int) -> dict[str, Any]:
    """Return a Node without room for any Pod.

    What the controller-manager would add to it, at 20 writes a second, is there already.
    """
    name = node_name(number)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "beta.kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": f"zone-{number % 3}",
            },
            "annotations": {"node.alpha.kubernetes.io/ttl": "60"},
        },
        "status": {
            "conditions": conditions(_NEVER),
            "images": [_image(index) for index in range(IMAGES)],
        },
    }


def conditions(beat: str) -> list[dict[str, Any]]:
    """Return a Node's conditions with the time of a heartbeat."""
    return [
        {
            "type": kind,
            "status": "True" if kind == "Ready" else "False",
            "lastHeartbeatTime": beat,
            "lastTransitionTime": _NEVER,
            "reason": f"Kubelet{kind}",
            "message": f"the kubelet says so of {kind}",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]


def _image(index: int) -> dict[str, Any]:
    name = f"registry.example/team/program-{index}"
    return {"names": [f"{name}@sha256:{index:064x}", f"{name}:v1.{index}"], "sizeBytes": 10**8}


def slice_name(service_name: str) -> str:
    return f"{service_name}-abcde"


def endpoint_slice(service_name: str, number: int) -> dict[str, Any]:
    """Return a slice with two ready endpoints."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name(service_name),
            "labels": {
                "kubernetes.io/service-name": service_name,
                "endpointslice.kubernetes.io/managed-by": "bench.example",
                **_NOT_FOR_KUBE_PROXY,
            },
        },
        "addressType": "IPv4",
        "endpoints": endpoints(number, zone="a"),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def endpoints(number: int, *, zone: str) -> list[dict[str, Any]]:
    """Return endpoints that differ in their zone only, which no decision reads."""
    return [
        {
            "addresses": [str(_PODS + 2 * number % 16_000 + index)],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": node_name((number + index) % NODES),
            "zone": zone,
        }
        for index in range(2)
    ]
