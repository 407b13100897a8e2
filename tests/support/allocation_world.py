"""Services, pools and namespaces as an API server holds them, for histories of the allocator.

Bodies are what kubectl would show. A change obeys the server's rules: the generation counts the
changes of a spec, every write has a new resourceVersion, the status of a Service that is no
LoadBalancer is empty, and an ingress without a mode gets `VIP`. The product's own parsers and
patches stand between these bodies and its plan, so a history runs through them too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from lbctl.kube.crds.ip_address_pool import parse_pool
from lbctl.kube.patches import pool_patch, service_patch
from lbctl.kube.service import parse_service
from lbctl.model.configuration import Configured
from lbctl.model.names import ObjectKey, PoolName, ServiceKey
from lbctl.model.pool import Pool
from lbctl.model.service import Service
from lbctl.model.snapshot import Snapshot
from lbctl.plan.allocation import Plan
from tests.support.builders import NAMESPACE, created_at

Body = dict[str, Any]
T = TypeVar("T")

NOW = "2026-01-02T00:00:00Z"
_CLUSTER_IPS = {"IPv4": "198.18.0.10", "IPv6": "2001:db8:ffff::10"}


class AllocationWorld:
    """Hold the objects; `services` and `pools` are bodies by key and name."""

    def __init__(self, namespaces: Iterable[str]) -> None:
        self.services: dict[ServiceKey, Body] = {}
        self.pools: dict[str, Body] = {}
        self.namespaces: dict[str, dict[str, str]] = {name: {} for name in namespaces}
        self._births = 0
        self._version = 0
        self._parsed_services: dict[ServiceKey, Service] = {}
        self._parsed_pools: dict[ObjectKey, Configured[Pool]] = {}

    def create_service(self, key: ServiceKey, annotations: Body, spec: Body, labels: Body) -> None:
        """Store a new Service, also in the place of another: its uid and its age are new."""
        self._births += 1
        metadata = {
            "namespace": key.namespace,
            "name": key.name,
            "uid": f"uid-{self._births}",
            # Two by two in one second, so that names decide too.
            "creationTimestamp": created_at(self._births // 2),
            "generation": 1,
            "labels": labels,
            "annotations": annotations,
        }
        status: Body = {"loadBalancer": {}}
        if self._births % 2:
            status["conditions"] = [{"type": "example.com/Probed", "status": "True"}]
        body = {"metadata": metadata, "spec": spec, "status": status}
        self._store_service(key, copy.deepcopy(body))

    def edit_service(self, key: ServiceKey, change: Callable[[Body], None]) -> None:
        """Change everything but the status, as a user does."""
        before = self.services[key]
        body = copy.deepcopy(before)
        change(body)
        if body["spec"] != before["spec"]:
            body["metadata"]["generation"] += 1
        self._store_service(key, body)

    def write_status(self, key: ServiceKey, ingress: list[Body], annotations: Body) -> None:
        """Write a status by hand, with annotations to set (None takes one away)."""
        patch = {
            "metadata": {"annotations": annotations},
            "status": {"loadBalancer": {"ingress": ingress or None}},
        }
        self._store_service(key, merge(self.services[key], patch))

    def delete_service(self, key: ServiceKey) -> None:
        del self.services[key], self._parsed_services[key]

    def apply_pool(self, name: str, spec: Body) -> None:
        """Create or edit a pool."""
        body = self.pools.get(name)
        if body is None:
            self._births += 1
            metadata = {
                "namespace": NAMESPACE,
                "name": name,
                "uid": f"uid-{self._births}",
                "creationTimestamp": created_at(self._births),
                "generation": 1,
            }
            body = {"metadata": metadata, "spec": spec}
        elif body["spec"] != spec:
            metadata = {**body["metadata"], "generation": body["metadata"]["generation"] + 1}
            body = {**body, "metadata": metadata, "spec": spec}
        self._store_pool(body)

    def delete_pool(self, name: str) -> None:
        del self.pools[name], self._parsed_pools[pool_key(name)]

    def snapshot(self) -> Snapshot:
        """Return what the product reads of it."""
        return Snapshot(
            services=dict(self._parsed_services),
            pools=dict(self._parsed_pools),
            namespaces=dict(self.namespaces),
        )

    def service(self, key: ServiceKey) -> Service:
        return self._parsed_services[key]

    def patch_of(self, key: ServiceKey, plan: Plan) -> Body | None:
        """Return what the controller would write to the Service."""
        return service_patch(self._parsed_services[key], plan.outcomes[key], NOW)

    def patch_service(self, key: ServiceKey, patch: Body) -> None:
        assert patch["metadata"]["resourceVersion"] == _version_of(self.services[key])
        self._store_service(key, merge(self.services[key], patch))

    def write_pools(self, plan: Plan) -> int:
        """Write verdicts and counters; return how many pools differed."""
        patches = {
            name: pool_patch(
                self._parsed_pools[pool_key(name)],
                plan.verdicts[pool_key(name)],
                plan.counters.get(PoolName(name)) if plan.verdicts[pool_key(name)].accepted else None,
                NOW,
            )
            for name in self.pools
        }  # fmt: skip
        for name, patch in patches.items():
            if patch is not None:
                self._store_pool(merge(self.pools[name], patch))
        return sum(patch is not None for patch in patches.values())

    def _store_service(self, key: ServiceKey, body: Body) -> None:
        if body["spec"]["type"] != "LoadBalancer":
            body["status"]["loadBalancer"] = {}
        for entry in body["status"].get("loadBalancer", {}).get("ingress") or ():
            if "ip" in entry:
                entry.setdefault("ipMode", "VIP")
        self.services[key] = self._stamped(body)
        self._parsed_services[key] = _some(parse_service(body))

    def _store_pool(self, body: Body) -> None:
        name = body["metadata"]["name"]
        self.pools[name] = self._stamped(body)
        self._parsed_pools[pool_key(name)] = _some(parse_pool(body))

    def _stamped(self, body: Body) -> Body:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        return body


def merge(target: Body, patch: Body) -> Body:
    """Return RFC 7386's MergePatch; what the patch does not touch is shared with `target`."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            known = result.get(name)
            result[name] = merge(known if isinstance(known, dict) else {}, value)
        else:
            result[name] = copy.deepcopy(value)
    return result


def cluster_ips(families: Iterable[str]) -> Body:
    """Return the fields that the API server fills in for these families."""
    named = list(families)
    found = [_CLUSTER_IPS[family] for family in named]
    return {"ipFamilies": named, "clusterIP": found[0], "clusterIPs": found}


def pool_key(name: str) -> ObjectKey:
    return ObjectKey("IPAddressPool", NAMESPACE, name)


def ingress_of(body: Mapping[str, Any]) -> list[Body]:
    """Return status.loadBalancer.ingress of a Service."""
    found: list[Body] = body["status"].get("loadBalancer", {}).get("ingress") or []
    return found


def _version_of(body: Body) -> str:
    return str(body["metadata"]["resourceVersion"])


def _some(value: T | None) -> T:
    assert value is not None
    return value
