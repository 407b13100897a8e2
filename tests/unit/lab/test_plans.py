"""What machines are told to be: the programs and files of every kind of machine."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab import assembly
from lbctl.lab import spec as at
from lbctl.lab.machines.cgroups import Hierarchy
from lbctl.lab.machines.plan import MachinePlan, Program, from_json, to_json
from lbctl.lab.records import Record
from lbctl.lab.spec import ImageMode, LabSpec, Router


def record(directory: Path, **changes: Any) -> Record:
    spec = LabSpec(**{"name": "demo", "directory": directory, **changes})
    return Record(
        spec=spec,
        hierarchies=(Hierarchy(controllers="memory", parent=Path("/cg/memory")),),
        bin=Path("/bin-of-lab"),
        runc=Path("/usr/sbin/runc"),
        cni_bin=Path("/usr/lib/cni"),
    )


def arguments(plan: MachinePlan, program: str) -> tuple[str, ...]:
    return next(p.argv for p in plan.programs if p.name == program)


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    made = record(tmp_path, routers=tuple(Router))
    for machine in made.spec.booted:
        plan = assembly.plan(made, machine, archives=(Path("/a.tar"),), held=True)
        assert from_json(to_json(plan)) == plan


def test_every_condition_names_a_program_of_the_same_machine(tmp_path: Path) -> None:
    made = record(tmp_path, routers=tuple(Router))
    for machine in made.spec.booted:
        plan = assembly.plan(made, machine, archives=(Path("/a.tar"), Path("/b.tar")))
        names = {program.name for program in plan.programs}
        assert len(names) == len(plan.programs)
        for program in plan.programs:
            for condition in program.after:
                kind, _, what = condition.partition(":")
                assert kind in {"tcp", "unix", "done"}
                assert kind != "done" or what in names


def test_the_kubelet_waits_for_every_image_of_a_new_disk(tmp_path: Path) -> None:
    archives = (Path("/x/pause.tar"), Path("/x/echo.tar"))
    plan = assembly.plan(record(tmp_path), "node1", archives=archives, held=True)
    kubelet = next(p for p in plan.programs if p.name == "kubelet")
    assert {"done:import-pause", "done:import-echo"} <= set(kubelet.after)
    assert kubelet.held


def test_a_rebooted_node_imports_nothing_and_waits_for_nobody(tmp_path: Path) -> None:
    plan = assembly.plan(record(tmp_path), "node1")
    assert [p.name for p in plan.programs] == ["containerd", "kubelet", "kube-proxy"]
    assert not any(p.held for p in plan.programs)


def test_node_configuration_is_dual_stack_and_parses(tmp_path: Path) -> None:
    plan = assembly.plan(record(tmp_path), "node2")
    cni = json.loads(plan.files["cni/10-lab.conflist"])
    ranges = cni["plugins"][0]["ipam"]["ranges"]
    assert ranges == [[{"subnet": "198.18.2.0/24"}], [{"subnet": "2001:db8:18:2::/64"}]]
    assert "--node-ip=192.0.2.12,2001:db8:0:1::12" in arguments(plan, "kubelet")
    proxy = json.loads(plan.files["kube-proxy.json"])
    assert proxy["clusterCIDR"] == "198.18.0.0/16,2001:db8:18::/48"
    containerd = tomllib.loads(plan.files["containerd.toml"])
    runtime = containerd["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["BinaryName"] == "/usr/sbin/runc"


@pytest.mark.parametrize("grace_s", [4, 10, 40])
def test_a_node_renews_its_lease_four_times_in_a_grace_period(tmp_path: Path, grace_s: int) -> None:
    lab = record(tmp_path, node_grace_s=grace_s)
    kubelet = json.loads(assembly.plan(lab, "node1").files["kubelet.json"])
    # The kubelet renews after a quarter of the duration.
    assert kubelet["nodeLeaseDurationSeconds"] == grace_s
    manager = arguments(assembly.plan(lab, "cp"), "kube-controller-manager")
    assert f"--node-monitor-grace-period={grace_s}s" in manager


def test_the_api_server_authorizes_as_on_a_real_cluster_and_logs_denials(tmp_path: Path) -> None:
    flags = arguments(assembly.plan(record(tmp_path), "cp"), "kube-apiserver")
    assert "--authorization-mode=Node,RBAC" in flags
    assert "--vmodule=authorization=4,rbac=5" in flags
    assert "--service-cluster-ip-range=198.19.0.0/16,2001:db8:19::/108" in flags


def test_echo_mode_sends_every_pull_to_the_gateway(tmp_path: Path) -> None:
    hosts = assembly.plan(record(tmp_path), "node1").files["certs.d/_default/hosts.toml"]
    assert tomllib.loads(hosts)["server"] == "http://192.0.2.1:5000"
    gateway = assembly.plan(record(tmp_path), at.LAN)
    assert [p.name for p in gateway.programs] == ["registry"]


def test_pull_mode_gives_containerd_the_way_out_and_no_mirror(tmp_path: Path) -> None:
    lab = record(tmp_path, images=ImageMode.PULL)
    node = assembly.plan(lab, "node1")
    assert "certs.d/_default/hosts.toml" not in node.files
    assert "HTTPS_PROXY=http://192.0.2.1:3128" in arguments(node, "containerd")
    assert [p.name for p in assembly.plan(lab, at.LAN).programs] == ["egress"]


def test_groups_and_network_are_named_after_lab_and_machine(tmp_path: Path) -> None:
    plan = assembly.plan(record(tmp_path), "node1")
    assert plan.cgroups == (("memory", "/cg/memory/lbctl-demo-node1"),)
    assert plan.network == "/run/netns/lbctl-demo-node1"


def test_a_program_that_names_no_condition_starts_at_once() -> None:
    assert Program(name="x", argv=("x",)).after == ()
