"""Watch a collection and do nothing with it: python -m tests.bench.bare_watch KUBECONFIG PATH.

The floor of what an event costs a Python process: TLS, HTTP and JSON, nobody told. Says `ready`
when the watch is open.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp

from lbctl.api.credentials import load_kubeconfig


async def work(kubeconfig: str, path: str) -> None:
    login = load_kubeconfig(Path(kubeconfig))
    connector = aiohttp.TCPConnector(ssl=login.ssl_context() or True)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        login.server, connector=connector, timeout=timeout, read_bufsize=1 << 20
    ) as session:
        async with session.get(path, params={"limit": "1"}) as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        params = {"watch": "1", "resourceVersion": version}
        async with session.get(path, params=params) as answer:
            print("ready", flush=True)
            async for line in answer.content:
                json.loads(line)


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
