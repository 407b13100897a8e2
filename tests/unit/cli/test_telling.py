"""What people meet around the answers: targets of `explain`, colors, names, completion."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lbctl.cli.main import called_by
from lbctl.cli.scope import View
from tests.support.commanding import (
    ADVERTISEMENT,
    LBCTL,
    NAMESPACE,
    World,
    endpoints,
    environment,
    kubeconfig,
    node,
    pool,
    run,
    run_in,
    sent,
    service,
    speaker,
)
from tests.support.fake_api import FakeApi

WORLD: World = [
    pool("first", "192.0.2.10-192.0.2.11"),
    ADVERTISEMENT,
    node("node1", "192.0.2.1"),
    node("node2", "192.0.2.2"),
    speaker("node1"),
    endpoints("web", "node1"),
    service("web", ingress=[{"ip": "192.0.2.10"}]),
    sent("web", "node1", "192.0.2.10"),
]


def test_get_addresses_has_a_row_for_each_address_in_use(tmp_path: Path) -> None:
    done = run_in(WORLD, ("get", "addresses"), tmp_path)
    header, row = done.stdout.splitlines()
    assert header.split()[:5] == ["ADDRESS", "POOL", "SERVICES", "OWNER", "SENT"]
    assert row.split() == ["192.0.2.10", "first", "default/web", "node1", "node1", "Announced"]
    [found] = json.loads(run_in(WORLD, ("get", "addresses", "-o", "json"), tmp_path).stdout)
    assert found["services"] == ["default/web"]
    assert (found["owner"], found["sent"], found["reason"]) == ("node1", ["node1"], "Announced")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("service web", 0, "Service default/web"),
        ("service default/web", 0, "endpoints ready"),
        ("web", 0, "Checklist"),
        ("address 192.0.2.10", 0, "in use by default/web, announced by node node1"),
        ("address 192.0.2.11", 0, "free: pool first holds it"),
        ("address 203.0.113.9", 1, "AddressNotInAnyPool"),
        ("pool first", 0, "IPv4: 1 assigned, 1 available"),
        ("node node1", 0, "192.0.2.10"),
        ("node node2", 1, "NoSpeaker: node node2 has no SpeakerStatus"),
        ("node node2 --service web", 1, "does not announce 192.0.2.10: NoSpeaker"),
    ],
)
def test_explain_tells_of_a_kind_and_a_name(
    words: str, code: int, said: str, tmp_path: Path
) -> None:
    done = run_in(WORLD, ("explain", *words.split()), tmp_path)
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout
    data = json.loads(run_in(WORLD, ("explain", *words.split(), "-o", "json"), tmp_path).stdout)
    assert data["fine"] is (code == 0)


def test_what_the_plan_says_and_no_speaker_reports_is_a_finding_with_its_cure(
    tmp_path: Path,
) -> None:
    done = run_in(WORLD[:-1], ("explain", "web"), tmp_path)
    assert done.returncode == 1
    assert "intent: node node1 announces it on eth0" in done.stdout
    assert "not reported: NotReported: node node1 is to announce it on eth0" in done.stdout
    assert "fails first: announced: NotReported: 192.0.2.10" in done.stdout


def test_a_report_without_addresses_as_in_metallbs_schema_counts(tmp_path: Path) -> None:
    done = run_in([*WORLD[:-1], sent("web", "node1")], ("explain", "web"), tmp_path)
    assert done.returncode == 0
    assert "sent: node node1 says that it announces on eth0" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("address nonsense", "'nonsense' is not an address"),
        ("pool none", "there is no pool none"),
        ("node none", "there is no node none"),
        ("node node1 --service none", "there is no Service default/none"),
        ("service none", "there is no Service default/none"),
        ("web --service web", "--service goes with `explain node NAME`"),
        ("shop web", "one of service, address, pool, node"),
        ("pool first second", "one of service, address, pool, node"),
    ],
)
def test_what_cannot_be_explained_is_one_line_and_a_usage_error(
    words: str, said: str, tmp_path: Path
) -> None:
    done = run_in(WORLD, ("explain", *words.split()), tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def controller(**environment_: str) -> tuple[str, dict[str, Any]]:
    entries = [{"name": name, "value": value} for name, value in environment_.items()]
    labels = {"app.kubernetes.io/component": "controller"}
    template = {"spec": {"containers": [{"name": "controller", "env": entries}]}}
    return (
        "deployments",
        {
            "metadata": {"name": "lbctl-controller", "namespace": NAMESPACE, "labels": labels},
            "spec": {"template": template},
        },
    )


def test_the_class_and_the_group_are_those_of_the_running_controller(tmp_path: Path) -> None:
    classy = service("web", ingress=[{"ip": "192.0.2.10"}])
    classy[1]["spec"]["loadBalancerClass"] = "example.com/lan"
    world = [entry for entry in WORLD if entry[0] != "services"] + [classy]
    alone = run_in(world, ("explain", "web", "-o", "json"), tmp_path)
    assert json.loads(alone.stdout)["reason"] == "ForeignClass"
    serving = controller(LBCTL_LOAD_BALANCER_CLASS="example.com/lan")
    done = run_in([*world, serving], ("explain", "web", "-o", "json"), tmp_path)
    assert json.loads(done.stdout)["reason"] == "Allocated"
    option = ("--load-balancer-class", "example.com/other")
    other = run_in([*world, serving], ("explain", "web", "-o", "json", *option), tmp_path)
    assert json.loads(other.stdout)["reason"] == "ForeignClass"
    metallb = controller(LBCTL_API_GROUP="metallb.io")
    quiet = [entry for entry in WORLD if entry[0] != "l2advertisements"]
    text = run_in([*quiet, metallb], ("explain", "web"), tmp_path).stdout
    assert "get l2advertisements.metallb.io" in text


def test_an_api_group_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    done = run_in(WORLD, ("get", "pools", "--api-group", "example.com"), tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "example.com" in done.stderr


def test_a_service_whose_name_is_a_kind_is_still_explained(tmp_path: Path) -> None:
    done = run_in([*WORLD, service("pool")], ("explain", "pool"), tmp_path)
    assert done.stdout.startswith("Service default/pool ")


def test_a_service_that_is_not_ours_has_nothing_to_do_and_says_why(tmp_path: Path) -> None:
    plain = service("plain")
    plain[1]["spec"]["type"] = "ClusterIP"
    done = run_in([plain], ("explain", "plain"), tmp_path)
    assert done.returncode == 0
    assert "ClusterIP: nothing to do, because" in done.stdout


def test_the_first_step_that_fails_comes_with_the_command_that_confirms_it(tmp_path: Path) -> None:
    world = [entry for entry in WORLD if entry[0] != "endpointslices"]
    done = run_in(world, ("explain", "web"), tmp_path)
    assert done.returncode == 1
    assert "fails first: selector: app=web matches no Pod" in done.stdout
    assert "confirm: kubectl -n default get pods -l app=web -o wide" in done.stdout
    data = json.loads(run_in(world, ("explain", "web", "-o", "json"), tmp_path).stdout)
    [selector] = [step for step in data["checklist"] if step["name"] == "selector"]
    assert selector["answer"] == "failed"


def test_a_pool_that_nobody_tells_of_brings_the_object_to_apply(tmp_path: Path) -> None:
    world = [entry for entry in WORLD if entry[0] != "l2advertisements"]
    done = run_in(world, ("explain", "pool", "first"), tmp_path)
    assert done.returncode == 1
    _, _, rest = done.stdout.partition("kubectl apply -f - <<YAML\n")
    applied, end, _ = rest.partition("\nYAML\n")
    assert end, "it can be pasted as it stands"
    assert applied.splitlines()[-1] == "spec: {ipAddressPools: [first]}"


def test_the_world_is_never_spelled_out() -> None:
    """`asyncio.run` takes the repr of its result: seconds, in a cluster of 10,000 Services."""
    assert View.__repr__ is object.__repr__


# Colors.


def on_a_terminal(arguments: tuple[str, ...], directory: Path, **variables: str) -> str:
    """Return what a command prints on a terminal of 20 columns."""

    async def serve() -> str:
        async with FakeApi() as api:
            for plural, body in WORLD:
                api.put(plural, body)
            config = kubeconfig(directory / "config", api.url)
            return await asyncio.to_thread(printed, config)

    def printed(config: Path) -> str:
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                [str(LBCTL), *arguments],
                env=environment(config, COLUMNS="20", TERM="xterm", **variables),
                stdout=theirs,
                stderr=subprocess.DEVNULL,
            )
            os.close(theirs)
            return read_all(ours, process)
        finally:
            os.close(ours)

    return asyncio.run(serve())


def read_all(terminal: int, process: subprocess.Popen[bytes]) -> str:
    """Read until the other end is closed, which a terminal reports as an I/O error."""
    chunks = []
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    process.wait(timeout=60)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_colors_are_for_terminals_and_no_color_is_honored(tmp_path: Path) -> None:
    arguments = ("get", "addresses")
    colored = on_a_terminal(arguments, tmp_path)
    assert "\x1b[32mAnnounced\x1b[0m" in colored
    plain = on_a_terminal(arguments, tmp_path, NO_COLOR="1")
    assert "\x1b" not in plain
    assert plain == run_in(WORLD, arguments, tmp_path).stdout, "not wrapped at 20 columns either"
    assert "\x1b" not in on_a_terminal(("get", "addresses", "-o", "json"), tmp_path)


# Names and completion.


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/usr/bin/lbctl", "lbctl"),
        ("/usr/local/bin/kubectl-lb", "kubectl lb"),
        ("kubectl_lb", "kubectl lb"),
        ("/x/python", "lbctl"),
    ],
)
def test_usage_shows_the_name_that_was_typed(program: str, name: str) -> None:
    assert called_by(program) == name


def test_called_as_kubectl_plug_in_its_usage_says_kubectl_lb(tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-lb"
    plugin.symlink_to(LBCTL)
    done = run(("explain", "--help"), tmp_path / "none", plugin)
    assert done.stdout.startswith("Usage: kubectl lb explain ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_calls_lbctl_back(shell: str, tmp_path: Path) -> None:
    done = run(("completion", shell), tmp_path / "none")
    assert done.returncode == 0
    assert f"_LBCTL_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("lbctl do", ["doctor"]), ("lbctl explain po", ["pool"]), ("lbctl get a", ["addresses"])],
)
def test_words_are_completed(typed: str, offered: list[str], tmp_path: Path) -> None:
    variables: dict[str, Any] = {
        "_LBCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    done = subprocess.run(
        [str(LBCTL)],
        env=environment(tmp_path / "none", **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == offered
