"""The routers as Kubernetes objects: a BGPPeer for each, for who has lbctl in the lab. Pure.

One session for each node and router, by IPv4, carrying both families. The hold time is short, so
that a demonstration of a dead node takes seconds; a cluster keeps the default.
"""

from typing import Any

import yaml

from lbctl.lab import spec as at
from lbctl.lab.spec import LabSpec, Router

NAMESPACE = "lbctl-system"
HOLD_S, KEEPALIVE_S = 6, 2


def manifest(spec: LabSpec) -> str:
    """Return the objects as YAML documents."""
    return str(yaml.safe_dump_all((_peer(one, spec.asn) for one in spec.routers), sort_keys=False))


def _peer(router: Router, asn: int) -> dict[str, Any]:
    return {
        "apiVersion": "lbctl.io/v1beta1",
        "kind": "BGPPeer",
        "metadata": {"name": router.value, "namespace": NAMESPACE},
        "spec": {
            "myASN": asn,
            "peerASN": router.asn,
            "peerAddress": str(at.ipv4(router).ip),
            "holdTime": f"{HOLD_S}s",
            "keepaliveTime": f"{KEEPALIVE_S}s",
            "enableGracefulRestart": True,
            "dualStackAddressFamily": True,
        },
    }
