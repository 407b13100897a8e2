"""`lbctl doctor` as people type it, against the fake API over real HTTP."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

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

Labels = dict[str, str]


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
            "spec": {"replicas": 1},
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
    ]
    done = run_in(world, ("doctor",), tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[0].split() == ["CHECK", "ANSWER", "DETAIL"]
    for words in (
        "ipaddresspools.lbctl.io is missing",
        "has no Deployment of the controller",
        "ipvs without strictARP",
        "pool wide holds 192.0.2.1 of node node1",
        "a MetalLB controller is wanted",
    ):
        assert words in done.stdout
    assert "kube-proxy: Set ipvs.strictARP: true" in done.stdout


def test_our_own_controller_in_metallbs_namespace_is_not_taken_for_metallbs(
    tmp_path: Path,
) -> None:
    ours = workload("deployments", "lbctl-controller", "metallb-system", readyReplicas=1)
    done = run_in([*well(), ours], ("doctor", "-o", "json"), tmp_path)
    assert levels(done.stdout)["another load balancer"] == "ok"


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
