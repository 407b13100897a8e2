"""A lab whose record cannot be read says which file, and is never taken for one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbctl.lab import lab, records


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"name": 3, "nodes": "y"}'])
def test_a_record_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "lab.json").write_text(text)
    with pytest.raises(records.BrokenRecordError, match=r"lab\.json.*lbctl lab down --name broken"):
        records.load("broken")


@pytest.mark.parametrize("text", ["{", None], ids=["damaged", "gone"])
def test_down_clears_what_a_lab_without_a_readable_record_has_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path / "labs"))
    place = tmp_path / "labs" / "brk-unit"
    (place / "machines" / "cp").mkdir(parents=True)
    if text is not None:
        (place / "lab.json").write_text(text)
    said: list[str] = []
    lab.down("brk-unit", said.append)
    assert not place.exists()
    [line] = said
    assert "everything that is called after the lab" in line
