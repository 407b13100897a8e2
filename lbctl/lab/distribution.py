"""Find runc and the CNI plugins, which the lab takes from the Linux distribution.

They are small, packaged everywhere, and the only parts that need a C compiler or
their own release process. What is installed is used; else the packages are
unpacked into the cache without being installed, so that trying the lab changes
nothing on the machine. Called by `lbctl.lab.binaries`.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from lbctl.lab.golang import BuildError, Progress

CNI_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni", "/usr/libexec/cni/bin")
CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
"""The plugins the lab's nodes call; a directory without one of them is not usable."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = ("runc", "containernetworking-plugins")
BY_HAND = (
    "install them: `apt install runc containernetworking-plugins`, "
    "`dnf install runc containernetworking-plugins` or `pacman -S runc cni-plugins`"
)


def runc_and_cni(cache: Path, progress: Progress) -> tuple[Path, Path]:
    """Return the path of runc and the directory of the CNI plugins.

    Raises:
        BuildError: one is neither installed nor can be unpacked from a package.
    """
    found = _installed() or _unpacked(cache)
    if found is None:
        _unpack(cache, progress)
        found = _unpacked(cache)
    if found is None:
        raise BuildError(f"the packages {', '.join(PACKAGES)} hold no runc and CNI: {BY_HAND}")
    return found


def usable_cni(directory: Path) -> bool:
    """Say whether every plugin the lab calls is in this directory and executable."""
    return all(os.access(directory / plugin, os.X_OK) for plugin in CNI_PLUGINS)


def _installed() -> tuple[Path, Path] | None:
    runc = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    cni = next((Path(d) for d in CNI_DIRECTORIES if usable_cni(Path(d))), None)
    return (Path(runc), cni) if runc is not None and cni is not None else None


def _unpacked(cache: Path) -> tuple[Path, Path] | None:
    root = cache / "distribution"
    runc, cni = root / "usr/sbin/runc", root / "usr/lib/cni"
    return (runc, cni) if runc.exists() and usable_cni(cni) else None


def _unpack(cache: Path, progress: Progress) -> None:
    """Download the Debian packages and unpack them into the cache, atomically."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise BuildError(f"runc or the CNI plugins are not installed: {BY_HAND}")
    progress("runc and the CNI plugins are not installed: unpacking the distribution's packages")
    fresh = cache / f"distribution.new-{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "packages").mkdir(parents=True)
    # apt downloads as the user _apt, which may not write into our directory.
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    try:
        if not _succeeds(download, fresh / "packages"):
            progress("updating the package lists")
            _succeeds(["apt-get", "-qq", "update"], fresh)
            if not _succeeds(download, fresh / "packages"):
                raise BuildError(f"apt-get download {' '.join(PACKAGES)} failed: {BY_HAND}")
        for package in sorted((fresh / "packages").glob("*.deb")):
            if not _succeeds(["dpkg", "-x", str(package), str(fresh)], fresh):
                raise BuildError(f"dpkg -x {package.name} failed: {BY_HAND}")
        shutil.rmtree(fresh / "packages")
        with contextlib.suppress(OSError):  # another process may have put the same thing there
            fresh.rename(cache / "distribution")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _succeeds(command: list[str], directory: Path) -> bool:
    return subprocess.run(command, cwd=directory, check=False, capture_output=True).returncode == 0
