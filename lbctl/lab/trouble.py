"""Make trouble for a node and measure what a client of a Service sees meanwhile.

`break` cuts the power, `cut` pulls the network cable, `drain` asks the speaker to give its
addresses away, `reboot` cuts the power and boots again, `heal` undoes all of them. The measure is
taken by the client's machine: it keeps opening connections to the Service's address while the
trouble happens (`lbctl.lab.meters.stream`). Called by the command line and by tests.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lbctl.lab import lab, reach
from lbctl.lab.records import Progress
from lbctl.lab.spec import Router

DRAIN = "lbctl.io/drain"
SETTLE_S = 90.0
"""How long a client may go without an answer before the measurement ends: longer than a node's
grace period, so that the gap of a dead node is measured to its end."""


class TroubleError(RuntimeError):
    """The trouble could not be made or measured; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Hold what a client saw: connections asked for and failed, and the longest time without one."""

    address: str
    asked: int
    failed: int
    longest_gap_ms: int
    failing_ms: int
    """From the first failure to the last: where nodes share an address, others answer meanwhile."""

    def __str__(self) -> str:
        over = f" over {self.failing_ms} ms" if self.failed else ""
        return (
            f"{self.address}: {self.failed} of {self.asked} connections failed{over}, "
            f"longest time without an answer {self.longest_gap_ms} ms"
        )


def power_cut(name: str, node: str, progress: Progress) -> None:
    """End the node at once, as when its power fails."""
    lab.poweroff(name, node, progress)


def cut(name: str, node: str, progress: Progress) -> None:
    """Pull the node's network cable; it goes on running."""
    progress(f"{node}: cable pulled")
    lab.cable(name, node, connected=False)


def drain(name: str, node: str, progress: Progress) -> None:
    """Ask the node's speaker to give its addresses to others."""
    progress(f"{node}: annotated {DRAIN}")
    _kubectl(name, "annotate", "node", node, f"{DRAIN}=true", "--overwrite")


def reboot(name: str, node: str, progress: Progress) -> None:
    """Cut the node's power and boot it again from its disk."""
    lab.poweroff(name, node, progress)
    lab.boot(name, node, progress)


def heal(name: str, node: str, progress: Progress) -> None:
    """Undo break, cut and drain; return when the node is Ready, or the router has power."""
    lab.boot(name, node, progress)
    lab.cable(name, node, connected=True)
    if node in set(Router):
        progress(f"{node} has power and cable")
        return
    _kubectl(name, "annotate", "node", node, f"{DRAIN}-")
    _kubectl(name, "wait", f"node/{node}", "--for=condition=Ready", "--timeout=90s")
    progress(f"{node} is Ready")


def measured(
    name: str,
    service: str,
    act: Callable[[], None],
    progress: Progress,
    *,
    via: Router | None = None,
    settle_s: float = SETTLE_S,
) -> Gap:
    """Do `act` while the client keeps asking `service` (NAMESPACE/NAME); return what it saw.

    With `via` that client is `remote`, behind the routers. Returns when the client was answered
    again after a failure, or `settle_s` after the act if nothing failed at all. Raises TroubleError when the Service has no address or nothing answers.
    """
    target = reach.find(name, service)
    if not target.addresses or not target.tcp_ports:
        raise TroubleError(f"Service {service} has no address or no TCP port to ask")
    address = target.addresses[0]
    with _asking(name, address, target.tcp_ports[0], via, settle_s) as meter:
        if "ready" not in _line(meter):
            raise TroubleError(f"nothing answers at {address}; see `lbctl explain {service}`")
        progress(f"the client asks {address} every 20 ms")
        act()
        _say(meter)
        _line(meter)
        assert meter.stdin is not None
        meter.stdin.close()
        return Gap(address=address, **_line(meter))


@contextmanager
def _asking(
    name: str, address: str, port: int, via: Router | None, settle_s: float
) -> Iterator["subprocess.Popen[str]"]:
    machine, source = reach.standpoint(name, address, via)
    command, environment = lab.command_inside(
        name,
        machine,
        [sys.executable, "-m", "lbctl.lab.meters.stream", address, str(port),
         "--settle", str(settle_s), "--source", source],
    )  # fmt: skip
    meter = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield meter
    finally:
        meter.kill()
        meter.wait()
        for pipe in (meter.stdin, meter.stdout):
            assert pipe is not None
            pipe.close()


def _say(meter: "subprocess.Popen[str]") -> None:
    assert meter.stdin is not None
    meter.stdin.write("\n")
    meter.stdin.flush()


def _line(meter: "subprocess.Popen[str]") -> dict[str, int]:
    assert meter.stdout is not None
    line = meter.stdout.readline()
    if not line:
        raise TroubleError("the client's meter ended early")
    parsed: dict[str, int] = json.loads(line)
    return parsed


def _kubectl(name: str, *arguments: str) -> str:
    done = lab.kubectl(name, arguments, capture_output=True)
    if done.returncode:
        raise TroubleError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return str(done.stdout)
