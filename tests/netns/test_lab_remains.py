"""`down` of a lab whose record is damaged finds its networks, groups and processes by name."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from lbctl.lab import lab, records, remains
from lbctl.lab.machines import cgroups
from lbctl.lab.spec import LabSpec, scoped
from lbctl.lab.wiring import lan

pytestmark = pytest.mark.netns

NAME = "brk-test"


def test_networks_groups_and_processes_of_a_lab_with_a_damaged_record_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "labs"))
    spec = LabSpec(name=NAME, directory=records.directory(NAME), nodes=1)
    groups = [hierarchy.group(scoped(NAME, "cp")) for hierarchy in cgroups.of_this_host()]
    with records.locked(NAME, lambda _: None) as lock:
        for hierarchy, group in zip(cgroups.of_this_host(), groups, strict=True):
            cgroups.make(hierarchy, group.name)
        lan.lay(spec, ("lan", "client"), lock=lock)
    (spec.directory / "lab.json").write_text("{")
    network = records.network(NAME, "client")
    with _inside(network) as member, _inside(network) as visitor:
        for group in groups:
            (group / "cgroup.procs").write_text(str(member.pid))
        _await({member.pid, visitor.pid}, network)
        lab.down(NAME, lambda _: None)
        assert (member.wait(10), visitor.wait(10)) == (-9, -9)
    assert not any(group.exists() for group in groups)
    assert not network.exists()
    assert not spec.directory.exists()


def test_a_group_of_that_name_whose_processes_are_in_no_network_of_the_lab_stays(
    tmp_path: Path,
) -> None:
    hierarchies = cgroups.of_this_host()
    groups = [hierarchy.group(scoped(NAME, "cp")) for hierarchy in hierarchies]
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            for hierarchy, group in zip(hierarchies, groups, strict=True):
                cgroups.make(hierarchy, group.name)
                (group / "cgroup.procs").write_text(str(stranger.pid))
            remains.clear(tmp_path / NAME)
            assert stranger.poll() is None
            assert all(group.exists() for group in groups)
        finally:
            stranger.kill()
            stranger.wait(10)
            cgroups.remove(groups)


def _inside(network: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["nsenter", f"--net={network}", "sleep", "600"])


def _await(pids: set[int], network: Path) -> None:
    deadline = time.monotonic() + 10
    while not pids <= remains.visitors([network]):
        assert time.monotonic() < deadline, "nsenter does not get there"
        time.sleep(0.01)
