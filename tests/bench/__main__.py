"""Measure the budgets: `python -m tests.bench [NAME ...]`, all of them without a name.

Prints the machine and one Markdown table on stdout, progress on stderr, and writes nothing into
the tree. Nothing else may run meanwhile. Ends with status 1 when a bench failed; a budget that
does not hold is a row that says so, and no failure.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

from lbctl.lab.install import InstallError
from lbctl.lab.lab import FAILURES
from lbctl.lab.spec import SpecError
from tests.bench import (
    bench_allocator,
    bench_arp,
    bench_bgp,
    bench_bgp_ends,
    bench_footprint,
    bench_scale,
    bench_status,
)
from tests.bench.figures import Figure, machine, table

BENCHES = {
    "allocator": bench_allocator.figures,
    "arp": bench_arp.figures,
    "bgp": bench_bgp.figures,
    "bgp-ends": bench_bgp_ends.figures,
    "status": bench_status.figures,
    "footprint": bench_footprint.figures,
    "scale": bench_scale.figures,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    names = parser.parse_args().names or list(BENCHES)
    if unknown := set(names) - BENCHES.keys():
        parser.error(f"there is no bench {min(unknown)!r}; there are {', '.join(BENCHES)}")
    # An end from outside takes the lab and the namespaces down too, like Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    where, found, failed = machine(), list[Figure](), False
    for name in names:
        _say(f"bench {name}")
        try:
            found += BENCHES[name](_say)
        except (AssertionError, InstallError, SpecError, *FAILURES) as error:
            words = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
            _say(f"bench {name} failed: {words or error}")
            failed = True
    print(f"{where}\n\n{table(found)}")
    return int(failed)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
