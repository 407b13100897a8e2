"""`lbctl lab`: bring a lab up, work in it, take it down.

Talk goes to stderr, data to stdout. `kubectl` and `run` end with the exit code of what they ran.
Exit codes otherwise: 1 the lab could not do it, 2 usage, 3 there is no such lab.
"""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TypeVar

import click

from lbctl.lab import lab as labs
from lbctl.lab import records
from lbctl.lab.install import InstallError, install
from lbctl.lab.records import NoLabError
from lbctl.lab.spec import ImageMode, LabSpec, SpecError
from lbctl.lab.status import LabStatus

DEFAULT_NAME = "demo"

_Command = TypeVar("_Command", bound=Callable[..., object])
_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def name_option(command: _Command) -> _Command:
    """Give a command the option --name."""
    return click.option(
        "--name",
        default=DEFAULT_NAME,
        show_default=True,
        envvar="LBCTL_LAB",
        help="Which lab; several run at once under different names.",
    )(command)


@click.group(name="lab", context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """A real Kubernetes cluster on this machine, in one command. Needs root.

    \b
    Machines: lan (switch and gateway), cp (control plane), node1 .. nodeN, client.
    """  # noqa: D301 - \b keeps click from joining the lines


@lab.command()
@name_option
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 9))
@click.option(
    "--images",
    default=ImageMode.ECHO.value,
    show_default=True,
    type=click.Choice([mode.value for mode in ImageMode]),
    help="Images other than the lab's own: the echo stand-in, or real registries.",
)
@click.option(
    "--node-grace",
    default=10,
    show_default=True,
    type=click.IntRange(4, 300),
    help="Seconds until a silent node is NotReady. Kubernetes' own default is 40.",
)
@click.option("--no-install", is_flag=True, help="A bare cluster, without lbctl in it.")
def up(name: str, nodes: int, images: str, node_grace: int, no_install: bool) -> None:
    """Make a lab, wait until its nodes are Ready, and install lbctl in it.

    A lab that is up stays as it is; lbctl in it follows this checkout.
    """
    with _told():
        spec = LabSpec(
            name=name,
            directory=records.directory(name),
            nodes=nodes,
            images=ImageMode(images),
            node_grace_s=node_grace,
        )
        say = _say()
        labs.up(spec, say)
        if not no_install:
            install(name, say)


@lab.command()
@name_option
def down(name: str) -> None:
    """Remove a lab without a trace, also one whose `up` was interrupted."""
    with _told():
        labs.down(name, _say())


@lab.command()
@click.option("--name", default=None, envvar="LBCTL_LAB", help="Which lab; all without it.")
@click.option(
    "-o", "output", default="table", show_default=True, type=click.Choice(["table", "json"])
)
def status(name: str | None, output: str) -> None:
    """Show machines, their programs and cables."""
    with _told():
        found = [labs.status(each) for each in ([name] if name else records.names())]
    if output == "json":
        click.echo(json.dumps([asdict(each) for each in found], indent=1, default=str))
        return
    for each in found:
        click.echo("\n".join(_lines(each)))
    if not found:
        click.echo("no lab is up", err=True)


@lab.command(context_settings=_PASS_ON)
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, arguments: tuple[str, ...]) -> None:
    """Run kubectl as the cluster's administrator."""
    with _told():
        sys.exit(labs.kubectl(name, arguments).returncode)


@lab.command(context_settings=_PASS_ON)
@name_option
@click.argument("machine")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, machine: str, command: tuple[str, ...]) -> None:
    """Run COMMAND inside MACHINE; on the client, in its network."""
    with _told():
        sys.exit(labs.run(name, machine, command).returncode)


@lab.command()
@name_option
def kubeconfig(name: str) -> None:
    """Print the path of the administrator's kubeconfig: export KUBECONFIG=$(lbctl lab kubeconfig)."""
    with _told():
        click.echo(records.load(name).kubeconfig)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what can go wrong into one message and an exit code."""
    try:
        yield
    except SpecError as error:
        _fail(error, 2)
    except NoLabError as error:
        _fail(error, 3)
    except (InstallError, *labs.FAILURES) as error:
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    click.echo(f"lbctl lab: {error}", err=True)
    sys.exit(code)


def _say() -> Callable[[str], None]:
    """Return where progress goes: stderr, each line with the seconds since the start."""
    # A polite end is an ordinary end of the interpreter, which closes what is open.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    return lambda line: click.echo(f"{time.monotonic() - begun:6.1f} s  {line}", err=True)


def _lines(found: LabStatus) -> Iterator[str]:
    state = "up" if found.complete else "incomplete"
    yield f"lab {found.name}: {state}, KUBECONFIG={found.kubeconfig}"
    for machine in found.machines:
        power = "-" if machine.running is None else "on" if machine.running else "off"
        plug = "-" if machine.plugged is None else "plugged" if machine.plugged else "unplugged"
        ready = {None: "", True: "Ready", False: "NotReady"}[machine.ready]
        yield f"  {machine.name:8} {machine.ipv4:12} {machine.ipv6:18} {power:4} {plug:10} {ready}"
        for program in machine.programs:
            yield f"    {program.name:26} {program.state:12} starts {program.starts}"
