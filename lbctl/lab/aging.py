"""Forget builds that nobody has used for a month, while others may be building or starting.

An entry of the cache is a directory whose modification time says when it was last used. Who wants
to use entries claims them first, under a lock that is held for a moment only and never during a
build; who prunes holds the same lock alone. So an entry that was claimed is either gone, and built
anew, or stays for a month. Called by `lbctl.lab.binaries`.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

UNUSED_S = 30 * 24 * 3600.0


def claim(cache: Path, entries: Iterable[Path]) -> None:
    """Note that these entries are used now; those that do not exist are left out.

    Who may not write in the cache (a user with the host's) cannot note it, and goes on.
    """
    with contextlib.suppress(OSError), _locked(cache, fcntl.LOCK_SH):
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                os.utime(entry)


def prune(
    cache: Path, folders: Iterable[str], *, keep: Collection[Path], now: float | None = None
) -> tuple[Path, ...]:
    """Remove and return the entries of these folders that were not used within `UNUSED_S`.

    What a build that was killed left half done is an entry, too. `now` is for tests, as
    `time.time()`.
    """
    oldest = (time.time() if now is None else now) - UNUSED_S
    with _locked(cache, fcntl.LOCK_EX):
        unused = [
            entry
            for folder in folders
            for entry in sorted((cache / folder).iterdir())
            if entry.is_dir() and entry not in keep and entry.stat().st_mtime < oldest
        ]
        # Out of the way first: an entry that is half removed would pass for a whole one.
        trash = [
            entry.rename(entry.with_name(f".old-{os.getpid()}-{entry.name}")) for entry in unused
        ]
        for entry in trash:
            shutil.rmtree(entry, ignore_errors=True)
    return tuple(unused)


@contextlib.contextmanager
def _locked(cache: Path, how: int) -> Iterator[None]:
    with (cache / ".claims.lock").open("a") as lock:
        fcntl.flock(lock, how)
        yield
