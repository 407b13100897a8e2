"""Which control group hierarchies a host has, from the kernel's own texts."""

from __future__ import annotations

from pathlib import Path

from lbctl.lab.machines.cgroups import Hierarchy, hierarchies, named

V1_MOUNTS = """\
22 27 0:21 / /proc rw - proc proc rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2_MOUNTS = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_a_v1_host_has_a_hierarchy_per_mounted_controller_under_the_callers_own_group() -> None:
    own = "9:name=systemd:/user\n4:memory:/agent/7\n3:cpuacct,cpu:/\n2:devices:/\n0::/\n"
    assert hierarchies(own, V1_MOUNTS) == (
        Hierarchy(controllers="name=systemd", parent=Path("/sys/fs/cgroup/systemd/user")),
        Hierarchy(controllers="memory", parent=Path("/sys/fs/cgroup/memory/agent/7")),
        Hierarchy(controllers="cpuacct,cpu", parent=Path("/sys/fs/cgroup/cpu,cpuacct")),
    )


def test_a_v2_host_has_one_hierarchy_at_the_top() -> None:
    own = "0::/user.slice/session-1.scope\n"
    assert hierarchies(own, V2_MOUNTS) == (
        Hierarchy(controllers="", parent=Path("/sys/fs/cgroup")),
    )


def test_a_host_without_cgroup_mounts_has_none() -> None:
    assert hierarchies("0::/\n", "22 27 0:21 / /proc rw - proc proc rw\n") == ()


def test_groups_are_found_by_name_below_whichever_group_they_were_made(tmp_path: Path) -> None:
    memory, systemd = tmp_path / "memory", tmp_path / "systemd"
    for path in (
        memory / "lbctl-brk-cp" / "kubepods" / "lbctl-brk-cp",
        memory / "user" / "7" / "lbctl-brk-node1",
        systemd / "lbctl-brk-x-cp",
        systemd / "session" / "lbctl-brk-cp",
    ):
        path.mkdir(parents=True)
    assert set(named({"lbctl-brk-cp", "lbctl-brk-node1"}, [memory, systemd])) == {
        memory / "lbctl-brk-cp",
        memory / "user" / "7" / "lbctl-brk-node1",
        systemd / "session" / "lbctl-brk-cp",
    }
