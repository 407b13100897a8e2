"""Transcripts: blocks of commands, a line of dashes, and what was then decided or done.

`--rewrite` writes what happens now into the files; the diff is the review.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.bgp_story import Conversation
from tests.support.giving import Giving
from tests.support.moves import Moves

HERE = Path(__file__).parent
RULE = "----"


class Story(Protocol):
    def obey(self, command: str) -> Iterable[str]: ...


STORIES: dict[str, Callable[[], Story]] = {
    "allocation": Giving,
    "announcement": Moves,
    "bgp": Conversation,
}


@pytest.mark.parametrize(
    "path", sorted(HERE.glob("*/*.txt")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_what_happens_is_what_the_transcript_says(
    path: Path, request: pytest.FixtureRequest
) -> None:
    text = path.read_text()
    happened = perform(text, STORIES[path.parent.name]())
    if request.config.getoption("--rewrite"):
        path.write_text(happened)
    else:
        assert happened == text


def perform(text: str, story: Story) -> str:
    """Return the transcript with the traces that its commands cause."""
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        commands = block.split(f"\n{RULE}")[0].splitlines()
        trace = [
            line
            for command in commands
            if not command.startswith("#")
            for line in story.obey(command)
        ]
        blocks.append("\n".join([*commands, RULE, *trace]))
    return "\n\n".join(blocks) + "\n"
