"""What every test shares: how Hypothesis searches.

`make check` tries the same examples every time, so that a merge fails for what it changed and not
by chance. `HYPOTHESIS_PROFILE=search make property` draws new ones; what it finds becomes a named
case.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("check", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write transcripts as they happen now")
