"""`lbctl lab`: bring a lab up, work in it, take it down.

Talk goes to stderr, data to stdout. `kubectl` and `run` end with the exit code of what they ran.
Exit codes otherwise: 1 the lab could not do it, 2 usage, 3 there is no such lab.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

import click

from lbctl.cli import lab_trouble
from lbctl.cli.lab_routes import routes
from lbctl.cli.lab_words import PASS_ON, name_option, routers_option, say, told
from lbctl.lab import lab as labs
from lbctl.lab import records
from lbctl.lab.install import install
from lbctl.lab.spec import NODE_ASN, ImageMode, LabSpec, Router
from lbctl.lab.status import LabStatus


@click.group(name="lab", context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """A real Kubernetes cluster on this machine, in one command. Needs root.

    \b
    Machines: lan (switch and gateway), cp (control plane), node1 .. nodeN, client;
    with routers: frr, bird, gobgp, and remote, a client behind them.
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
@routers_option("")
@click.option("--ecmp", is_flag=True, help="Routers use all next hops of a prefix at once.")
@click.option(
    "--asn",
    default=NODE_ASN,
    show_default=True,
    help="The nodes' AS number; routers expect it of every node.",
)
@click.option("--install", "with_lbctl", is_flag=True, help="Install lbctl in it as well.")
def up(
    *,
    name: str,
    nodes: int,
    images: str,
    node_grace: int,
    routers: tuple[Router, ...],
    ecmp: bool,
    asn: int,
    with_lbctl: bool,
) -> None:
    """Make a lab and wait until its nodes are Ready. A lab that is up stays as it is.

    With --routers the lab also has a client behind them, `remote`, and `kubectl apply` of the
    file that the command names makes every node call them.
    """
    with told():
        spec = LabSpec(
            name=name,
            directory=records.directory(name),
            nodes=nodes,
            images=ImageMode(images),
            node_grace_s=node_grace,
            routers=routers,
            ecmp=ecmp,
            asn=asn,
        )
        progress = say()
        labs.up(spec, progress)
        if with_lbctl:
            install(name, progress)
        else:
            progress(f"lbctl is not in it yet: lbctl lab install --name {name}")
        if routers:
            progress(f"the routers as BGPPeer objects, to apply: {records.load(name).peers}")


@lab.command(name="install")
@name_option
@click.option("--set", "values", multiple=True, help="A value of the chart, as helm's --set.")
def install_(name: str, values: tuple[str, ...]) -> None:
    """Install lbctl in a lab with its Helm chart, from an image packed of this checkout.

    Again after a change: the pods are replaced by ones of the new image.
    """
    with told():
        install(name, say(), values=values)


@lab.command()
@name_option
def down(name: str) -> None:
    """Remove a lab without a trace, also one whose `up` was interrupted."""
    with told():
        labs.down(name, say())


@lab.command()
@click.option("--name", default=None, envvar="LBCTL_LAB", help="Which lab; all without it.")
@click.option(
    "-o", "output", default="table", show_default=True, type=click.Choice(["table", "json"])
)
def status(name: str | None, output: str) -> None:
    """Show machines, their programs and cables; of all labs, also beside one that is broken."""
    found, broken = [], []
    with told():
        for each in [name] if name else records.names():
            try:
                found.append(labs.status(each))
            except (records.NoLabError, *labs.FAILURES) as error:
                if name:
                    raise
                broken.append(f"lbctl lab: {error}")
    if output == "json":
        click.echo(json.dumps([asdict(each) for each in found], indent=1, default=str))
    else:
        for one in found:
            click.echo("\n".join(_lines(one)))
    for line in broken:
        click.echo(line, err=True)
    if broken:
        sys.exit(1)
    if not found and output != "json":
        click.echo("no lab is up", err=True)


@lab.command(context_settings=PASS_ON)
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, arguments: tuple[str, ...]) -> None:
    """Run kubectl as the cluster's administrator."""
    with told():
        sys.exit(labs.kubectl(name, arguments).returncode)


@lab.command(context_settings=PASS_ON)
@name_option
@click.argument("machine")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, machine: str, command: tuple[str, ...]) -> None:
    """Run COMMAND inside MACHINE; on client and remote, in their network."""
    with told():
        words = command[1:] if command[0] == "--" else command
        sys.exit(labs.run(name, machine, words).returncode)


@lab.command()
@name_option
def kubeconfig(name: str) -> None:
    """Print the path of the administrator's kubeconfig: export KUBECONFIG=$(lbctl lab kubeconfig)."""
    with told():
        click.echo(records.load(name).kubeconfig)


for _verb in (*lab_trouble.VERBS, routes):
    lab.add_command(_verb)


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
