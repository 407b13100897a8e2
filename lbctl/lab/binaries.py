"""Build, once, the programs the lab's cluster runs, and say where they are.

A build takes minutes and its result 400 MB, so it lives outside the checkout and
is found again by the hash of what went into it: the files of the Go modules in
`deploy/lab`, the commands below and the version of Go. Each recipe is cached alone
(`parts/`), and `bin/<hash>` holds hard links to the parts: a change of the echo
server does not compile Kubernetes again. Nothing is ever half there: a directory
is filled under another name and renamed. A build forgets what was not used for a
month, unless a lab runs from it. Called by `lbctl lab up` and `make binaries`.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lbctl.lab import aging, records
from lbctl.lab.distribution import runc_and_cni
from lbctl.lab.golang import (
    BuildError,
    Progress,
    Toolchain,
    Workshop,
    compile_module,
    find_toolchain,
    ready,
)
from lbctl.lab.spec import SpecError

__all__ = ["Binaries", "BuildError", "cache_directory", "ensure", "main"]

DEFAULT_CACHE = "/var/cache/lbctl"
MODULES = Path(__file__).resolve().parents[2] / "deploy" / "lab"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """Where the lab's programs are.

    `bin` holds controlplane (etcd, kube-apiserver, kube-controller-manager,
    kube-scheduler and kube-proxy, chosen by its first argument), kubelet, containerd,
    containerd-shim-runc-v2, ctr, kubectl, helm and echo. `runc` is a program,
    `cni_bin` a directory; both are the distribution's.
    """

    bin: Path
    runc: Path
    cni_bin: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One `go build`: a module under `deploy/lab`, its packages and what they yield."""

    label: str
    module: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    tags: str = ""
    # Paths of string variables that are set to a version taken from the module's go.mod.
    versions: tuple[tuple[str, str], ...] = ()


_CONTAINERD = "github.com/containerd/containerd/v2"
_HELM = "helm.sh/helm/v4"

RECIPES = (
    Recipe(
        label="etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy",
        module="controlplane",
        packages=(".",),
        programs=("controlplane",),
    ),
    Recipe(label="kubelet", module="kubelet", packages=(".",), programs=("kubelet",)),
    Recipe(
        label="containerd, its runc shim, ctr",
        module="containerd",
        packages=tuple(
            f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        ),
        programs=("containerd", "containerd-shim-runc-v2", "ctr"),
        tags="no_btrfs no_devmapper no_zfs",
        versions=((f"{_CONTAINERD}/version.Version", _CONTAINERD),),
    ),
    Recipe(label="kubectl", module="clients", packages=("./kubectl",), programs=("kubectl",)),
    Recipe(
        label="helm",
        module="clients",
        packages=(f"{_HELM}/cmd/helm",),
        programs=("helm",),
        versions=((f"{_HELM}/internal/version.version", _HELM),),
    ),
    Recipe(label="the echo server", module="echo", packages=(".",), programs=("echo",)),
)


def cache_directory() -> Path:
    """Return where builds are kept: LBCTL_CACHE, else /var/cache/lbctl."""
    return Path(os.environ.get("LBCTL_CACHE") or DEFAULT_CACHE)


def ensure(progress: Progress, *, recipes: tuple[Recipe, ...] = RECIPES) -> Binaries:
    """Return the lab's binaries, building what the cache does not hold.

    `progress` gets one line at a time, none at all when the cache is warm. Several
    processes may call this at once: one builds, the others wait for it.

    Raises:
        BuildError: something could not be built or found; the message says what to do.
    """
    cache = cache_directory()
    if not MODULES.is_dir():
        raise BuildError(f"{MODULES} is missing: the lab runs from a checkout of the repository")
    required = max((_go_directive(MODULES / recipe.module) for recipe in recipes), key=_numbers)
    toolchain = find_toolchain(required, cache)
    keys = {recipe: _recipe_hash(recipe, toolchain) for recipe in recipes}
    wanted = hashlib.sha256("\n".join(keys.values()).encode()).hexdigest()[:16]
    target = cache / "bin" / wanted
    used = {target, *(cache / "parts" / key for key in keys.values())}
    aging.claim(cache, used)
    if not target.is_dir():
        try:
            (cache / "bin").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BuildError(
                f"cannot write the cache {cache} ({error.strerror}): "
                "run as root or set LBCTL_CACHE to a directory of yours"
            ) from error
        with _only_builder(cache / "bin" / ".lock", progress):
            if not target.is_dir():
                _build_all(
                    keys, Workshop(toolchain=toolchain, cache=cache, progress=progress), target
                )
            _forget_old(cache, used, progress)
    runc, cni_bin = runc_and_cni(cache, progress)
    return Binaries(bin=target, runc=runc, cni_bin=cni_bin)


def main() -> int:
    """Do what `make binaries` asks for; return the exit status."""
    try:
        found = ensure(lambda line: print(line, flush=True))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the lab's programs are in {found.bin}")
    return 0


def _forget_old(cache: Path, used: set[Path], progress: Progress) -> None:
    """Remove builds that were not used for a month; a lab that is up goes on using its own."""
    try:
        labs = [records.load(name).bin for name in records.names()]
    except (records.NoLabError, records.BrokenRecordError, SpecError):
        return  # it may run from any of them: there will be another build
    try:
        for entry in aging.prune(cache, ("bin", "parts"), keep={*used, *labs}):
            progress(f"{entry} was not used for a month: removed")
    except OSError as error:
        progress(f"old builds in {cache} stay: {error}")


def _build_all(keys: dict[Recipe, str], workshop: Workshop, target: Path) -> None:
    """Fill `target` with every recipe's programs, compiling those with no cached part."""
    fresh = target.with_name(f"{target.name}.new-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    steps = len(keys) + 1
    try:
        for number, (recipe, key) in enumerate(keys.items(), start=1):
            part = workshop.cache / "parts" / key
            label = f"[{number}/{steps}] {recipe.label}"
            if not part.is_dir():
                ready(workshop)
                _build_part(recipe, workshop, part, label)
            for program in recipe.programs:
                _link(part / program, fresh / program)
        workshop.progress(f"[{steps}/{steps}] runc and the CNI plugins of the distribution")
        runc_and_cni(workshop.cache, workshop.progress)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _build_part(recipe: Recipe, workshop: Workshop, part: Path, label: str) -> None:
    """Compile one recipe into its cached directory and say how long it took."""
    workshop.progress(f"{label} ...")
    started = time.monotonic()
    fresh = part.with_name(f"{part.name}.new-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        compile_module(
            workshop,
            MODULES / recipe.module,
            recipe.packages,
            out=fresh,
            ldflags=_ldflags(recipe),
            tags=recipe.tags,
            label=label,
        )
        # `go build` names the program of a module's root after the module's last element.
        missing = [name for name in recipe.programs if not (fresh / name).is_file()]
        if missing:
            raise BuildError(f"{label}: Go built no {', '.join(missing)} from {recipe.module}")
        fresh.rename(part)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    workshop.progress(f"{label} ... {time.monotonic() - started:.0f} s")


def _ldflags(recipe: Recipe) -> str:
    """Return the -X flags that make the programs say their true version.

    Kubernetes components are told at link time; unset, an API server calls itself
    v0.0.0-master and clients that check the version skew refuse it.
    """
    settings = [(variable, _module_version(recipe, path)) for variable, path in recipe.versions]
    kubernetes = _module_version(recipe, "k8s.io/kubernetes", "k8s.io/kubectl")
    if kubernetes:
        minor = kubernetes.split(".")[1]
        settings += [
            ("k8s.io/component-base/version.gitVersion", f"v1.{kubernetes.split('.', 1)[1]}"),
            ("k8s.io/component-base/version.gitMajor", "1"),
            ("k8s.io/component-base/version.gitMinor", minor),
            ("k8s.io/client-go/pkg/version.gitVersion", f"v1.{kubernetes.split('.', 1)[1]}"),
        ]
    return " ".join(f"-X {variable}={value}" for variable, value in settings)


def _module_version(recipe: Recipe, *paths: str) -> str:
    """Return the version of the first of these modules that go.mod requires, or nothing."""
    text = (MODULES / recipe.module / "go.mod").read_text()
    for path in paths:
        match = re.search(rf"^\s*(?:require )?{re.escape(path)} (v\S+)", text, re.MULTILINE)
        if match:
            return match[1]
    return ""


def _recipe_hash(recipe: Recipe, toolchain: Toolchain) -> str:
    """Return the name of a recipe's cached part: a hash of all that decides its content."""
    digest = hashlib.sha256()
    module = MODULES / recipe.module
    for file in sorted(module.rglob("*")):
        if file.is_file() and not file.name.endswith("_test.go"):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(module)} {content}\n".encode())
    settings = (recipe.packages, recipe.tags, recipe.versions, toolchain.version)
    digest.update(f"{settings} {os.uname().machine}".encode())
    return f"{recipe.programs[0]}-{digest.hexdigest()[:16]}"


def _go_directive(module: Path) -> str:
    match = re.search(r"^go (\S+)", (module / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise BuildError(f"{module}/go.mod has no go directive")
    return match[1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a cache on a file system without hard links
        shutil.copy2(source, target)


@contextlib.contextmanager
def _only_builder(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the cache's lock; the kernel frees it when its holder dies, however it dies."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process is building the same binaries: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
