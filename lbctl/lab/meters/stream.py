"""Keep opening TCP connections to one address and report the longest time without an answer.

What a new client of a Service sees while its address moves: a connection every `--every`
milliseconds, each with its own deadline, so that one that hangs does not hide the next. Prints a
JSON line `{"ready": true}` after the first answer; on a line of standard input it prints
`{"recovered": bool}` as soon as an answer came that was asked for after that line and after a
failure, or `--settle` seconds later; when standard input ends it prints the summary. Runs inside
the client's network namespace.
"""

import argparse
import asyncio
import itertools
import json
import sys
from dataclasses import dataclass, field
from typing import Any

ATTEMPT_S = 1.0


@dataclass(slots=True, kw_only=True)
class Record:
    """Collect when connections that were answered were started, in seconds of the loop's clock."""

    answered: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def summary(self) -> dict[str, Any]:
        """Return counts and the longest gap between the starts of two answered connections."""
        moments = sorted(self.answered)
        gaps = [after - before for before, after in itertools.pairwise(moments)]
        return {
            "asked": len(self.answered) + len(self.failed),
            "failed": len(self.failed),
            "longest_gap_ms": round(max(gaps, default=0.0) * 1000),
            "failing_ms": round(self._failing_s() * 1000),
        }

    def _failing_s(self) -> float:
        """Return the time from the first failure to the first answer after the last one.

        Where several ways share the connections, some are answered while others fail.
        """
        if not self.failed:
            return 0.0
        last = max(self.failed)
        return min((when for when in self.answered if when > last), default=last) - min(self.failed)

    def recovered_since(self, moment: float) -> bool:
        """Return whether a failure after `moment` was followed by an answer."""
        failures = [when for when in self.failed if when >= moment]
        return bool(failures) and bool(self.answered) and max(self.answered) > max(failures)


async def attempt(address: str, port: int, source: str, record: Record) -> None:
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(ATTEMPT_S):
            _, writer = await asyncio.open_connection(
                address, port, local_addr=(source, 0) if source else None
            )
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        record.failed.append(started)
    else:
        record.answered.append(started)
        record.first.set()


async def ask(arguments: argparse.Namespace, record: Record) -> None:
    address, port, source = arguments.address, arguments.port, arguments.source
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(attempt(address, port, source, record))
            await asyncio.sleep(arguments.every / 1000)


async def until_recovered(record: Record, settle_s: float) -> bool:
    """Wait for a failure and an answer after it; a failure shows only after its deadline."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while loop.time() < begun + settle_s:
        if record.recovered_since(begun) and not _unclear(record, loop.time()):
            return True
        await asyncio.sleep(0.05)
    return record.recovered_since(begun)


def _unclear(record: Record, now: float) -> bool:
    """Return whether a connection failed within the last deadline: the gap may not be over."""
    return bool(record.failed) and record.failed[-1] > now - 2 * ATTEMPT_S


def say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


async def run(arguments: argparse.Namespace) -> None:
    record = Record()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    asking = asyncio.create_task(ask(arguments, record))
    try:
        await record.first.wait()
        say({"ready": True})
        while await lines.readline():
            say({"recovered": await until_recovered(record, arguments.settle)})
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        say(record.summary())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument(
        "--every", type=float, default=20.0, help="milliseconds between connections"
    )
    parser.add_argument("--source", default="", help="the client's address to ask from")
    parser.add_argument("--settle", type=float, default=60.0, help="seconds to wait for recovery")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
