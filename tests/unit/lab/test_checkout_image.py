"""The image of the checkout: closure, compiled modules, and the packed whole in a chroot."""

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from lbctl.lab.binaries import BuildError
from lbctl.lab.images import checkout, closure, interpreter, registry
from lbctl.lab.images.closure import Requirement
from lbctl.lab.images.oci import File


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("aiohttp>=3.14,<4", ("aiohttp", frozenset(), "", False)),
        ("Typing_Extensions (>=4)", ("typing-extensions", frozenset(), "", False)),
        ("a[b, C]==1 ; python_version<'3'", ("a", frozenset({"b", "c"}), "", True)),
        ('x ; extra == "speedups"', ("x", frozenset(), "speedups", True)),
    ],
)
def test_a_requirement_says_who_with_what_and_when(text, wanted):
    name, extras, extra, conditional = wanted
    assert closure.parse(text) == Requirement(
        name=name, extras=extras, only_for_extra=extra, conditional=conditional
    )


def test_the_closure_follows_requirements_and_leaves_out_what_it_is_told():
    project = tomllib.loads((checkout.CHECKOUT / "pyproject.toml").read_text())["project"]
    found = closure.runtime(project["dependencies"], left_out=checkout.LEFT_OUT)
    names = {distribution.name.lower() for distribution in found}
    assert {"kopf", "aiohttp", "multidict", "pyroute2"} <= names
    assert not names & {"kubernetes", "scapy", "pytest", "mypy", "pydantic"}


def test_a_dependency_that_is_not_installed_is_named_with_the_cure():
    with pytest.raises(BuildError, match=r"no-such-thing is not installed.*make setup"):
        closure.runtime(["no-such-thing>=1"], left_out=frozenset())
    assert closure.runtime(["no-such-thing; os_name == 'nt'"], left_out=frozenset()) == ()


def test_a_module_is_compiled_so_that_its_source_is_not_checked(tmp_path):
    made = interpreter.compiled(
        {"a/m.py": File(content=b"x = 7\n"), "a/bad.py": File(content=b"x = (\n")}
    )
    tag = f"a/__pycache__/m.{sys.implementation.cache_tag}.pyc"
    assert sorted(made) == sorted(["a/m.py", "a/bad.py", tag])
    entry = made[tag]
    assert isinstance(entry, File)
    assert isinstance(entry.content, bytes)
    (tmp_path / "m.pyc").write_bytes(entry.content)
    spec = importlib.util.spec_from_file_location("m", tmp_path / "m.pyc")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.x == 7
    assert int.from_bytes(entry.content[4:8], "little") == 0b01, "PEP 552: hash, not checked"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> checkout.Image:
    # A cache of its own: what is packed here must not depend on what lies in the shared one.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LBCTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        first = checkout.pack(lambda _: None)
        lines: list[str] = []
        checkout.pack(lines.append)
    assert len(lines) == 1, "the second time both lower layers come from the cache"
    return first


def unpack(image: checkout.Image, root: Path) -> None:
    content = registry.read_archive(image.archive)
    for layer in json.loads(content.blobs[content.manifest])["layers"]:
        path = root.parent / "layer.tar"
        path.write_bytes(content.blobs[layer["digest"]])
        with tarfile.open(path) as archive:
            archive.extractall(root, filter="fully_trusted")


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_the_packed_image_runs_on_its_own_as_its_user(packed, tmp_path):
    root = tmp_path / "root"
    unpack(packed, root)
    program = (
        "import sys, os, ssl, kopf, aiohttp, pyroute2, lbctl, speaker\n"
        "from importlib.metadata import version\n"
        "assert 'kubernetes' not in sys.modules\n"
        "assert ssl.create_default_context().cert_store_stats()['x509_ca'] > 0\n"
        "print(os.getuid(), version('lbctl'), kopf.__spec__.cached)\n"
    )
    done = subprocess.run(
        ["chroot", "--userspec=65532:65532", str(root), "/usr/local/bin/python", "-c", program],
        env={**checkout.ENVIRONMENT, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    uid, version, cached = done.stdout.split()
    assert uid == "65532"
    assert packed.name.startswith(f"localhost/lbctl:{version}-")
    assert (root / cached.lstrip("/")).is_file()


def test_the_image_has_the_console_scripts_and_its_user(packed, tmp_path):
    root = tmp_path / "root"
    unpack(packed, root)
    for script in ("lbctl", "lb-controller", "lb-speaker", "lb-fastpath"):
        assert os.access(root / "usr/local/bin" / script, os.X_OK)
    assert "lbctl:x:65532:65532" in (root / "etc/passwd").read_text()
    assert not list(root.rglob("kubernetes"))
