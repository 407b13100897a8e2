"""A lab whose record cannot be read says which file, and is never taken for one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbctl.lab import records


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"name": 3, "nodes": "y"}'])
def test_a_record_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("LBCTL_LAB_DIR", str(tmp_path))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "lab.json").write_text(text)
    with pytest.raises(records.BrokenRecordError, match=r"lab\.json"):
        records.load("broken")
