"""`lbctl get` and `lbctl explain` as people type them, against the fake API over real HTTP."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commanding import (
    ADVERTISEMENT,
    CHECKOUT,
    NAMESPACE,
    World,
    kubeconfig,
    node,
    pool,
    run,
    run_in,
    service,
)
from tests.support.fake_api import FakeApi

Command = Callable[..., "subprocess.CompletedProcess[str]"]
POOL = pool("first", "192.0.2.10-192.0.2.11")


@pytest.fixture
def lbctl(tmp_path: Path) -> Command:
    """Run a command against an API server that holds `world`."""

    def command(*arguments: str, world: World | None = None) -> Any:
        return run_in(WORLD if world is None else world, arguments, tmp_path)

    return command


WORLD: list[tuple[str, dict[str, Any]]] = [
    POOL,
    ADVERTISEMENT,
    node("node1"),
    service("web", ingress=[{"ip": "192.0.2.10"}]),
]


def test_explain_says_who_could_announce_and_why_nobody_does(lbctl: Command) -> None:
    done = lbctl("explain", "web")
    assert done.returncode == 1, done.stderr
    assert "192.0.2.10 from pool first" in done.stdout
    assert "NoSpeaker" in done.stdout
    assert "cure:" in done.stdout


def test_explain_as_json_is_the_same_value(lbctl: Command) -> None:
    found = json.loads(lbctl("explain", "default/web", "-o", "json").stdout)
    assert found["service"] == {"namespace": "default", "name": "web"}
    assert found["reason"] == "Allocated"
    assert found["shown"] == ["192.0.2.10"]
    assert found["fine"] is False
    [address] = found["addresses"]
    assert address["owner"] is None
    assert [(c["node"], c["reason"]) for c in address["candidates"]] == [("node1", "NoSpeaker")]


def test_explain_without_a_pool_names_the_check_and_the_cure(lbctl: Command) -> None:
    done = lbctl("explain", "web", world=[service("web")])
    assert done.returncode == 1
    assert "NoPoolMatches" in done.stdout
    assert "check: lbctl explain -n default web" in done.stdout


def test_explain_of_half_an_allocation_advises_on_what_keeps_the_other_address_away(
    lbctl: Command,
) -> None:
    dual = {
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "PreferDualStack",
        "clusterIPs": ["10.96.0.1", "fd00::1"],
    }
    half = service("web", ingress=[{"ip": "192.0.2.10"}])
    half[1]["spec"] |= dual
    said = lbctl("explain", "web", world=[POOL, half]).stdout
    assert "PartiallyAllocated: pool first: the pool has no IPv6 range" in said
    assert "family only. There is no accepted pool, or each has autoAssign: false" in said
    assert said.count("cure:  Create an IPAddressPool") == 1
    found = json.loads(lbctl("explain", "web", "-o", "json", world=[POOL, half]).stdout)
    assert (found["reason"], found["cause"]) == ("PartiallyAllocated", "NoPoolMatches")


def test_explain_names_the_group_and_the_namespace_that_are_served(lbctl: Command) -> None:
    plural, only = pool("first", "192.0.2.10/32")
    only["metadata"]["namespace"] = "elsewhere"
    world = [(plural, only), service("web", ingress=[{"ip": "192.0.2.10"}]), service("waiting")]
    where = ("--api-group", "metallb.io", "--lbctl-namespace", "elsewhere")
    said = lbctl("explain", "web", *where, world=world).stdout
    assert "check: kubectl -n elsewhere get l2advertisements.metallb.io -o yaml" in said
    said = lbctl("explain", "waiting", *where, world=world).stdout
    assert "check: lbctl get pools --lbctl-namespace elsewhere" in said


def test_explain_of_a_service_that_is_not_there_says_so(lbctl: Command) -> None:
    done = lbctl("explain", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no Service default/nobody" in done.stderr


def test_get_services_pools_and_nodes_are_tables(lbctl: Command) -> None:
    services = lbctl("get", "services").stdout.splitlines()
    assert services[0].split()[:3] == ["NAMESPACE", "NAME", "ADDRESSES"]
    assert services[1].split()[:3] == ["default", "web", "192.0.2.10"]
    pools = lbctl("get", "pools").stdout.splitlines()
    assert pools[1].split()[:3] == ["first", "yes", "1/2"]
    nodes = lbctl("get", "nodes").stdout.splitlines()
    assert nodes[1].split()[:3] == ["node1", "yes", "none"]


def test_get_as_json_lists_rows(lbctl: Command) -> None:
    [row] = json.loads(lbctl("get", "pools", "-o", "json").stdout)
    assert (row["name"], row["accepted"], row["available_ipv4"]) == ("first", True, 1)


def test_an_object_of_an_unknown_form_is_named_on_stderr_and_stops_nothing(lbctl: Command) -> None:
    odd = {
        "metadata": {"name": "node1", "namespace": NAMESPACE},
        "status": {"incarnation": "9", "links": "eth0"},
    }
    done = lbctl("get", "services", world=[*WORLD, ("speakerstatuses", odd)])
    assert done.returncode == 0
    assert "192.0.2.10" in done.stdout
    assert done.stderr == (
        f"lbctl: SpeakerStatus {NAMESPACE}/node1 is read in part: "
        f"status.links: 'eth0' is not a list\n"
    )


def test_a_missing_kubeconfig_is_a_usage_error_that_names_the_file(tmp_path: Path) -> None:
    done = run(("get", "pools"), tmp_path / "nowhere")
    assert done.returncode == 2
    assert str(tmp_path / "nowhere") in done.stderr
    assert "Traceback" not in done.stderr


def test_an_api_server_that_cannot_be_reached_is_exit_code_3(tmp_path: Path) -> None:
    done = run(("get", "pools"), kubeconfig(tmp_path / "config", "http://127.0.0.1:9"))
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_a_login_plug_in_is_run_by_the_official_client(tmp_path: Path) -> None:
    """Cloud kubeconfigs: the program prints a credential, which must arrive as our token."""
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-the-plug-in"},
    }
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\ncat <<'E'\n{json.dumps(answer)}\nE\n")
    plugin.chmod(0o755)

    async def ask() -> tuple[Any, set[str]]:
        async with FakeApi() as api:
            api.tokens = {"from-the-plug-in"}
            login = {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": str(plugin),
                    "interactiveMode": "Never",
                }
            }
            config = kubeconfig(tmp_path / "config", api.url, **login)
            return await asyncio.to_thread(run, ("get", "pools"), config), api.tokens

    done, _ = asyncio.run(ask())
    assert done.returncode == 0, done.stderr


def test_help_is_quick_because_verbs_are_imported_when_used() -> None:
    code = "import sys; from lbctl.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    for heavy in ("aiohttp", "kubernetes", "pyroute2", "kopf"):
        assert f"'{heavy}'" not in done.stdout
