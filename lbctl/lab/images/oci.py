"""Write OCI image archives without a daemon, a registry or a container.

The lab's nodes can pull from nowhere, so the images they run are written here, in the
form `ctr images import` reads: an OCI image layout (image-spec v1.1) in a tar file.
Layers are not compressed: they never leave the machine, and gzip would take longer
than everything else. The same entries give the same bytes: no clock, no owner and no
directory order of this machine gets in. Called by `checkout` and `standins`.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MEDIA = "application/vnd.oci.image"
MANIFEST_TYPE = f"{_MEDIA}.manifest.v1+json"
CONFIG_TYPE = f"{_MEDIA}.config.v1+json"
LAYER_TYPE = f"{_MEDIA}.layer.v1.tar"

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "s390x": "s390x"}
"""What the kernel calls a processor -> what an image calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file; its content is bytes or the path of a file to copy."""

    content: bytes | Path
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    mode: int = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    target: str


Entry = File | Directory | Symlink


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer on disk: an uncompressed tar file, its digest (`sha256:...`) and size in bytes."""

    path: Path
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a container of the image does when its pod does not say otherwise."""

    entrypoint: Sequence[str]
    user: str = ""
    env: Mapping[str, str]
    working_directory: str = "/"


def write_layer(entries: Mapping[str, Entry], path: Path) -> Layer:
    """Write the entries, by their path without a leading slash, as one layer.

    Directories above an entry are made where they are not given. All belong to
    root and are of the epoch, so a layer depends on nothing but its entries.

    Raises:
        ValueError: a path is absolute, empty or climbs out of the image.
    """
    complete = dict(entries)
    for name in entries:
        if name.startswith("/") or not name or ".." in name.split("/"):
            raise ValueError(f"{name!r} is not a path inside an image: leave out the first slash")
        parent = os.path.dirname(name)  # noqa: PTH120 - a name inside the image, not a file here
        while parent and parent not in complete:
            complete[parent] = Directory()
            parent = os.path.dirname(parent)  # noqa: PTH120 - as above
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(complete):
            _add(archive, name, complete[name])
    with path.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return Layer(path=path, digest=f"sha256:{digest}", size=path.stat().st_size)


def write_image(
    path: Path, name: str, layers: Sequence[Layer], settings: Settings, *, machine: str
) -> None:
    """Write an image archive called `name` (`localhost/lbctl:1`), lowest layer first.

    `machine` is the processor as `os.uname().machine` says it. The archive appears
    under its path complete or not at all.

    Raises:
        ValueError: images have no name for this processor, or `name` has no tag.
    """
    architecture = ARCHITECTURES.get(machine)
    if architecture is None:
        raise ValueError(f"no image architecture is known for the processor {machine!r}")
    repository, colon, tag = name.rpartition(":")
    if not colon or not repository or "/" in tag:
        raise ValueError(f"image name {name!r} has no tag: write it as {name}:TAG")
    platform = {"architecture": architecture, "os": "linux"}
    config = _json(
        {
            **platform,
            "config": _config(settings),
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": [{"created_by": "lbctl"} for _ in layers],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [
                {"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.size}
                for layer in layers
            ],
        }
    )
    annotations = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": tag,
    }
    index = _json(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    **_descriptor(MANIFEST_TYPE, manifest),
                    "annotations": annotations,
                    "platform": platform,
                }
            ],
        }
    )
    entries: dict[str, Entry] = {
        "oci-layout": File(content=b'{"imageLayoutVersion":"1.0.0"}'),
        "index.json": File(content=index),
        _blob(_digest(config)): File(content=config),
        _blob(_digest(manifest)): File(content=manifest),
        **{_blob(layer.digest): File(content=layer.path) for layer in layers},
    }
    fresh = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        with tarfile.open(fresh, "w", format=tarfile.PAX_FORMAT) as archive:
            for entry_name, entry in entries.items():
                _add(archive, entry_name, entry)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _config(settings: Settings) -> dict[str, object]:
    env = [f"{name}={value}" for name, value in settings.env.items()]
    config: dict[str, object] = {
        "Env": env,
        "Entrypoint": list(settings.entrypoint),
        "WorkingDir": settings.working_directory,
    }
    return config | ({"User": settings.user} if settings.user else {})


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    info = tarfile.TarInfo(name)
    match entry:
        case Directory(mode=mode):
            info.type, info.mode = tarfile.DIRTYPE, mode
            archive.addfile(info)
        case Symlink(target=target):
            info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, target
            archive.addfile(info)
        case File(content=bytes(content), mode=mode):
            info.mode, info.size = mode, len(content)
            archive.addfile(info, io.BytesIO(content))
        case File(content=Path() as content, mode=mode):
            with content.open("rb") as source:
                info.mode, info.size = mode, os.fstat(source.fileno()).st_size
                archive.addfile(info, source)


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
