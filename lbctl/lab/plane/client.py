"""The few requests that `lbctl lab` itself makes to its cluster: is it ready, are its nodes.

The standard library's HTTP with the administrator's certificate: the lab starts in seconds, and
importing a Kubernetes client would be a good part of them.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lbctl.lab import spec as at

_ATTEMPT_S = 5.0
_PLURALS = {
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
}


class ApiError(RuntimeError):
    """The API server said no, or nothing at all."""


class Client:
    """The administrator's view of a lab's API server, through the host's port."""

    def __init__(self, *, pki: Path, port: int) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the parsed answer. Raises ApiError for a refusal, OSError without an answer."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._tls, timeout=_ATTEMPT_S
        )
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            payload = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the API server broke off: {error}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError(f"{method} {path}: {answer.status} {payload[:300].decode()}")
        if "json" in (answer.getheader("Content-Type") or ""):
            return json.loads(payload)
        return payload.decode()

    def ready(self) -> bool:
        """Say whether the API server is ready to serve."""
        try:
            self.request("GET", "/readyz")
        except (ApiError, OSError):
            return False
        return True

    def nodes(self) -> dict[str, bool]:
        """Return each node's name and whether it is Ready. Raises ApiError, OSError."""
        items = self.request("GET", "/api/v1/nodes")["items"]
        return {item["metadata"]["name"]: _is_ready(item) for item in items}

    def register(self, node: str) -> None:
        """Make a Node object before its kubelet does, so that its podCIDRs are the lab's.

        The kubelet finds its node and fills in the rest; kube-proxy, which waits for the node's
        addresses, need not wait. A node that exists already is left alone.
        """
        cidrs = [str(at.pod_v4(node)), str(at.pod_v6(node))]
        addresses = [
            {"type": "InternalIP", "address": str(at.ipv4(node).ip)},
            {"type": "InternalIP", "address": str(at.ipv6(node).ip)},
            {"type": "Hostname", "address": node},
        ]
        body = {
            "metadata": {"name": node, "labels": {"kubernetes.io/hostname": node}},
            "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
            "status": {"addresses": addresses},
        }
        try:
            self.request("POST", "/api/v1/nodes", body)
        except ApiError as error:
            if " 409 " not in str(error):
                raise

    def create_all(self, manifests: str) -> None:
        """Create the cluster-wide objects of a YAML text. Raises ApiError, OSError."""
        for item in yaml.safe_load_all(manifests):
            plural = _PLURALS[item["kind"]]
            self.request("POST", f"/apis/{item['apiVersion']}/{plural}", item)


def wait_until(what: str, holds: Callable[[], bool], *, deadline_s: float) -> None:
    """Poll quickly until something holds. Raises ApiError when the time is over."""
    give_up = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > give_up:
            raise ApiError(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(0.05)


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
