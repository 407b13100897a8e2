"""The few system calls behind a machine that Python 3.11's `os` does not have.

`os.unshare` and `os.setns` came with 3.12; `mount` never did. The alternative, one `mount`
process per mount, costs more than the rest of a machine's start.
Called by the first process of a machine and by `lbctl.lab.wiring`; needs root.
"""

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_MS_SHARED = 1 << 20
_MNT_DETACH = 2

_SYS_MOUNT_SETATTR = 442  # the same number on every architecture, like all calls since 5.1
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def unshare(flags: int) -> None:
    """Give this process new namespaces; CLONE_NEWPID takes effect for its children."""
    _check(_libc.unshare(flags), "unshare")


def setns(namespace: Path, kind: int) -> None:
    """Enter the namespace that a file stands for."""
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(handle, kind), f"setns {namespace}")
    finally:
        os.close(handle)


def mount(kind: str, target: Path, options: str = "") -> None:
    """Mount a file system that has no device: tmpfs, proc, sysfs, cgroup, overlay."""
    result = _libc.mount(kind.encode(), bytes(target), kind.encode(), 0, options.encode())
    _check(result, f"mount {kind} on {target}")


def bind(source: Path, target: Path) -> None:
    """Show `source` at `target`, writable even where `source` is seen read-only."""
    _check(_libc.mount(bytes(source), bytes(target), None, _MS_BIND, None), f"bind {target}")
    remount = _MS_REMOUNT | _MS_BIND
    _check(_libc.mount(None, bytes(target), None, remount, None), f"remount {target}")


def unmount(target: Path) -> None:
    """Take a mount away at once, even where something still uses it."""
    _check(_libc.umount2(bytes(target), _MNT_DETACH), f"umount {target}")


def detach_tree() -> None:
    """Let no mount below / reach the namespace this one was copied from, or come from it."""
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "make / private")


def share_tree() -> None:
    """Let mounts below / reach namespaces made from this one, as the kubelet expects of a host."""
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_SHARED, None), "make / shared")


def make_tree_read_only() -> None:
    """Make every mount of this mount namespace read-only. Linux 5.12 and later."""
    attributes = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR,
        _AT_FDCWD,
        b"/",
        _AT_RECURSIVE,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
    )
    _check(result, "mount_setattr /")


def mount_points() -> list[Path]:
    """Return where this process sees mounts, the latest last."""
    points = []
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:  # noqa: PTH123 - pathlib decodes no better
        for line in lines:
            # The kernel writes blanks and the like as octal escapes.
            escaped = line.split(" ")[4]
            points.append(Path(escaped.encode().decode("unicode_escape")))
    return points


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
