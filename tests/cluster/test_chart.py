"""The chart as users meet it: lint, samples, privileges, denials, upgrade, removal."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from lbctl.lab import install, records
from tests.support.cluster import PRODUCT, VALUES, Cluster, eventually

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "lbctl"
SAMPLES = sorted((ROOT / "deploy" / "samples").glob("*.yaml"))


def helm(cluster: Cluster, *arguments: str) -> str:
    done = install.helm(cluster.lab, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lint_finds_nothing(product: Cluster) -> None:
    assert "0 chart(s) failed" in helm(product, "lint", "--strict", str(CHART))


def test_a_wrong_value_is_refused_by_the_schema(product: Cluster) -> None:
    done = install.helm(product.lab, "template", str(CHART), "--set", "controller.replica=2")
    assert done.returncode != 0
    assert "replica" in done.stderr


def test_metallbs_group_installs_no_crd_of_metallbs(product: Cluster) -> None:
    rendered = helm(product, "template", str(CHART), "--set", "apiGroup=metallb.io")
    crds = [
        item["metadata"]["name"]
        for item in yaml.safe_load_all(rendered)
        if item and item["kind"] == "CustomResourceDefinition"
    ]
    assert sorted(crds) == ["bgpsessionstatuses.lbctl.io", "speakerstatuses.lbctl.io"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_applies(product: Cluster, sample: Path) -> None:
    product.kube("apply", "-f", str(sample))
    product.kube("delete", "-f", str(sample), "--wait=false")


def test_each_container_has_exactly_its_privileges(product: Cluster) -> None:
    """Read what the kernel grants, not what the chart asks for."""
    for program, uid, effective in (
        ("lb-fastpath", "0", "0000000000002000"),  # NET_RAW and nothing else
        ("lb-speaker", "65532", "0000000000000000"),
        ("lb-controller", "65532", "0000000000000000"),
    ):
        status = _proc_status(product, program)
        assert status["Uid"].split()[0] == uid, program
        assert status["CapEff"] == effective, program
        assert status["CapBnd"] == effective, program
        assert status["NoNewPrivs"] == "1", program
        assert status["Seccomp"] == "2", program


def test_the_root_is_read_only(product: Cluster) -> None:
    for pod in _pods(product):
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_running_processes_loaded_only_what_they_may(product: Cluster) -> None:
    """Linters see files; the kernel's maps show which extension modules a process has loaded."""
    maps = {name: _maps(product, name) for name in ("lb-fastpath", "lb-speaker", "lb-controller")}
    for foreign in ("aiohttp", "yarl", "multidict", "_yaml"):
        assert foreign not in maps["lb-fastpath"]
    for text in maps.values():
        assert "pydantic" not in text, "the kubernetes client is not in the image"
    assert "aiohttp" in maps["lb-speaker"]


KLOG = re.compile(r"[IWE](?P<day>\d{4}) (?P<time>[\d:.]+) +(?P<pid>\d+) ")
STARTING_S = 10.0
"""An API server that has just started denies everybody until it has read the roles."""


def test_rbac_denied_nothing(product: Cluster) -> None:
    log = records.directory(product.lab) / "machines" / "cp" / "log" / "kube-apiserver.log"
    started: dict[str, datetime] = {}
    denials = []
    for line in log.read_text(errors="replace").splitlines():
        head = KLOG.match(line)
        if head is None:
            continue
        when = datetime.strptime(f"2026{head['day']} {head['time']}", "%Y%m%d %H:%M:%S.%f")  # noqa: DTZ007 - only differences count
        since = (when - started.setdefault(head["pid"], when)).total_seconds()
        ours = f"system:serviceaccount:{PRODUCT}:" in line and (
            "RBAC" in line or "Forbidden" in line
        )
        if ours and since > STARTING_S:
            denials.append(line)
    assert started, "the log was read"
    assert not denials, denials[:3]


def test_upgrade_and_uninstall_leave_objects_and_nothing_else(product: Cluster) -> None:
    helm(
        product, "upgrade", "lbctl", str(CHART), "-n", PRODUCT, "--reuse-values",
        "--set", "log.level=debug",
    )  # fmt: skip
    product.kube("-n", PRODUCT, "rollout", "status", "daemonset/lbctl-speaker", "--timeout=120s")
    helm(product, "uninstall", "lbctl", "-n", PRODUCT, "--wait")
    crds = product.kube("get", "crds", "-o", "name")
    assert "ipaddresspools.lbctl.io" in crds, "objects survive an uninstall"
    eventually(
        "no pod is left",
        lambda: not json.loads(product.kube("-n", PRODUCT, "get", "pods", "-o", "json"))["items"],
    )
    left = product.kube(
        "get", "clusterroles,clusterrolebindings,validatingwebhookconfigurations", "-o", "name"
    )
    assert "lbctl" not in left
    install.install(product.lab, print, values=VALUES)


def _pods(cluster: Cluster) -> list[dict[str, dict[str, list[dict[str, dict[str, object]]]]]]:
    found = cluster.kube("-n", PRODUCT, "get", "pods", "-o", "json")
    pods: list[dict[str, dict[str, list[dict[str, dict[str, object]]]]]] = json.loads(found)[
        "items"
    ]
    return pods


def _pid(cluster: Cluster, program: str) -> tuple[str, str]:
    """Return a node that runs the program, and its process id there."""
    for node in cluster.nodes:
        pids = cluster.inside(node, "pgrep", "-o", "-f", f"/{program}( |$)", check=False).split()
        if pids:
            return node, pids[0]
    raise AssertionError(f"{program} runs nowhere")


def _proc_status(cluster: Cluster, program: str) -> dict[str, str]:
    node, pid = _pid(cluster, program)
    lines = cluster.inside(node, "cat", f"/proc/{pid}/status").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _maps(cluster: Cluster, program: str) -> str:
    node, pid = _pid(cluster, program)
    return cluster.inside(node, "cat", f"/proc/{pid}/maps")
