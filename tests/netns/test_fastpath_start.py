"""Starting lb-fastpath where it cannot run: one clear line on stderr and status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fastpath_process import NO_CAPABILITY, ONLY_NET_RAW, SpeakerEnd
from tests.support.lan import eventually

pytestmark = [pytest.mark.netns, pytest.mark.timeout(60)]


def attempt(namespace, *flags, privileges=ONLY_NET_RAW, environ=None):
    """Start it, wait for its end and return status and stderr."""
    done = subprocess.run(
        [
            *("ip", "netns", "exec", namespace, *privileges),
            *(sys.executable, "-m", "speaker.fastpath", *flags),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=os.environ | (environ or {}),
    )
    return done.returncode, done.stderr


def test_without_net_raw_it_names_the_capability(node, tmp_path):
    flags = ("--socket", str(tmp_path / "s"), "--listen", "127.0.0.1:0")
    status, line = attempt(node.namespace, *flags, privileges=NO_CAPABILITY)
    assert (status, line.count("\n")) == (2, 1)
    assert "NET_RAW" in line


def test_a_port_in_use_is_named(fastpath, speaker, node, tmp_path):
    status, log = attempt(
        node.namespace, "--socket", str(tmp_path / "s"), "--listen", "127.0.0.1:9433"
    )
    assert status == 2
    assert log.splitlines()[-1].startswith("lb-fastpath: --listen 127.0.0.1:9433: Address already")


def test_a_socket_that_is_served_is_not_taken_over(fastpath, speaker, node):
    path = str(fastpath.path)
    status, log = attempt(node.namespace, "--socket", path, "--listen", "127.0.0.1:0")
    assert status == 2
    assert "another lb-fastpath serves it" in log
    assert fastpath.running
    SpeakerEnd(fastpath.path).close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: path.write_text(""), "no socket is there", id="file"),
        pytest.param(lambda path: path.mkdir(), "no socket is there", id="folder"),
    ],
)
def test_what_is_no_socket_is_not_removed(node, tmp_path, make, words):
    path = tmp_path / "s"
    make(path)
    status, log = attempt(node.namespace, "--socket", str(path), "--listen", "127.0.0.1:0")
    assert (status, words in log, path.exists()) == (2, True, True)


def test_a_folder_that_is_missing_is_named(node, tmp_path):
    path = tmp_path / "missing" / "s"
    status, log = attempt(node.namespace, "--socket", str(path), "--listen", "127.0.0.1:0")
    assert (status, f"--socket {path}: No such file" in log) == (2, True)


def test_a_missing_flag_and_a_wrong_variable_are_named(node):
    assert "--socket" in attempt(node.namespace)[1]
    _, line = attempt(node.namespace, environ={"LBCTL_LISTEN": "somewhere"})
    assert "LBCTL_LISTEN" in line


@pytest.mark.parametrize(
    ("folder", "mode"), [(0o777, 0o666), (0o2777, 0o660)], ids=["without-group", "with-fsgroup"]
)
def test_the_other_container_may_open_the_socket(start, node, tmp_path, folder, mode):
    tmp_path.chmod(folder)
    started = start(node)
    SpeakerEnd(started.path).close()
    eventually(lambda: started.path.stat().st_mode & 0o777 == mode)


def test_the_running_process_has_no_foreign_library_mapped(fastpath, speaker):
    mapped = Path(f"/proc/{fastpath.process.pid}/maps").read_text()
    assert "site-packages" not in mapped
