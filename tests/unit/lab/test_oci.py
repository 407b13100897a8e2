"""The image archive writer against what the OCI image specification says."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from lbctl.lab.images import oci
from lbctl.lab.images.oci import Directory, File, Settings, Symlink

ENTRIES: dict[str, File | Directory | Symlink] = {
    "usr/bin/tool": File(content=b"#!tool", mode=0o755),
    "bin": Symlink(target="usr/bin"),
    "tmp": Directory(mode=0o1777),
}
SETTINGS = Settings(entrypoint=("/usr/bin/tool",), user="65532:65532", env={"A": "b"})


def write(directory: Path, name: str = "localhost/tool:1", machine: str = "x86_64") -> Path:
    directory.mkdir(exist_ok=True)
    layer = oci.write_layer(ENTRIES, directory / "layer.tar")
    oci.write_image(directory / "image.tar", name, (layer,), SETTINGS, machine=machine)
    return directory / "image.tar"


def blobs(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {
            member.name: stream.read()
            for member in archive
            if (stream := archive.extractfile(member))
        }


def test_every_blob_lies_under_its_own_digest_and_is_reached_from_the_index(tmp_path):
    files = blobs(write(tmp_path))
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    (found,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files[f"blobs/{found['digest'].replace(':', '/')}"])
    for descriptor in (manifest["config"], *manifest["layers"]):
        assert len(files[f"blobs/{descriptor['digest'].replace(':', '/')}"]) == descriptor["size"]
    config = json.loads(files[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert config["config"]["User"] == "65532:65532"
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    assert found["annotations"]["io.containerd.image.name"] == "localhost/tool:1"


def test_the_same_entries_give_the_same_bytes(tmp_path):
    first, second = write(tmp_path / "one"), write(tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()


def test_a_layer_keeps_modes_and_links_makes_parents_and_names_no_owner(tmp_path):
    layer = oci.write_layer(ENTRIES, tmp_path / "layer.tar")
    with tarfile.open(layer.path) as archive:
        members = {member.name: member for member in archive}
    assert sorted(members) == ["bin", "tmp", "usr", "usr/bin", "usr/bin/tool"]
    assert members["usr/bin"].isdir()
    assert members["usr/bin/tool"].mode == 0o755
    assert members["tmp"].mode == 0o1777
    assert members["bin"].linkname == "usr/bin"
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 0)}


@pytest.mark.parametrize("name", ["/etc/passwd", "", "../etc/passwd", "a/../../b"])
def test_a_path_that_leaves_the_image_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="is not a path inside an image"):
        oci.write_layer({name: File(content=b"")}, tmp_path / "layer.tar")


@pytest.mark.parametrize("name", ["localhost/tool", "registry.example:5000/tool"])
def test_a_name_without_a_tag_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="has no tag"):
        write(tmp_path, name=name)


def test_a_processor_without_an_image_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no image architecture is known"):
        write(tmp_path, machine="vax")
    assert not (tmp_path / "image.tar").exists()
