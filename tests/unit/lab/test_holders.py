"""Who holds a lock is read from the kernel, also when it was inherited."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from lbctl.lab.holders import holders

SLEEP = "import sys; print('ready', flush=True); sys.stdin.read()"


def test_the_holder_and_who_inherited_the_lock_are_named_and_who_waits_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    waiting = path.open("w")
    held = os.open(path, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    with (
        waiting,
        subprocess.Popen(
            [sys.executable, "-c", SLEEP, "brk"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(held,),
        ) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        mine, heir = sorted(holders(path), key=lambda holder: holder.pid == child.pid)
        assert (mine.pid, heir.pid) == (os.getpid(), child.pid)
        assert str(heir).startswith(f"process {child.pid} ({sys.executable} -c import sys")
        os.close(held)
        assert [holder.pid for holder in holders(path)] == [child.pid]
        child.communicate()
        assert holders(path) == ()
