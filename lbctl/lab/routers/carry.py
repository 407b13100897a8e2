"""Keep the kernel's routes equal to gobgpd's table, as zebra does for FRR.

`python -m lbctl.lab.routers.carry [--ecmp]`, inside GoBGP's machine. `gobgp monitor` only says
when to look: what is carried is always the difference between gobgpd's whole table and the
kernel's, so a line that was missed, or a restart of either, repairs itself at the next look.
A look costs two short processes; the lab's tables are small.
"""

import os
import selectors
import subprocess
import sys

from lbctl.lab.routers import fib, gobgp

LOOK_AGAIN_S = 2.0
_MONITOR = ("gobgp", "monitor", "global", "rib")


def carry(*, ecmp: bool) -> None:
    """Make the kernel's table what gobgpd's says now. Raises CalledProcessError, ValueError."""
    wanted = gobgp.chosen([_ask(*question) for question in gobgp.QUESTIONS], ecmp=ecmp)
    present = fib.parse([_ask(*question) for question in fib.QUESTIONS])
    for option, lines in fib.changes(present, wanted).items():
        # One next hop that is unreachable just now must not keep the other routes away.
        done = subprocess.run(
            ["ip", option, "-force", "-batch", "-"],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            check=False,
        )
        print("\n".join(lines), done.stderr, flush=True)


def _ask(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Carry until gobgpd goes away; whoever started this starts it again."""
    ecmp = "--ecmp" in sys.argv[1:]
    with (
        subprocess.Popen(_MONITOR, stdout=subprocess.PIPE) as monitor,
        selectors.DefaultSelector() as selector,
    ):
        assert monitor.stdout is not None
        selector.register(monitor.stdout, selectors.EVENT_READ)
        while monitor.poll() is None:
            carry(ecmp=ecmp)
            if selector.select(LOOK_AGAIN_S):
                os.read(monitor.stdout.fileno(), 1 << 20)


if __name__ == "__main__":
    main()
