"""Transcripts of moves: blocks of commands, a line of dashes, and what the speakers then did.

`--rewrite` (or LBCTL_REWRITE=1) writes what happens now into the files; the diff is the review.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.moves import Moves

FOLDER = Path(__file__).parent / "announcement"
RULE = "----"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_the_speakers_do_what_the_transcript_says(path: Path, request: pytest.FixtureRequest):
    rewrite = request.config.getoption("--rewrite", False) or os.environ.get("LBCTL_REWRITE")
    text = path.read_text()
    happened = perform(text)
    if rewrite:
        path.write_text(happened)
    assert happened == text or rewrite


def perform(text: str) -> str:
    """Return the transcript with the traces that its commands cause."""
    moves = Moves()
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        commands = block.split(f"\n{RULE}")[0].splitlines()
        trace = [
            line
            for command in commands
            if not command.startswith("#")
            for line in moves.obey(command)
        ]
        blocks.append("\n".join([*commands, RULE, *trace]))
    return "\n\n".join(blocks) + "\n"
