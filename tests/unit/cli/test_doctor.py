"""`lbctl doctor` as people type it, against the fake API over real HTTP."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from lbctl.kube.groups import METALLB_GROUP, own_groups
from tests.support.commanding import (
    NAMESPACE,
    World,
    kubeconfig,
    node,
    pool,
    run,
    run_in,
    service,
    speaker,
)
from tests.support.fake_api import FakeApi, FaultKind

Labels = dict[str, str]
PARTS = ("controller", "speaker")


def definition(name: str, group: str) -> tuple[str, dict[str, Any]]:
    established = {"type": "Established", "status": "True"}
    return (
        "customresourcedefinitions",
        {
            "metadata": {"name": name},
            "spec": {"group": group, "versions": [{"name": "v1beta1", "served": True}]},
            "status": {"conditions": [established]},
        },
    )


def workload(
    plural: str, name: str, namespace: str = NAMESPACE, **status: int
) -> tuple[str, dict[str, Any]]:
    labels = {"app.kubernetes.io/component": name.rpartition("-")[2]}
    if name.startswith("lbctl"):
        labels["app.kubernetes.io/name"] = "lbctl"
    return (
        plural,
        {
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"replicas": 1, "template": {"spec": {"serviceAccountName": name}}},
            "status": status,
        },
    )


def lease(age_s: float) -> tuple[str, dict[str, Any]]:
    renewed = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_s)
    return (
        "leases",
        {
            "metadata": {"name": "lbctl-controller", "namespace": NAMESPACE},
            "spec": {
                "holderIdentity": "lbctl-controller-0",
                "leaseDurationSeconds": 15,
                "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        },
    )


def kube_proxy(configuration: str) -> tuple[str, dict[str, Any]]:
    return (
        "configmaps",
        {
            "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
            "data": {"config.conf": configuration},
        },
    )


CRDS = [
    definition(f"{one.plural}.{one.group}", one.group) for one in own_groups().resources.values()
]


def well() -> World:
    """Return a whole installation, its Lease renewed just now."""
    return [
        *CRDS,
        workload("deployments", "lbctl-controller", readyReplicas=1),
        workload("daemonsets", "lbctl-speaker", desiredNumberScheduled=1, numberReady=1),
        lease(1.0),
        node("node1", "192.0.2.1", pods=("198.18.0.0/24",)),
        speaker("node1"),
        kube_proxy("mode: nftables\n"),
        pool("first", "192.0.2.128-192.0.2.250"),
        (
            "servicecidrs",
            {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["198.19.0.0/16"]}},
        ),
        service("web"),
    ]


def answer(stdout: str, name: str) -> dict[str, str]:
    checks: list[dict[str, str]] = json.loads(stdout)["checks"]
    return next(check for check in checks if check["name"] == name)


def levels(stdout: str) -> dict[str, str]:
    return {check["name"]: check["level"] for check in json.loads(stdout)["checks"]}


def test_a_whole_installation_passes_every_check_that_can_be_made(tmp_path: Path) -> None:
    done = run_in(well(), ("doctor", "-o", "json"), tmp_path)
    found = levels(done.stdout)
    assert found.pop("API server") == "unknown", "this API server does not tell its version"
    assert set(found.values()) == {"ok"}, done.stdout
    assert (done.returncode, json.loads(done.stdout)["fine"]) == (0, True)


def test_findings_are_a_table_with_the_cures_below_and_exit_code_1(tmp_path: Path) -> None:
    world: World = [
        node("node1", "192.0.2.1"),
        speaker("node1"),
        kube_proxy("mode: ipvs\nipvs: {strictARP: false}\n"),
        pool("wide", "192.0.2.0/24"),
        definition("bgppeers.metallb.io", METALLB_GROUP),
        workload("deployments", "controller", "metallb-system", readyReplicas=1),
        service("foreign", ingress=[{"ip": "203.0.113.77"}]),
    ]
    done = run_in(world, ("doctor",), tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[0].split() == ["CHECK", "ANSWER", "DETAIL"]
    for words in (
        "ipaddresspools.lbctl.io is missing",
        "has no Deployment of the controller",
        "ipvs without strictARP",
        "pool wide holds 192.0.2.1 of node node1",
        "MetalLB runs in namespace metallb-system (controller)",
        "default/foreign (the status holds 203.0.113.77, which is in none of our pools)",
    ):
        assert words in done.stdout
    assert "kube-proxy: Set ipvs.strictARP: true" in done.stdout


def test_our_own_controller_in_metallbs_namespace_is_not_taken_for_metallbs(
    tmp_path: Path,
) -> None:
    ours = workload("deployments", "lbctl-controller", "metallb-system", readyReplicas=1)
    done = run_in([*well(), ours], ("doctor", "-o", "json"), tmp_path)
    found = answer(done.stdout, "another load balancer")["detail"]
    assert found.startswith("lbctl runs in namespace metallb-system (lbctl-controller)")


def labelled(
    plural: str, name: str, namespace: str, labels: Labels, **variables: str
) -> tuple[str, dict[str, Any]]:
    """Return a workload of somebody that wants one Pod."""
    environment = [{"name": key, "value": value} for key, value in variables.items()]
    status = {"desiredNumberScheduled": 1} if plural == "daemonsets" else {}
    return (
        plural,
        {
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"template": {"spec": {"containers": [{"env": environment}]}}},
            "status": status,
        },
    )


CHART = {"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "speaker"}
SECOND = {"app.kubernetes.io/name": "lbctl", "app.kubernetes.io/component": "controller"}
NEIGHBORS = {
    "MetalLB of the chart": (labelled("daemonsets", "m-speaker", "lb", CHART), "failed", "MetalLB"),
    "MetalLB of the manifests": (
        labelled("deployments", "controller", "lb", {"app": "metallb", "component": "controller"}),
        "failed",
        "MetalLB runs in namespace lb (controller)",
    ),
    "kube-vip for Services": (
        labelled(
            "daemonsets", "vip", "lb", {"app.kubernetes.io/name": "kube-vip-ds"}, svc_enable="true"
        ),
        "failed",
        "kube-vip runs in namespace lb (vip)",
    ),
    "kube-vip for the control plane": (
        labelled("daemonsets", "vip", "lb", {"app.kubernetes.io/name": "kube-vip-ds"}),
        "ok",
        "none of MetalLB, kube-vip",
    ),
    "ServiceLB": (
        labelled(
            "daemonsets", "svclb-web", "kube-system", {"svccontroller.k3s.cattle.io/svcname": "web"}
        ),
        "failed",
        "ServiceLB of k3s runs in namespace kube-system",
    ),
    "a second lbctl": (
        labelled("deployments", "two-controller", "two", SECOND),
        "failed",
        "lbctl runs in namespace two (two-controller)",
    ),
    "a second lbctl with a class": (
        labelled(
            "deployments", "two-controller", "two", SECOND, LBCTL_LOAD_BALANCER_CLASS="a.example/b"
        ),
        "ok",
        "for class a.example/b; its class keeps it apart",
    ),
}


@pytest.mark.parametrize(("other", "level", "words"), NEIGHBORS.values(), ids=NEIGHBORS)
def test_another_load_balancer_is_found_in_any_namespace(
    other: tuple[str, dict[str, Any]], level: str, words: str, tmp_path: Path
) -> None:
    done = run_in([*well(), other], ("doctor", "-o", "json"), tmp_path)
    found = answer(done.stdout, "another load balancer")
    assert (found["level"], words in found["detail"]) == (level, True), found


def test_workloads_that_may_not_be_listed_are_not_taken_for_none(tmp_path: Path) -> None:
    def refuse(api: FakeApi) -> None:
        api.faults.arm(FaultKind.FORBIDDEN, times=20, resource="daemonsets")

    done = run_in(well(), ("doctor", "-o", "json"), tmp_path, refuse)
    found = answer(done.stdout, "another load balancer")
    assert found["level"] == "unknown"
    assert "grant the verb 'list' on daemonsets.apps" in found["detail"]


def test_a_right_that_is_missing_is_named_with_its_account(tmp_path: Path) -> None:
    controller, speaker_ = (f"system:serviceaccount:{NAMESPACE}:lbctl-{one}" for one in PARTS)
    denied = {(controller, "patch", "services/status"), (speaker_, "watch", "ipaddresspools")}
    done = run_in(well(), ("doctor",), tmp_path, lambda api: api.denied.update(denied))
    assert done.returncode == 1
    for words in (
        f"{NAMESPACE}/lbctl-controller may not patch services/status in every namespace",
        f"{NAMESPACE}/lbctl-speaker may not watch ipaddresspools.lbctl.io in {NAMESPACE}",
        "rights: Let helm upgrade of the chart",
    ):
        assert words in done.stdout


def test_two_components_with_one_account_lack_what_either_lacks(tmp_path: Path) -> None:
    world = [entry for entry in well() if entry[0] not in ("deployments", "daemonsets")]
    for plural, part in zip(("deployments", "daemonsets"), PARTS, strict=True):
        world.append(labelled(plural, part, NAMESPACE, {"app.kubernetes.io/component": part}))
    user = f"system:serviceaccount:{NAMESPACE}:default"
    denied = {(user, "patch", "services/status"), (user, "watch", "secrets")}
    done = run_in(world, ("doctor", "-o", "json"), tmp_path, lambda api: api.denied.update(denied))
    found = answer(done.stdout, "rights")["detail"]
    assert "patch services/status" in found
    assert "watch secrets" in found


def test_what_the_webhook_needs_is_asked_where_it_is_on_by_the_names_of_the_chart(
    tmp_path: Path,
) -> None:
    labels = {"app.kubernetes.io/component": "controller"}
    variables = {"LBCTL_WEBHOOK_PORT": "9443", "LBCTL_INSTALLATION": "mine"}
    ours = labelled("deployments", "mine-controller", NAMESPACE, labels, **variables)
    world = [ours, *(entry for entry in well() if entry[0] != "deployments")]
    reviews: list[dict[str, Any]] = []

    def watch(api: FakeApi) -> None:
        api.reviewed = reviews

    run_in(world, ("doctor",), tmp_path, watch)
    asked = {(one["resource"], one["verb"], one.get("name")) for one in reviews}
    assert ("secrets", "update", "mine-webhook") in asked
    assert ("leases", "update", "mine-controller") in asked
    named = ("validatingwebhookconfigurations", "patch", f"{NAMESPACE}-mine")
    assert named in asked


def test_who_may_not_ask_for_rights_is_told_so_and_learns_nothing(tmp_path: Path) -> None:
    def refuse(api: FakeApi) -> None:
        api.faults.arm(FaultKind.FORBIDDEN, times=20, resource="subjectaccessreviews")

    done = run_in(well(), ("doctor", "-o", "json"), tmp_path, refuse)
    found = answer(done.stdout, "rights")
    assert found["level"] == "unknown"
    assert "RBAC refuses to create subjectaccessreviews.authorization.k8s.io" in found["detail"]
    assert done.returncode == 0


def test_a_pool_where_lbctl_does_not_read_is_named(tmp_path: Path) -> None:
    plural, stray = pool("stray", "198.51.100.0/24")
    stray["metadata"]["namespace"] = "web"
    done = run_in([*well(), (plural, stray)], ("doctor",), tmp_path)
    assert "not read, because of their namespace: IPAddressPool web/stray" in done.stdout
    assert done.returncode == 0


def test_a_lease_that_nobody_renews_is_watched_before_it_is_called_stale(tmp_path: Path) -> None:
    world = [entry for entry in well() if entry[0] != "leases"]
    done = run_in([*world, lease(90.0)], ("doctor", "-o", "json"), tmp_path)
    assert levels(done.stdout)["controller's Lease"] == "failed"
    assert done.returncode == 1


def test_a_proxy_without_a_config_map_is_unknown_and_no_fault(tmp_path: Path) -> None:
    world = [entry for entry in well() if entry[0] not in ("configmaps", "servicecidrs")]
    done = run_in(world, ("doctor", "-o", "json"), tmp_path)
    found = levels(done.stdout)
    assert (found["kube-proxy"], found["pools and Service CIDRs"]) == ("unknown", "unknown")
    assert done.returncode == 0


def test_a_proxy_configuration_that_is_no_yaml_is_unknown(tmp_path: Path) -> None:
    world = [entry for entry in well() if entry[0] != "configmaps"]
    done = run_in([*world, kube_proxy("{mode: [")], ("doctor", "-o", "json"), tmp_path)
    assert levels(done.stdout)["kube-proxy"] == "unknown"


def test_an_api_server_that_does_not_answer_is_exit_code_3_and_one_check(tmp_path: Path) -> None:
    done = run(("doctor", "-o", "json"), kubeconfig(tmp_path / "config", "http://127.0.0.1:9"))
    assert done.returncode == 3
    assert levels(done.stdout) == {"API server": "failed"}
