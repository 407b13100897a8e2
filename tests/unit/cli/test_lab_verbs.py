"""`lbctl lab status` over the labs of a directory, whatever their records say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbctl.cli.lab import lab
from lbctl.lab import records
from lbctl.lab.records import Record
from lbctl.lab.spec import LabSpec


def test_status_of_all_labs_tells_of_the_good_ones_beside_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "lab"))
    for name in ("broken", "good"):
        spec = LabSpec(name=name, directory=records.directory(name), nodes=1)
        with records.locked(name, lambda _: None):
            records.save(
                Record(
                    spec=spec,
                    hierarchies=(),
                    bin=tmp_path,
                    runc=tmp_path / "runc",
                    cni_bin=tmp_path,
                )
            )
    (records.directory("broken") / "lab.json").write_text("{")
    done = CliRunner().invoke(lab, ["status", "-o", "json"])
    assert [each["name"] for each in json.loads(done.stdout)] == ["good"]
    assert done.exit_code == 1
    assert "lbctl lab down --name broken" in done.stderr
