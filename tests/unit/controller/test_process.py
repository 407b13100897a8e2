"""lb-controller as a process: bad starts end with one line and 2, SIGTERM ends it with 0."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.support.controlling import all_served, put_pool, put_service
from tests.support.fake_api import FakeApi
from tests.support.loop import eventually, run
from tests.support.scraping import check_page

PROGRAM = (sys.executable, "-m", "lbctl.controller.main")


@asynccontextmanager
async def process(*flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environ = {name: value for name, value in os.environ.items() if "KUBERNETES" not in name}
    child = await asyncio.create_subprocess_exec(
        *PROGRAM, *flags, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environ,
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


def kubeconfig(directory: Path, server: str) -> str:
    path = directory / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    return str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def refusal(*flags: str) -> tuple[int | None, list[str]]:
    async with process(*flags) as child:
        _, errors = await asyncio.wait_for(child.communicate(), 30)
        return child.returncode, errors.decode().splitlines()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--webhook-port", "0"), "--namespace"),
        (("--namespace", "a", "--nonsense"), "--nonsense"),
        (("--namespace", "A_b"), "A_b"),
        (("--namespace", "a", "--kubeconfig", "/does/not/exist"), "/does/not/exist"),
        (("--namespace", "a", "--kubeconfig", "k" * 300), "cannot look at kkk"),
        (("--namespace", "a", "--api-group", "example.com"), "example.com"),
        (("--namespace", "a", "--listen", "nowhere"), "nowhere"),
        (("--namespace", "a", "--webhook-port", "70000"), "70000"),
        (("--namespace", "a", "--leader-elect", "perhaps"), "perhaps"),
        (("--namespace", "a"), "--kubeconfig"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_bad_start_ends_with_one_line_and_status_2(flags, word):
    status, lines = run(refusal(*flags))
    assert status == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("lb-controller: ")
    assert word in lines[0]


@pytest.mark.parametrize("flag", ["--listen", "--webhook-port"])
def test_a_port_in_use_ends_with_one_line_and_status_2(flag, tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        values = {"--listen": f"127.0.0.1:{free_port()}", "--webhook-port": "0"}
        values[flag] = f"0.0.0.0:{port}" if flag == "--listen" else str(port)
        arguments = [text for pair in values.items() for text in pair]
        config = kubeconfig(tmp_path, "http://127.0.0.1:9")
        status, lines = run(
            refusal("--namespace", "a", "--kubeconfig", config, "--log-level", "error", *arguments)
        )
    assert status == 2
    assert len(lines) == 1, lines
    assert str(port) in lines[0]


def test_without_an_api_server_it_waits_says_so_and_sigterm_ends_it(tmp_path):
    async def case() -> None:
        port = free_port()
        config = kubeconfig(tmp_path, "http://127.0.0.1:9")
        async with process(
            "--namespace", "lbctl-system", "--kubeconfig", config,
            "--listen", f"127.0.0.1:{port}", "--webhook-port", "0",
        ) as child:  # fmt: skip
            text = await page(port, "readyz", 503)
            assert "no answer to list services" in text
            assert await page(port, "healthz", 200) == "ok\n"
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 5) == 0

    run(case())


def test_it_serves_gives_the_lease_up_on_sigterm_and_imports_no_kubernetes(tmp_path):
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            port = free_port()
            async with process(
                "--namespace", "lbctl-system", "--kubeconfig", kubeconfig(tmp_path, api.url),
                "--listen", f"127.0.0.1:{port}", "--webhook-port", "0", "--identity", "me",
            ) as child:  # fmt: skip
                put_service(api, "shop")
                await all_served(api, ["shop"])
                assert await page(port, "readyz", 200) == "ok\n"
                text = await page(port, "metrics", 200, "lbctl_services_announced{")
                assert 'lbctl_services{reason="Allocated"} 1.0' in text
                without_webhook = {"lbctl_webhook_serving", "lbctl_webhook_restarts_total"}
                check_page("lb-controller", text, silent=frozenset(without_webhook))
                assert "pydantic" not in mapped(child.pid), "the kubernetes package came along"
                child.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(child.wait(), 5) == 0
            assert api.objects("leases")[0]["spec"]["holderIdentity"] == ""

    run(case())


def test_after_a_kill_the_same_identity_takes_its_lease_back_at_once(tmp_path):
    async def case() -> None:
        async with FakeApi() as api:
            put_pool(api, "main", "192.0.2.0/24")
            flags = [
                "--namespace", "lbctl-system", "--kubeconfig", kubeconfig(tmp_path, api.url),
                "--webhook-port", "0", "--identity", "me", "--listen", "127.0.0.1:0",
            ]  # fmt: skip
            async with process(*flags) as child:
                put_service(api, "one")
                await all_served(api, ["one"])
                child.kill()
                await child.wait()
            assert api.objects("leases")[0]["spec"]["holderIdentity"] == "me"
            async with process(*flags):
                put_service(api, "two", created=1)
                # The Lease lasts 15 s: another identity could not serve before that.
                await eventually(lambda: served(api, "two"), "served", deadline_s=12)

    run(case())


def mapped(pid: int) -> str:
    """Return the files that a process has mapped: extension modules are among them."""
    return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


def served(api: FakeApi, name: str) -> bool:
    body = api.get("services", name, "web") or {}
    return bool(body.get("status", {}).get("loadBalancer", {}).get("ingress"))


async def page(port: int, name: str, status: int, holds: str = "") -> str:
    """Return a page as soon as it answers with `status` and holds the words."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(20):
        while True:
            try:
                async with client.get(f"http://127.0.0.1:{port}/{name}") as answer:
                    text = await answer.text()
                    if answer.status == status and "not been read" not in text and holds in text:
                        return text
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
