"""The three pages of a process."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from lbctl.run.flags import Endpoint
from lbctl.run.http import ListenError, StatusServer


def serve(*, live=(), ready=(), endpoint=None):
    return StatusServer(
        endpoint or Endpoint(host="127.0.0.1", port=0),
        live=lambda: live,
        ready=lambda: ready,
        metrics=lambda: b"lbctl_plans_total 1.0\n",
    )


async def pages(server: StatusServer) -> dict[str, tuple[int, str]]:
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            found = {}
            for name in ("healthz", "readyz", "metrics"):
                async with session.get(f"/{name}") as answer:
                    found[name] = (answer.status, await answer.text())
            return found
    finally:
        await server.stop()


def test_a_process_without_problems_says_ok():
    found = asyncio.run(pages(serve()))
    assert found["healthz"] == found["readyz"] == (200, "ok\n")
    assert found["metrics"] == (200, "lbctl_plans_total 1.0\n")


def test_each_problem_is_a_line_and_does_not_spread_to_the_other_page():
    found = asyncio.run(pages(serve(ready=("install the CRDs", "no fast path"))))
    assert found["readyz"] == (503, "install the CRDs\nno fast path\n")
    assert found["healthz"][0] == 200


def test_a_port_in_use_is_one_sentence_that_names_it_and_the_flag():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = serve(endpoint=Endpoint(host="127.0.0.1", port=port))
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}.*--listen"):
            asyncio.run(server.start())
