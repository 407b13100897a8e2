"""The first process of a machine: from a plan in a file to a running machine.

`python -m lbctl.lab.machines.init PLAN CONTROL_FD LOCK_FD [HANDLE_FD]`

It is started on the host, enters the machine's control groups and its network namespace, makes
the other namespaces, and forks: the child is PID 1 of the machine, builds what the machine sees
of the disk, and supervises. Death of that child is a power cut: the kernel ends everything in
the PID namespace with it.

It holds the lab's lock (an inherited descriptor) until it is in its groups: whoever gets the
lock may rely on finding every process of the lab in its recorded groups.

The host's root is seen read-only; /run, /var/log, /dev/shm and what is written in /var/lib are the
machine's own. Needs root and Linux 5.12. Light on purpose: it stays resident once per machine.
"""

import os
import re
import socket
import sys
import time
from pathlib import Path

from lbctl.lab.machines import cgroups, kernel
from lbctl.lab.machines.plan import MachinePlan, from_json
from lbctl.lab.machines.supervisor import Supervisor

_RUN = Path("/run/lbctl")

# The kubelet would write these for the whole kernel, and the host is not ours: the machine sees
# files with the values it wants instead. What they do is not what is tested here.
_SHOWN_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def main(arguments: list[str]) -> int:
    plan = from_json(Path(arguments[0]).read_text(encoding="utf-8"))
    control_fd, lock_fd, *handles = map(int, arguments[1:])
    # Nothing that the machine starts may inherit these.
    for descriptor in (control_fd, lock_fd, *handles):
        os.set_inheritable(descriptor, False)
    for _, group in plan.cgroups:
        cgroups.enter(Path(group))
    kernel.setns(Path(plan.network), kernel.CLONE_NEWNET)
    kernel.unshare(
        kernel.CLONE_NEWNS
        | kernel.CLONE_NEWPID
        | kernel.CLONE_NEWUTS
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWCGROUP
    )
    for controllers, group in plan.cgroups:
        if not controllers:
            cgroups.settle_v2(Path(group))
    if os.fork():
        return 0
    os.close(lock_fd)
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    _furnish(plan)
    # posix_spawnp looks for programs in the PATH of this process.
    os.environ.clear()
    os.environ.update(_environment(plan))
    Supervisor(
        plan.programs,
        control=socket.socket(fileno=control_fd),
        handle=handles[0] if handles else None,
        logs=Path("/var/log"),
    ).run()
    return 1


def _environment(plan: MachinePlan) -> dict[str, str]:
    return {
        "PATH": f"{plan.path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(_RUN),
        "TMPDIR": f"{_RUN}/scratch",
        "LANG": "C.UTF-8",
    }


def _furnish(plan: MachinePlan) -> None:
    """Build what the machine sees: a read-only host with a few places of its own."""
    socket.sethostname(plan.name)
    kernel.detach_tree()
    _forget_foreign_namespaces()
    directory = Path(plan.directory)
    # By descriptor: the paths below /var/lib mean something else once the overlay is there.
    own = Path("/proc/self/fd", str(os.open(directory, os.O_PATH | os.O_CLOEXEC)))
    machine_id = Path(directory, "machine-id")
    if not machine_id.exists():
        machine_id.write_text(_uuid().replace("-", ""), encoding="utf-8")
    kernel.make_tree_read_only()

    _tmpfs(Path("/run"))
    kernel.mount("proc", Path("/proc"))
    kernel.mount("sysfs", Path("/sys"))
    _mount_cgroups(plan)
    for part in ("upper", "work", "cover", "scratch"):
        (_RUN / part).mkdir(parents=True)
    Path("/run/lock").mkdir()
    overlay = f"lowerdir=/var/lib,upperdir={_RUN}/upper,workdir={_RUN}/work"
    kernel.mount("overlay", Path("/var/lib"), overlay)
    for disk in plan.disks:
        target = Path("/var/lib", disk)
        target.mkdir(parents=True, exist_ok=True)
        kernel.bind(own / "disk" / disk, target)
    kernel.bind(own / "log", Path("/var/log"))
    _tmpfs(Path("/dev/shm"), mode="1777")  # noqa: S108 - it becomes the machine's own here
    _replace_files(plan, own)
    _show_sysctls()
    kernel.share_tree()


def _forget_foreign_namespaces() -> None:
    """Drop this mount namespace's references to named network namespaces of the host.

    They were copied with the mount table. Kept, they would keep the networks of other labs
    alive for as long as this machine runs.
    """
    for point in reversed(kernel.mount_points()):
        if Path("/run/netns") in (point, point.parent):
            kernel.unmount(point)


def _mount_cgroups(plan: MachinePlan) -> None:
    top = Path("/sys/fs/cgroup")
    if plan.cgroups[0][0] == "":
        kernel.mount("cgroup2", top)
        return
    _tmpfs(top)
    for controllers, _ in plan.cgroups:
        folder = top / controllers.removeprefix("name=")
        folder.mkdir()
        named = f"none,{controllers}" if controllers.startswith("name=") else controllers
        kernel.mount("cgroup", folder, named)


def _replace_files(plan: MachinePlan, own: Path) -> None:
    for path, text in plan.files.items():
        file = _RUN / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    _cover(Path("/proc/sys/kernel/random/boot_id"), _uuid())
    _cover(Path("/etc/machine-id"), (own / "machine-id").read_text(encoding="utf-8"))
    _cover(Path("/etc/hosts"), plan.hosts)
    _cover(Path("/etc/resolv.conf"), plan.resolver)


def _cover(target: Path, text: str) -> None:
    """Show a file of ours in place of one of the host's."""
    target = target.resolve()
    if target.is_relative_to("/run"):  # a link into the /run that we have just hidden
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    elif target.exists():
        copy = _RUN / "cover" / re.sub(r"\W+", "-", str(target))
        copy.write_text(text, encoding="utf-8")
        kernel.bind(copy, target)


def _show_sysctls() -> None:
    for key, value in _SHOWN_SYSCTLS.items():
        _cover(Path("/proc/sys", key), value + "\n")


def _tmpfs(target: Path, mode: str = "755") -> None:
    kernel.mount("tmpfs", target, f"mode={mode}")


def _uuid() -> str:
    return Path("/proc/sys/kernel/random/uuid").read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as failure:
        stamp = time.strftime("%H:%M:%S")
        print(f"{stamp} this machine cannot be started: {failure}", file=sys.stderr, flush=True)
        sys.exit(1)
