"""A lab's record and lock."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lbctl.lab import records
from lbctl.lab.machines.cgroups import Hierarchy
from lbctl.lab.records import BusyError, NoLabError, Record
from lbctl.lab.spec import ImageMode, LabSpec, Router, SpecError


@pytest.fixture(autouse=True)
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "lab"))
    return tmp_path / "lab"


def record(name: str) -> Record:
    spec = LabSpec(
        name=name,
        directory=records.directory(name),
        nodes=5,
        images=ImageMode.PULL,
        node_grace_s=12,
        routers=(Router.GOBGP, Router.FRR),
        ecmp=True,
        asn=65540,
    )
    return Record(
        spec=spec,
        hierarchies=(Hierarchy(controllers="memory", parent=Path("/sys/fs/cgroup/memory/x")),),
        bin=Path("/bin-of-lab"),
        runc=Path("/usr/sbin/runc"),
        cni_bin=Path("/usr/lib/cni"),
        api_port=40123,
    )


def silent(line: str) -> None:
    del line


def test_a_record_is_read_as_it_was_written() -> None:
    made = record("one")
    with records.locked("one", silent):
        records.save(made)
        assert records.load("one") == made
        assert records.completed(made).complete
        assert records.load("one").complete


def test_a_lab_that_is_not_there_is_named_with_the_command_that_makes_it() -> None:
    with pytest.raises(NoLabError, match="lbctl lab up --name none"):
        records.load("none")


def test_a_name_cannot_leave_the_directory_of_labs() -> None:
    with pytest.raises(SpecError):
        records.directory("../etc")


def test_an_erased_lab_takes_the_empty_directories_above_it_along(labs: Path) -> None:
    with records.locked("one", silent):
        records.save(record("one"))
        records.erase("one")
    assert not labs.exists()
    assert labs.parent.exists()


def test_erasing_one_lab_leaves_the_other(labs: Path) -> None:
    for name in ("one", "two"):
        with records.locked(name, silent):
            records.save(record(name))
    with records.locked("one", silent):
        records.erase("one")
    assert records.names() == ["two"]


def test_a_lock_that_is_held_is_waited_for_and_then_given_up() -> None:
    said: list[str] = []
    with (
        records.locked("one", silent),
        pytest.raises(BusyError, match=rf"process {os.getpid()} .*end it: kill {os.getpid()}"),
        records.locked("one", said.append, patience_s=0.0),
    ):
        pass
    assert said == []


def test_who_waits_for_the_lock_of_a_lab_that_is_erased_gets_a_new_one() -> None:
    waiting = threading.Event()
    got = threading.Event()

    def wait_for_it() -> None:
        with records.locked("one", lambda _: waiting.set()):
            got.set()
            records.save(record("one"))

    thread = threading.Thread(target=wait_for_it)
    with records.locked("one", silent):
        thread.start()
        assert waiting.wait(10)
        records.erase("one")
        assert not got.is_set()
    thread.join(10)
    assert records.load("one") == record("one")
