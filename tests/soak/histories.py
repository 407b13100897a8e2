"""Live through 100,000 steps of the allocator's machine, a thousand or so for each seed.

`python -m tests.soak.histories [--steps N] [--seed S]`. A seed gives the same histories every
time, so a run can go on at any of them, and `--seed S --steps 1` repeats what failed under S.
Prints a table; status 1, with the shortest failing history, if a law was broken.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.bench.figures import machine
from tests.support.allocation_machine import Allocator

EXAMPLES, STEPS = 20, 50
"""Histories of a seed, and the most steps of a history."""


def live(number: int) -> None:
    """Run the histories of one seed. Raises whatever a broken law raises."""
    seed(number)(Allocator)
    run_state_machine_as_test(
        Allocator,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            # Nothing remembered from other runs: the seed alone decides.
            database=None,
            derandomize=False,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.histories", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    arguments = parser.parse_args()
    where, began, number = machine(), time.monotonic(), arguments.seed
    while Allocator.seen["steps"] < arguments.steps:
        try:
            live(number)
        except Exception:  # noqa: BLE001 - the supervising loop: whatever broke is printed
            traceback.print_exc()
            print(f"BROKEN under seed {number}", file=sys.stderr)
            return 1
        steps = Allocator.seen["steps"]
        print(f"seed {number}: {steps:,} steps so far", file=sys.stderr, flush=True)
        number += 1
    print(f"{where}; seeds {arguments.seed} to {number - 1}, {time.monotonic() - began:.0f} s\n")
    print("| what | how often |\n|---|---|")
    for what, count in Allocator.seen.most_common():
        print(f"| {what} | {count:,} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
