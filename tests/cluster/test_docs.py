"""The tutorial's command blocks run, in their order, as a reader would type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "first-address.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_block_of_the_tutorial_works() -> None:
    blocks = BLOCK.findall(TUTORIAL.read_text())
    assert len(blocks) >= 8
    # A reader has not activated the venv: the tutorial brings what it needs of it.
    places = os.environ["PATH"].split(":")
    search = ":".join(place for place in places if not place.startswith(str(ROOT)))
    try:
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-x", "-c", "\n".join(blocks)],
            cwd=ROOT,
            env={**os.environ, "PATH": search},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    finally:
        subprocess.run(
            [str(Path(sys.executable).parent / "lbctl"), "lab", "down", "--name", "tutorial"],
            check=True,
            capture_output=True,
        )
    for promised in (
        "NoPoolMatches",
        "192.0.2.128",
        "NotElected",
        "longest time without an answer",
    ):
        assert promised in done.stdout + done.stderr
