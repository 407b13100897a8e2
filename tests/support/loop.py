"""Run coroutines in tests and wait for what they bring about."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")

DEADLINE_S = 20.0


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one test's coroutine in a loop of its own, with a deadline."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_S * 2):
            return await work

    return asyncio.run(bounded())


async def eventually(
    holds: Callable[[], object], what: str = "", *, deadline_s: float = DEADLINE_S
) -> None:
    """Poll until `holds()` is true; fail with `what` at the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not holds():
        if loop.time() > end:
            raise AssertionError(f"not within {deadline_s} s: {what or holds}")
        await asyncio.sleep(0.002)


@asynccontextmanager
async def background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run endless coroutines beside the test; cancel them at its end."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            await stop(task)


async def stop(task: "asyncio.Task[None]") -> None:
    """Cancel one task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
