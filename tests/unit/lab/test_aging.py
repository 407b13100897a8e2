"""What is unused for a month leaves the cache; what somebody claims stays."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from lbctl.lab import aging

LONG_AGO = time.time() - aging.UNUSED_S - 3600


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for name in ("bin/old", "bin/new", "parts/old-1", "parts/kept", "parts/x.new-7"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "program").touch()
        if not name.endswith("new"):
            os.utime(tmp_path / name, (LONG_AGO, LONG_AGO))
    (tmp_path / "bin" / ".lock").touch()
    return tmp_path


def test_old_entries_go_and_new_kept_and_claimed_ones_stay(cache: Path) -> None:
    aging.claim(cache, [cache / "parts" / "old-1", cache / "parts" / "not-built"])
    gone = aging.prune(cache, ("bin", "parts"), keep={cache / "parts" / "kept"})
    assert gone == (cache / "bin" / "old", cache / "parts" / "x.new-7")
    assert sorted(path.name for path in cache.glob("*/*")) == [".lock", "kept", "new", "old-1"]
    assert aging.prune(cache, ("bin", "parts"), keep={cache / "parts" / "kept"}) == ()


def test_a_claim_waits_for_who_prunes_and_nobody_prunes_during_a_claim(cache: Path) -> None:
    with (cache / ".claims.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # another process claims
        pruning = threading.Thread(
            target=aging.prune, args=(cache, ("bin",)), kwargs={"keep": set()}
        )
        pruning.start()
        aging.claim(cache, [cache / "bin" / "old"])
        fcntl.flock(lock, fcntl.LOCK_UN)
        pruning.join(10)
    assert (cache / "bin" / "old").is_dir()


def test_a_cache_that_may_not_be_written_can_be_used(tmp_path: Path) -> None:
    aging.claim(tmp_path / "nowhere", [tmp_path / "nowhere" / "bin" / "x"])
    assert not (tmp_path / "nowhere").exists()
