"""What a plain Kubernetes tutorial does works in the lab, unmodified and without lbctl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually

pytestmark = pytest.mark.cluster

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: nginx
          image: nginx:1.27
          ports: [{name: http, containerPort: 80}]
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 8080, targetPort: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: shell, image: busybox, command: [sleep, "3600"]}]
"""


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kube("apply", "-f", "-", stdin=WEB)
    cluster.kube("rollout", "status", "deployment/web", "--timeout=90s")
    cluster.kube("wait", "pod/shell", "--for=condition=Ready", "--timeout=60s")
    yield cluster
    cluster.kube("delete", "-f", "-", stdin=WEB)


def cluster_ip(cluster: Cluster, name: str) -> str:
    return str(cluster.get("service", name)["spec"]["clusterIP"])


def from_pod(cluster: Cluster, url: str) -> dict[str, Any]:
    """Ask from the client Pod, as a tutorial's `kubectl exec ... -- wget` does."""

    def answer() -> dict[str, Any]:
        text = cluster.kube("exec", "shell", "--", "wget", "-qO-", "-T", "2", url, check=False)
        try:
            found = json.loads(text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    return eventually(f"{url} answers the client Pod", answer, within_s=20)


def test_a_deployment_with_a_named_port_and_a_probe_becomes_ready(web: Cluster) -> None:
    assert web.get("deployment", "web")["status"]["readyReplicas"] == 3


def test_a_cluster_ip_with_a_named_target_port_answers_a_pod(web: Cluster) -> None:
    answer = from_pod(web, f"http://{cluster_ip(web, 'web')}:8080/")
    assert answer["pod"].startswith("web-")
    assert answer["localPort"] == 80


def test_endpointslices_list_the_pods(web: Cluster) -> None:
    [block] = web.list("endpointslices", "-l", "kubernetes.io/service-name=web")
    assert len(block["endpoints"]) == 3
    assert all(endpoint["conditions"]["ready"] for endpoint in block["endpoints"])
    assert block["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]


def test_a_rolling_update_completes_and_goes_on_answering(web: Cluster) -> None:
    web.kube("set", "image", "deployment/web", "nginx=nginx:1.28")
    assert "successfully rolled out" in web.kube(
        "rollout", "status", "deployment/web", "--timeout=90s"
    )
    assert from_pod(web, f"http://{cluster_ip(web, 'web')}:8080/")["pod"].startswith("web-")


def test_logs_and_exec(web: Cluster) -> None:
    from_pod(web, f"http://{cluster_ip(web, 'web')}:8080/hello")
    eventually(
        "the request is in the log",
        lambda: "/hello" in web.kube("logs", "-l", "app=web", check=False),
    )
    assert web.kube("exec", "shell", "--", "hostname").strip() == "shell"


def test_a_node_port_answers_on_every_node_over_both_families(web: Cluster) -> None:
    web.kube("expose", "deployment", "web", "--name=nodeport", "--type=NodePort", "--port=80",
             "--overrides", '{"spec":{"ipFamilyPolicy":"RequireDualStack"}}')  # fmt: skip
    port = web.get("service", "nodeport")["spec"]["ports"][0]["nodePort"]
    for number in range(1, len(web.nodes) + 1):
        for host in (f"192.0.2.{10 + number}", f"2001:db8:0:1::{10 + number}"):
            assert "pod" in web.ask(host, port, within_s=20), host
    web.delete("service", "nodeport")


def test_two_named_ports_lead_to_two_ports(web: Cluster) -> None:
    web.apply(
        _deployment("pair", [("http", 8080, "TCP"), ("admin", 9090, "TCP")]),
        _service("pair", ports=[_port("http", 80), _port("admin", 81)]),
    )
    web.kube("rollout", "status", "deployment/pair", "--timeout=60s")
    address = cluster_ip(web, "pair")
    assert from_pod(web, f"http://{address}:80/")["localPort"] == 8080
    assert from_pod(web, f"http://{address}:81/")["localPort"] == 9090
    web.delete("service", "pair")
    web.delete("deployment", "pair")


def test_a_service_without_selector_uses_the_slice_that_a_person_wrote(web: Cluster) -> None:
    [pod, *_] = web.list("pods", "-l", "app=web")
    web.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "manual", "namespace": "default"},
            "spec": {"ports": [{"port": 80, "targetPort": 80}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "manual-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "manual"},
            },
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [{"addresses": [pod["status"]["podIP"]]}],
        },
    )
    assert from_pod(web, f"http://{cluster_ip(web, 'manual')}/")["pod"] == pod["metadata"]["name"]
    web.delete("service", "manual")


def test_a_headless_service_has_endpoints_and_no_address(web: Cluster) -> None:
    web.apply(
        _service("headless", selector={"app": "web"}, clusterIP="None", ports=[_port("http", 80)])
    )
    eventually(
        "its slice has the pods",
        lambda: (
            [
                len(block["endpoints"])
                for block in web.list("endpointslices", "-l", "kubernetes.io/service-name=headless")
            ]
            == [3]
        ),
    )
    assert cluster_ip(web, "headless") == "None"
    web.delete("service", "headless")


def test_an_external_name_service_is_stored(web: Cluster) -> None:
    web.kube("create", "service", "externalname", "elsewhere", "--external-name=example.com")
    assert web.get("service", "elsewhere")["spec"]["externalName"] == "example.com"
    web.delete("service", "elsewhere")


def test_session_affinity_sends_a_client_to_one_pod(web: Cluster) -> None:
    web.apply(
        _service(
            "sticky", selector={"app": "web"}, sessionAffinity="ClientIP", ports=[_port("http", 80)]
        )
    )
    address = cluster_ip(web, "sticky")
    pods = {from_pod(web, f"http://{address}/")["pod"] for _ in range(8)}
    assert len(pods) == 1
    web.delete("service", "sticky")


def test_a_selector_that_matches_nothing_has_no_endpoints(web: Cluster) -> None:
    web.apply(_service("nobody", selector={"app": "nobody"}, ports=[_port("http", 80)]))
    blocks = eventually(
        "the slice exists",
        lambda: web.list("endpointslices", "-l", "kubernetes.io/service-name=nobody"),
    )
    assert not any(block.get("endpoints") for block in blocks)
    text = web.kube("exec", "shell", "--", "wget", "-qO-", "-T", "2",
                    f"http://{cluster_ip(web, 'nobody')}/", check=False)  # fmt: skip
    assert "pod" not in text or "refused" in text
    web.delete("service", "nobody")


def test_a_probe_that_fails_takes_the_pod_out_of_the_service(web: Cluster) -> None:
    deployment = _deployment("sick", [("http", 8080, "TCP")])
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["readinessProbe"] = {
        "httpGet": {"path": "/readyz", "port": "http"},
        "periodSeconds": 1,
    }
    web.apply(deployment, _service("sick", ports=[_port("http", 80)]))
    web.kube("rollout", "status", "deployment/sick", "--timeout=60s")
    [pod] = web.list("pods", "-l", "app=sick")
    web.kube("exec", pod["metadata"]["name"], "--", "wget", "-qO-", "--post-data=",
             "http://127.0.0.1:8080/ready?value=false")  # fmt: skip

    def ready() -> list[bool]:
        blocks = web.list("endpointslices", "-l", "kubernetes.io/service-name=sick")
        return [e["conditions"]["ready"] for block in blocks for e in block.get("endpoints") or ()]

    eventually("the endpoint is not ready", lambda: ready() == [False], within_s=30)
    web.delete("service", "sick")
    web.delete("deployment", "sick")


def _deployment(name: str, ports: list[tuple[str, int, str]]) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {
                            "name": "main",
                            "image": "example.com/anything:1",
                            "ports": [
                                {"name": label, "containerPort": number, "protocol": protocol}
                                for label, number, protocol in ports
                            ],
                        }
                    ],
                },
            },
        },
    }


def _service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, **spec},
    }


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": name}
