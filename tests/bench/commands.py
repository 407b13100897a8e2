"""Time whole processes of the command as an operator starts them, beside their floors.

The interpreter's byte code is warm, as after the first call, and lies outside the checkout.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import scale_world as world
from tests.bench.status_writes import NAMESPACE

RUNS = 11
_CHECKOUT = Path(__file__).resolve().parents[2]


async def timed(kubeconfig: Path, kubectl: Path) -> dict[str, list[float]]:
    """Return the seconds of each command by its words, runs taken in turn; the first is no run."""
    lbctl = str(Path(sys.executable).parent / "lbctl")
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "lbctl --help": [lbctl, "--help"],
        "kubectl": [str(kubectl), "get", "services,nodes", "-A", "-o", "name"],
        "lbctl explain service": [lbctl, "explain", f"{NAMESPACE}/web-00042"],
        "lbctl explain address": [lbctl, "explain", "address", "198.18.128.42"],
        "lbctl explain pool": [lbctl, "explain", "pool", "pool-007"],
        "lbctl explain node": [lbctl, "explain", "node", world.node_name(7)],
    }
    took: dict[str, list[float]] = {words: [] for words in commands}
    with tempfile.TemporaryDirectory() as byte_code:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
            "PYTHONPYCACHEPREFIX": byte_code,
            "PYTHONPATH": str(_CHECKOUT),
            "KUBECONFIG": str(kubeconfig),
        }
        for run in range(RUNS + 1):
            for words, command in commands.items():
                seconds = await _run(command, environment)
                if run:
                    took[words].append(seconds)
    return took


async def _run(command: Sequence[str], environment: Mapping[str, str]) -> float:
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, words = await process.communicate()
    seconds = time.perf_counter() - begun
    # 1: there are findings; nobody announces anything here.
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {words.decode()}")
    return seconds
