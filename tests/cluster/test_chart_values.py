"""What the chart makes of its values: rendered by helm and read as objects; no cluster is needed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbctl.lab import binaries
from lbctl.run.metrics import METRICS
from tests.cluster.conftest import say

pytestmark = pytest.mark.cluster

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "lbctl"
WORKLOADS = ("Deployment", "DaemonSet")


@pytest.fixture(scope="session")
def helm() -> str:
    return str(binaries.ensure(say).bin / "helm")


def template(
    helm: str, directory: Path, values: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    path = directory / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return subprocess.run(
        [helm, "template", "lb", str(CHART), "-n", "lbctl-system", "-f", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


def objects(helm: str, directory: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    done = template(helm, directory, values)
    assert done.returncode == 0, done.stderr
    return [body for body in yaml.safe_load_all(done.stdout) if body]


def of_kind(found: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [body for body in found if body["kind"] in kinds]


def test_by_default_there_is_nothing_that_needs_another_operator(helm: str, tmp_path: Path) -> None:
    kinds = {body["kind"] for body in objects(helm, tmp_path, {})}
    assert kinds == {
        *("CustomResourceDefinition", "ServiceAccount", "Role", "RoleBinding"),
        *("ClusterRole", "ClusterRoleBinding", *WORKLOADS),
        *("Service", "ValidatingWebhookConfiguration"),
    }


def test_values_for_pods_reach_both_workloads(helm: str, tmp_path: Path) -> None:
    values = {
        "podAnnotations": {"example.com/note": "a"},
        "podLabels": {"example.com/team": "net"},
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "runtimeClassName": "sandbox",
        "extraContainers": [{"name": "beside", "image": "example.com/beside:1"}],
    }
    found = objects(helm, tmp_path, {"controller": values, "speaker": values})
    workloads = of_kind(found, *WORKLOADS)
    assert len(workloads) == 2
    for body in workloads:
        template_ = body["spec"]["template"]
        spec = template_["spec"]
        assert template_["metadata"]["annotations"] == values["podAnnotations"]
        assert template_["metadata"]["labels"]["example.com/team"] == "net"
        assert "example.com/team" not in body["spec"]["selector"]["matchLabels"]
        for name in ("affinity", "priorityClassName", "runtimeClassName"):
            assert spec[name] == values[name]
        assert spec["containers"][-1]["name"] == "beside"


def test_rights_and_accounts_can_be_left_to_somebody_else(helm: str, tmp_path: Path) -> None:
    given = {"serviceAccount": {"name": "given"}}
    found = objects(helm, tmp_path, {"rbac": {"create": False}, "speaker": given})
    assert not of_kind(found, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    [account] = of_kind(found, "ServiceAccount")
    assert account["metadata"]["name"] == "lb-controller"
    [speaker] = of_kind(found, "DaemonSet")
    assert speaker["spec"]["template"]["spec"]["serviceAccountName"] == "given"
    bound = of_kind(objects(helm, tmp_path, {"speaker": given}), "RoleBinding")
    assert {body["subjects"][0]["name"] for body in bound} == {"lb-controller", "given"}


def environment(found: list[dict[str, Any]]) -> dict[str, str]:
    [speaker] = of_kind(found, "DaemonSet")
    entries = speaker["spec"]["template"]["spec"]["containers"][0]["env"]
    return {entry["name"]: entry["value"] for entry in entries if "value" in entry}


def test_what_may_announce_reaches_the_speaker(helm: str, tmp_path: Path) -> None:
    plain = environment(objects(helm, tmp_path, {}))
    assert not {"LBCTL_EXCLUDE_INTERFACES", "LBCTL_IGNORE_EXCLUDE_LB"} & plain.keys()
    values = {"excludeInterfaces": ["^eth1$", "^usb.*"], "ignoreExcludeLB": True}
    found = environment(objects(helm, tmp_path, {"speaker": values}))
    assert found["LBCTL_EXCLUDE_INTERFACES"] == "^eth1$,^usb.*"
    assert found["LBCTL_IGNORE_EXCLUDE_LB"] == "true"


def test_a_network_policy_names_exactly_the_ports_of_the_controller(
    helm: str, tmp_path: Path
) -> None:
    values = {"networkPolicy": {"enabled": True, "apiPorts": [8443]}, "controller": {"port": 9999}}
    found = objects(helm, tmp_path, values)
    [policy] = of_kind(found, "NetworkPolicy")
    [deployment] = of_kind(found, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert labels["app.kubernetes.io/component"] == "controller"
    declared = {
        port["containerPort"]
        for one in deployment["spec"]["template"]["spec"]["containers"]
        for port in one["ports"]
    }
    [ingress], [egress] = policy["spec"]["ingress"], policy["spec"]["egress"]
    assert {port["port"] for port in ingress["ports"]} == declared == {9999, 9443}
    assert {port["port"] for port in egress["ports"]} == {8443, 53}


@pytest.mark.parametrize(
    ("value", "kind", "endpoints"),
    [
        ("podMonitor", "PodMonitor", "podMetricsEndpoints"),
        ("serviceMonitor", "ServiceMonitor", "endpoints"),
    ],
)
def test_monitors_select_the_pods_of_both_workloads(
    value: str, kind: str, endpoints: str, helm: str, tmp_path: Path
) -> None:
    settings = {
        "enabled": True,
        "additionalLabels": {"release": "prometheus"},
        "interval": "15s",
        "relabelings": [{"action": "labeldrop", "regex": "pod"}],
    }
    found = objects(helm, tmp_path, {"prometheus": {value: settings}})
    [monitor] = of_kind(found, kind)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    [endpoint] = monitor["spec"][endpoints]
    assert (endpoint["port"], endpoint["interval"]) == ("metrics", "15s")
    assert endpoint["relabelings"] == settings["relabelings"]
    selector = monitor["spec"]["selector"]["matchLabels"]
    if kind == "ServiceMonitor":
        [service] = [
            body
            for body in of_kind(found, "Service")
            if selector.items() <= body["metadata"]["labels"].items()
        ]
        assert service["spec"]["ports"][0]["targetPort"] == "metrics"
        selector = service["spec"]["selector"]
    for body in of_kind(found, *WORKLOADS):
        template_ = body["spec"]["template"]
        assert selector.items() <= template_["metadata"]["labels"].items()
        named = [port["name"] for one in template_["spec"]["containers"] for port in one["ports"]]
        assert named.count("metrics") == 1


def test_both_monitors_at_once_are_refused_with_a_sentence(helm: str, tmp_path: Path) -> None:
    both = {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}
    done = template(helm, tmp_path, {"prometheus": both})
    assert done.returncode != 0
    assert "enable one of them" in done.stderr


def test_every_alert_is_on_a_metric_that_is_exposed(helm: str, tmp_path: Path) -> None:
    rule = {
        "enabled": True,
        "ignoredPools": "spare-.*",
        "extraAlerts": [{"alert": "Mine", "expr": "vector(1)"}],
    }
    found = objects(helm, tmp_path, {"prometheus": {"prometheusRule": rule}})
    [body] = of_kind(found, "PrometheusRule")
    [group] = body["spec"]["groups"]
    known = {metric.name: metric for metric in METRICS}
    for alert in group["rules"][:-1]:
        used = re.findall(r"\b(?:lbctl|metallb)_\w+", alert["expr"])
        assert used
        for name in used:
            assert name in known, alert["alert"]
        for label in re.findall(r"by \(([^)]*)\)", alert["expr"]):
            assert set(label.split(", ")) <= {one for name in used for one in known[name].labels}
    assert group["rules"][-1]["alert"] == "Mine"
    exhausted = next(one for one in group["rules"] if one["alert"] == "LbctlPoolExhausted")
    assert exhausted["expr"].count('{pool!~"spare-.*"}') == 3
    names = {one["alert"] for one in group["rules"]}
    assert {f"LbctlPoolUsage{percent}Percent" for percent in (75, 85, 95)} <= names


@pytest.mark.parametrize(
    "values",
    [
        {"speaker": {"excludeInterfaces": ["^eth1$,^usb"]}},
        {"speaker": {"ignoreExcludeLB": "yes"}},
        {"controller": {"podAnnotations": {"a": 1}}},
        {"prometheus": {"podMonitor": {"interval": "often"}}},
        {"networkPolicy": {"apiPorts": []}},
        {"rbac": {"created": True}},
    ],
    ids=str,
)
def test_a_value_of_a_wrong_kind_is_refused_by_the_schema(
    values: dict[str, Any], helm: str, tmp_path: Path
) -> None:
    done = template(helm, tmp_path, values)
    assert done.returncode != 0
    assert "values don't meet the specifications" in done.stderr
