"""What `lbctl explain` asks for beside the plans: Pods of one Service, kube-proxy of its owners."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lbctl.cli.backing import backing
from lbctl.cli.installation import Access
from lbctl.kube.service import parse_service
from lbctl.model.learned import Unknown
from lbctl.model.names import NodeName
from lbctl.model.pods import Backing, ContainerPort, Pod, Proxy
from tests.support.commanding import NAMESPACE, kubeconfig, service
from tests.support.fake_api import FakeApi
from tests.support.faults import FaultKind

NODES = ("node1", "node2", "node3")


class ProxiedApi(FakeApi):
    """An API server through which the health of kube-proxy can be asked; else nobody answers."""

    def __init__(self, health: Mapping[str, int]) -> None:
        super().__init__()
        self.health = health

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/proxy/healthz"):
            return await super()._handle(request)
        node, _, port = request.path.split("/")[4].partition(":")
        assert port == "10256"
        status = self.health.get(node, 0)
        if status == 403:
            body = {"kind": "Status", "reason": "Forbidden", "message": "no nodes/proxy for you"}
            return web.json_response(body, status=403)
        if status:
            return web.json_response(
                {"lastUpdated": "2026-01-01 00:00:00 +0000 UTC"}, status=status
            )
        message = "error trying to reach service: dial tcp 192.0.2.1:10256: connection refused"
        body = {"kind": "Status", "reason": "ServiceUnavailable", "message": message}
        return web.json_response(body, status=503)


def pod(name: str, app: str = "web", **status: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 8080}]
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "a", "ports": ports}]},
        "status": {"phase": "Running", "podIP": "198.18.1.1", **status},
    }


def ask(
    directory: Path,
    *pods: dict[str, Any],
    health: Mapping[str, int] | None = None,
    fault: FaultKind | None = None,
    owners: tuple[str, ...] = ("node1",),
    selector: Mapping[str, str] | None = None,
) -> Backing:
    found = parse_service(service("web")[1])
    assert found is not None
    if selector is not None:
        found = replace(found, selector=selector)

    async def scenario() -> Backing:
        async with ProxiedApi(health or {}) as api:
            for body in pods:
                api.put("pods", body)
            if fault is not None:
                api.faults.arm(fault, resource="pods", times=None)
            access = Access(
                kubeconfig=kubeconfig(directory / "config", api.url),
                context=None,
                api_group="lbctl.io",
                lbctl_namespace=NAMESPACE,
                load_balancer_class=None,
            )
            return await asyncio.to_thread(
                backing,
                access,
                found,
                owners=[NodeName(name) for name in owners],
                nodes=[NodeName(name) for name in NODES],
            )

    return asyncio.run(scenario())


def test_only_living_pods_that_the_service_selects_count(tmp_path: Path) -> None:
    going = pod("going")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    waiting = pod("waiting", phase="Pending", podIP="")
    found = ask(tmp_path, pod("one"), waiting, pod("done", phase="Succeeded"), going, pod("x", "y"))
    ports = (ContainerPort(name="http", number=8080, protocol="TCP"),)
    assert found.pods == (
        Pod(name="one", phase="Running", addressed=True, ports=ports),
        Pod(name="waiting", phase="Pending", addressed=False, ports=ports),
    )
    assert ask(tmp_path, pod("one"), selector={}).pods == ()


def test_a_sidecar_declares_ports_and_an_init_container_that_ends_does_not(tmp_path: Path) -> None:
    body = pod("one")
    body["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "ports": [{"containerPort": 1, "name": "s"}]},
        {"name": "once", "ports": [{"containerPort": 2, "name": "o"}]},
    ]
    found = ask(tmp_path, body).pods
    assert not isinstance(found, Unknown)
    assert [port.name for port in found[0].ports] == ["http", "s"]


def test_pods_that_may_not_be_listed_are_unknown(tmp_path: Path) -> None:
    found = ask(tmp_path, pod("one"), fault=FaultKind.FORBIDDEN).pods
    assert isinstance(found, Unknown)
    assert "RBAC refuses to list pods" in found.why


@pytest.mark.parametrize(
    ("health", "answer"),
    [
        pytest.param({"node1": 200}, Proxy.HEALTHY, id="healthy"),
        pytest.param({"node1": 503}, Proxy.UNHEALTHY, id="its-own-no"),
        pytest.param({"node2": 200}, Proxy.MISSING, id="missing-here-and-there-elsewhere"),
        pytest.param({"node3": 503}, Proxy.MISSING, id="missing-here-and-ill-elsewhere"),
    ],
)
def test_kube_proxy_is_judged_by_its_health(
    health: Mapping[str, int], answer: Proxy, tmp_path: Path
) -> None:
    assert ask(tmp_path, health=health).proxies == {"node1": answer}


def test_where_nobody_answers_for_kube_proxy_anywhere_nothing_is_claimed(tmp_path: Path) -> None:
    [answer] = ask(tmp_path).proxies.values()
    assert isinstance(answer, Unknown)
    assert "10256" in answer.why
    [denied] = ask(tmp_path, health={"node1": 403}).proxies.values()
    assert isinstance(denied, Unknown)
    assert "cannot be asked for (403 Forbidden)" in denied.why
    assert ask(tmp_path, owners=()).proxies == {}
