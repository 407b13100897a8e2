"""lb-speaker as a process: bad input, no API server, and what it must not import."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from lbctl.model.node import Owner
from lbctl.run.flags import variable_of
from speaker.agent.inventory import EXCLUDED
from speaker.main import flag_parser, parse_options

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
"""


def command(tmp_path, *more: str) -> list[str]:
    kubeconfig = tmp_path / "kubeconfig"
    if not kubeconfig.exists():
        kubeconfig.write_text(KUBECONFIG)
    return [
        *(sys.executable, "-m", "speaker.main", "--node-name", "n1", "--namespace", "lbctl-system"),
        *("--fastpath-socket", str(tmp_path / "s"), "--kubeconfig", str(kubeconfig)),
        *("--listen", "127.0.0.1:0", *more),
    ]


BAD = {
    "an unknown flag": (["--colour", "red"], "--colour"),
    "an abbreviated flag": (["--node", "n1"], "--node"),
    "a port that is none": (["--listen", "127.0.0.1:http"], "not ADDR:PORT"),
    "another API group": (["--api-group", "example.com"], "use lbctl.io"),
    "a level that is none": (["--log-level", "loud"], "loud"),
    "a pod without its UID": (["--pod-name", "speaker-x"], "--pod-uid go together"),
    "an interface pattern that is none": (["--exclude-interfaces", "^eth1$,(lan"], "'(lan'"),
    "a perhaps": (["--ignore-exclude-lb", "perhaps"], "neither true nor false"),
    "no directory for the socket": (["--fastpath-socket", "/nonexistent/s"], "does not exist"),
}


@pytest.mark.parametrize(("flags", "says"), BAD.values(), ids=BAD.keys())
def test_a_bad_flag_is_one_line_and_status_two(tmp_path, capsys, flags, says):
    arguments = command(tmp_path, *flags)[3:]
    with pytest.raises(SystemExit) as ended:
        parse_options(arguments, {})
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1


def test_a_kubeconfig_that_cannot_be_read_is_one_line_and_status_two(tmp_path):
    run = command(tmp_path, "--kubeconfig", "/nonexistent/file")
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "/nonexistent/file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_is_one_line_and_status_two(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ("--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--log-level", "error")
        run = command(tmp_path, *flags)
        done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "choose another address or port with --listen" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_flags_may_be_environment_variables(tmp_path):
    environ = {
        variable_of("--node-name"): "n7",
        variable_of("--namespace"): "lbctl-system",
        variable_of("--fastpath-socket"): str(tmp_path / "s"),
        variable_of("--load-balancer-class"): "example.com/lan",
    }
    options = parse_options([], environ)
    assert options.node_name == "n7"
    assert options.load_balancer_class == "example.com/lan"
    assert options.owners == ()
    pod = {variable_of("--pod-name"): "speaker-x", variable_of("--pod-uid"): "u1"}
    assert parse_options([], environ | pod).owners == (
        Owner(kind="Pod", name="speaker-x", uid="u1"),
    )
    assert "LBCTL_NODE_NAME" in flag_parser({}).format_help()


def test_the_flags_that_say_what_may_announce_are_metallbs_by_default(tmp_path):
    given = {"LBCTL_EXCLUDE_INTERFACES": "^eth1$, ^usb.*", "LBCTL_IGNORE_EXCLUDE_LB": "true"}
    arguments = command(tmp_path)[3:]
    options = parse_options(arguments, {})
    assert options.exclude_interfaces == EXCLUDED
    assert options.ignore_exclude_lb is False
    options = parse_options(arguments, given)
    assert options.exclude_interfaces == ("^eth1$", "^usb.*")
    assert options.ignore_exclude_lb is True


def test_without_an_api_server_it_waits_and_ends_in_good_order(tmp_path):
    process = subprocess.Popen(command(tmp_path), stderr=subprocess.PIPE, text=True)
    log = ""
    assert process.stderr is not None
    end = time.monotonic() + 20
    while "no answer to list" not in log and time.monotonic() < end:
        log += process.stderr.readline()
    assert "no answer to list" in log
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_it_imports_neither_operator_framework_nor_packet_tools():
    code = (
        "import sys, speaker.main;"
        "print([m for m in ('kopf', 'kubernetes', 'scapy', 'exabgp') if m in sys.modules])"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
