"""The cache of built programs, with a real Go and a module of a few lines."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lbctl.lab import binaries, distribution, golang, records
from lbctl.lab.binaries import BuildError, Recipe
from lbctl.lab.golang import Workshop
from lbctl.lab.records import Record
from lbctl.lab.spec import LabSpec

RECIPES = (Recipe(label="hello", module="hello", packages=(".",), programs=("hello",)),)
GO = shutil.which("go")
needs_go = pytest.mark.skipif(GO is None, reason="no Go on PATH")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = tmp_path / "modules" / "hello"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module lbctl.io/hello\n\ngo 1.21\n")
    (module / "main.go").write_text('package main\n\nfunc main() { println("one") }\n')
    monkeypatch.setattr(binaries, "MODULES", tmp_path / "modules")
    monkeypatch.setenv("LBCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        binaries, "runc_and_cni", lambda _cache, _progress: (Path("/runc"), Path("/cni"))
    )
    return module


def run(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stderr.strip()


@needs_go
def test_a_second_call_builds_nothing_and_a_changed_module_is_built_again(modules):
    lines: list[str] = []
    first = binaries.ensure(lines.append, recipes=RECIPES)
    assert run(first.bin / "hello") == "one"
    assert lines[0] == "[1/2] hello ..."
    lines.clear()
    assert binaries.ensure(lines.append, recipes=RECIPES) == first
    assert lines == []
    (modules / "main.go").write_text('package main\n\nfunc main() { println("two") }\n')
    second = binaries.ensure(lines.append, recipes=RECIPES)
    assert second.bin != first.bin
    assert run(second.bin / "hello") == "two"
    assert run(first.bin / "hello") == "one", "what a running lab uses stays"


@needs_go
def test_a_build_forgets_what_nobody_used_for_a_month_but_no_labs_programs(
    modules, monkeypatch, tmp_path
):
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "labs"))
    made = [binaries.ensure(lambda _: None, recipes=RECIPES).bin]
    for word in ("two", "three"):
        (modules / "main.go").write_text(f'package main\n\nfunc main() {{ println("{word}") }}\n')
        made.append(binaries.ensure(lambda _: None, recipes=RECIPES).bin)
    spec = LabSpec(name="one", directory=records.directory("one"))
    with records.locked("one", lambda _: None):
        records.save(
            Record(spec=spec, hierarchies=(), bin=made[0], runc=Path("/runc"), cni_bin=Path("/cni"))
        )
    for entry in binaries.cache_directory().glob("*/*"):
        os.utime(entry, (0, 0))
    lines: list[str] = []
    (modules / "main.go").write_text('package main\n\nfunc main() { println("four") }\n')
    newest = binaries.ensure(lines.append, recipes=RECIPES).bin
    assert [bin_.is_dir() for bin_ in (*made, newest)] == [True, False, False, True]
    assert len(list(binaries.cache_directory().glob("parts/*"))) == 1
    assert sum("was not used for a month" in line for line in lines) == 5


@needs_go
def test_a_failed_build_shows_the_compilers_words_and_leaves_nothing(modules):
    (modules / "main.go").write_text("package main\n\nfunc main() { undefined_name() }\n")
    with pytest.raises(BuildError, match=r"(?s)hello failed.*undefined_name.*what to do"):
        binaries.ensure(lambda _: None, recipes=RECIPES)
    cache = binaries.cache_directory()
    assert list(cache.glob("parts/*")) == []
    assert [path.name for path in (cache / "bin").iterdir()] == [".lock"]


@needs_go
def test_two_callers_at_once_build_once(modules):
    lines: list[str] = []
    found: list[binaries.Binaries] = []

    def call() -> None:
        found.append(binaries.ensure(lines.append, recipes=RECIPES))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(found) == 3
    assert len(set(found)) == 1
    assert lines.count("[1/2] hello ...") == 1


def test_a_module_that_is_missing_means_there_is_no_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(binaries, "MODULES", tmp_path / "nowhere")
    with pytest.raises(BuildError, match="runs from a checkout"):
        binaries.ensure(lambda _: None)


def test_versions_of_the_components_come_from_go_mod():
    for recipe in binaries.RECIPES:
        flags = binaries._ldflags(recipe)
        if recipe.module in {"controlplane", "kubelet", "clients"}:
            assert "-X k8s.io/component-base/version.gitVersion=v1." in flags
            assert "-X k8s.io/component-base/version.gitMinor=" in flags
    helm = next(recipe for recipe in binaries.RECIPES if recipe.programs == ("helm",))
    assert "helm.sh/helm/v4/internal/version.version=v4." in binaries._ldflags(helm)


def test_all_kubernetes_modules_are_of_one_version():
    texts = {
        name: (binaries.MODULES / name / "go.mod").read_text()
        for name in ("controlplane", "kubelet", "clients")
    }
    versions = {
        name: next(
            line.split()[1].split(".", 1)[1]
            for line in text.splitlines()
            if line.strip().startswith(("k8s.io/kubernetes v", "k8s.io/kubectl v"))
        )
        for name, text in texts.items()
    }
    assert len(set(versions.values())) == 1, versions


@pytest.mark.parametrize(
    ("text", "key"),
    [("1.26.0", (1, 26, 0)), ("go1.27rc1", (1, 27, 0)), ("devel", ()), ("1.9", (1, 9, 0))],
)
def test_go_versions_compare_by_number(text, key):
    assert golang.version_key(text) == key


def test_without_a_recent_go_on_path_the_wheel_is_chosen(monkeypatch, tmp_path):
    old = tmp_path / "bin" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go1.19.8\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    chosen = golang.find_toolchain("1.26.0", tmp_path / "cache")
    assert chosen.version == golang.GO_WHEEL_VERSION
    assert chosen.install is not None
    assert golang.find_toolchain("1.18", tmp_path / "cache").program == old


def test_a_wheel_that_is_installed_is_not_fetched_again(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    program = tmp_path / "go-wheel" / golang.GO_WHEEL_VERSION / "go/bin/go"
    program.parent.mkdir(parents=True)
    program.touch()
    chosen = golang.find_toolchain("999.0", tmp_path)
    lines: list[str] = []
    golang.ready(Workshop(toolchain=chosen, cache=tmp_path, progress=lines.append))
    assert chosen.program == program
    assert lines == []


def test_cni_plugins_count_only_together(tmp_path):
    for plugin in distribution.CNI_PLUGINS:
        assert not distribution.usable_cni(tmp_path)
        (tmp_path / plugin).touch(mode=0o755)
    assert distribution.usable_cni(tmp_path)


def test_a_machine_without_packages_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(distribution, "SYSTEM_PATH", "")
    with pytest.raises(BuildError, match="dnf install runc"):
        distribution.runc_and_cni(tmp_path, lambda _: None)


@needs_go
def test_the_echo_server_passes_its_own_tests():
    done = subprocess.run(
        [GO or "go", "test", "-timeout", "120s", "./..."],
        cwd=binaries.MODULES / "echo",
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_binaries_builds_and_says_where_or_what_to_do(tmp_path):
    """A module that does nothing when it is run exits with 0, too."""
    blocked = tmp_path / "file"
    blocked.touch()
    done = subprocess.run(
        [sys.executable, "-m", "lbctl.lab.binaries"],
        env={**os.environ, "LBCTL_CACHE": str(blocked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "set LBCTL_CACHE to a directory of yours" in done.stderr


@needs_go
def test_the_place_of_the_programs_is_printed_after_the_progress(modules, monkeypatch, capsys):
    monkeypatch.setattr(binaries.ensure, "__kwdefaults__", {"recipes": RECIPES})
    assert binaries.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/2] hello ..."
    place = Path(lines[-1].removeprefix("the lab's programs are in "))
    assert run(place / "hello") == "one"
