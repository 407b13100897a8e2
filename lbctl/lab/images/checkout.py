"""Pack this checkout as lbctl's image: the interpreter that runs us, what we need, our code.

No base image can be pulled where the lab must work, so the image is made of what is
proven to run here: the very interpreter of this process, with the shared libraries it
links, and the runtime part of its environment. Three layers, the lower two cached by
what went into them, so that a change of code is packed in well under two seconds.
The image's tag is the version and a hash of its content: a node that has the tag has
the content, and a Deployment rolls exactly when something changed.

Everything is compiled with unchecked hashes (PEP 552): with a read-only root nothing
could be compiled at start, and times of files do not survive an image. Called by
`lbctl.lab.install`.
"""

import contextlib
import hashlib
import json
import os
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from lbctl.lab.binaries import BuildError, cache_directory
from lbctl.lab.golang import Progress
from lbctl.lab.images import closure, interpreter
from lbctl.lab.images.oci import Entry, File, Layer, Settings, write_image, write_layer

CHECKOUT = Path(__file__).resolve().parents[3]
PACKAGES = ("lbctl", "speaker")

LEFT_OUT = frozenset({"kubernetes"})
"""Not in the image: kopf imports the client where it finds it, 19 MiB for nothing of ours."""

APP, LIB = "opt/lbctl/app", "opt/lbctl/lib"
USER_ID = 65532
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONHOME": f"/{interpreter.HOME}",
    "PYTHONPATH": f"/{APP}:/{LIB}",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
    "SSL_CERT_FILE": f"/{interpreter.CERTIFICATES}",
}
KEPT_FILES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A packed image: its name with tag, its archive, and its unpacked size in bytes."""

    name: str
    archive: Path
    size: int


def pack(progress: Progress) -> Image:
    """Return the image of this checkout, packing what is not cached.

    Raises:
        BuildError: a dependency is not installed, or a file of the interpreter is
            missing; the message says what to do.
    """
    started = time.monotonic()
    directory = cache_directory() / "images"
    (directory / "layers").mkdir(parents=True, exist_ok=True)
    project = _project()
    distributions = closure.runtime(project["dependencies"], left_out=LEFT_OUT)
    code = code_entries(CHECKOUT, project)
    base_key = _key("base", interpreter.identity())
    needs_key = _key("needs", base_key, closure.identity(distributions))
    tag = f"{project['version']}-{_key('code', needs_key, _content(code))[-12:]}"
    archive = directory / f"lbctl-{tag}.tar"
    layers = directory / "layers"
    base = _cached(layers, base_key, interpreter.entries, progress)
    needs = _cached(
        layers,
        needs_key,
        lambda: _needs(distributions, base),
        progress,
    )
    name = f"localhost/lbctl:{tag}"
    temporary = layers / f"code-{os.getpid()}.tar"
    try:
        top = write_layer(interpreter.compiled(code), temporary)
        size = base.size + needs.size + top.size
        if not archive.exists():
            write_image(archive, name, (base, needs, top), SETTINGS, machine=os.uname().machine)
    finally:
        temporary.unlink(missing_ok=True)
    os.utime(archive)
    _prune(directory)
    progress(f"image {name}: {size / 1e6:.0f} MB, {time.monotonic() - started:.1f} s")
    return Image(name=name, archive=archive, size=size)


SETTINGS = Settings(
    entrypoint=("/usr/local/bin/lbctl",), user=f"{USER_ID}:{USER_ID}", env=ENVIRONMENT
)


def code_entries(checkout: Path, project: Mapping[str, Any]) -> dict[str, Entry]:
    """Return our packages, console scripts and metadata as entries of the code layer."""
    made: dict[str, Entry] = {}
    for package in PACKAGES:
        root = checkout / package
        for file in sorted(root.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and _wanted(file):
                inside = f"{APP}/{file.relative_to(checkout)}"
                made[inside] = File(content=file.read_bytes())
    scripts: Mapping[str, str] = project["scripts"]
    for name, target in scripts.items():
        module, _, function = target.partition(":")
        text = (
            f"#!/usr/local/bin/{interpreter.PROGRAM}\n"
            f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        made[f"usr/local/bin/{name}"] = File(content=text.encode(), mode=0o755)
    information = f"{APP}/lbctl-{project['version']}.dist-info"
    metadata = f"Metadata-Version: 2.4\nName: lbctl\nVersion: {project['version']}\n"
    made[f"{information}/METADATA"] = File(content=metadata.encode())
    made[f"{information}/entry_points.txt"] = File(
        content=(
            "[console_scripts]\n" + "".join(f"{k} = {v}\n" for k, v in scripts.items())
        ).encode()
    )
    return made


def _needs(distributions: Sequence[Distribution], base: Layer) -> dict[str, Entry]:
    """Return the dependencies and those libraries of theirs that the base layer lacks."""
    made = closure.entries(distributions, LIB)
    with tarfile.open(base.path) as archive:
        there = set(archive.getnames())
    libraries = interpreter.libraries(interpreter.extensions(made))
    return made | {name: entry for name, entry in libraries.items() if name not in there}


def _wanted(file: Path) -> bool:
    return file.suffix in {".py", ".yaml", ".json"} or file.name == "py.typed"


def _project() -> dict[str, Any]:
    path = CHECKOUT / "pyproject.toml"
    try:
        project: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    except FileNotFoundError as error:
        raise BuildError(f"{path} is missing: the image is packed from a checkout") from error
    return project


def _key(kind: str, *parts: str) -> str:
    digest = hashlib.sha256("\n".join((*parts, _recipe())).encode()).hexdigest()
    return f"{kind}-{digest[:16]}"


def _recipe() -> str:
    """Return a hash of the code that packs, so that its changes make new layers."""
    here = Path(__file__).parent
    sources = ("checkout.py", "closure.py", "interpreter.py", "oci.py")
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in sources)).hexdigest()


def _content(entries: Mapping[str, Entry]) -> str:
    digest = hashlib.sha256()
    for name in sorted(entries):
        entry = entries[name]
        content = entry.content if isinstance(entry, File) else b""
        assert isinstance(content, bytes), "our own code is read, not referred to"
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _cached(
    directory: Path, key: str, make: Callable[[], Mapping[str, Entry]], progress: Progress
) -> Layer:
    """Return the layer of this key, writing it if no complete one is there."""
    path, note = directory / f"{key}.tar", directory / f"{key}.json"
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        known = json.loads(note.read_text())
        if path.stat().st_size == known["size"]:
            os.utime(path)
            return Layer(path=path, digest=known["digest"], size=known["size"])
    kind = key.partition("-")[0]
    words = {"base": f"Python {sys.version.split()[0]}", "needs": "the packages it needs"}
    progress(f"image layer: {words[kind]} ...")
    fresh = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        layer = write_layer(interpreter.compiled(make()), fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    # The note comes last and by rename: a layer without one is written again.
    fresh_note = note.with_name(f"{note.name}.new-{os.getpid()}")
    fresh_note.write_text(json.dumps({"digest": layer.digest, "size": layer.size}))
    fresh_note.replace(note)
    return Layer(path=path, digest=layer.digest, size=layer.size)


def _prune(directory: Path) -> None:
    """Keep the newest archives and layers only: each change of code makes one."""
    for pattern in ("lbctl-*.tar", "layers/base-*.tar", "layers/needs-*.tar"):
        with contextlib.suppress(FileNotFoundError):  # another process prunes too
            files = sorted(directory.glob(pattern), key=lambda path: path.stat().st_mtime)
            for old in files[:-KEPT_FILES]:
                old.unlink()
                old.with_suffix(".json").unlink(missing_ok=True)
