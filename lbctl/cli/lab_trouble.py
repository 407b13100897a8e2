"""The verbs of `lbctl lab` that use the cluster from outside: client, demo, and trouble.

`break`, `cut`, `drain` and `reboot` measure what the client sees of a Service meanwhile and print
it, if a Service is named with --service.
"""

import sys
from collections.abc import Callable, Sequence

import click

from lbctl.cli.lab_words import name_option, say, told, via_option
from lbctl.cli.render import table, to_json
from lbctl.lab import demo as demonstration
from lbctl.lab import lab as labs
from lbctl.lab import reach, records, trouble
from lbctl.lab.install import install
from lbctl.lab.reach import Answer
from lbctl.lab.records import Progress
from lbctl.lab.spec import LabSpec, Router

output_option = click.option(
    "-o", "output", default="table", show_default=True, type=click.Choice(["table", "json"])
)
Act = Callable[[str, str, Progress], None]


@click.command()
@name_option
@output_option
@via_option
@click.option("--within", default=20.0, show_default=True, help="Seconds to wait for an answer.")
@click.argument("service")
def client(name: str, output: str, via: Router | None, within: float, service: str) -> None:
    """Ask every address of SERVICE (NAMESPACE/NAME) from the client's machine.

    To run a command there instead: lbctl lab run client -- CMD. With --via the client is the
    machine remote, behind the routers.
    """
    with told():
        target = reach.find(name, service)
        if not target.addresses:
            raise reach.ReachError(f"{service} has no address; see `lbctl explain {service}`")
        _show(reach.ask(name, target, within_s=within, via=via), output)


@click.command()
@name_option
@output_option
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 9))
def demo(name: str, output: str, nodes: int) -> None:
    """Make a lab, install lbctl, create Services, and ask them from outside the cluster.

    Exit code 0 only when the client was answered at every address.
    """
    with told():
        progress = say()
        labs.up(LabSpec(name=name, directory=records.directory(name), nodes=nodes), progress)
        install(name, progress)
        answers = demonstration.run(name, progress)
        progress(f"the lab stays up; remove it with: lbctl lab down --name {name}")
        _show(answers, output)


def _trouble(verb: str, act: Act, sentence: str) -> click.Command:
    @click.command(name=verb, help=sentence)
    @name_option
    @output_option
    @via_option
    @click.option("--service", default=None, help="NAMESPACE/NAME to ask meanwhile.")
    @click.argument("node")
    def command(name: str, output: str, via: Router | None, service: str | None, node: str) -> None:
        with told():
            progress = say()
            if service is None:
                act(name, node, progress)
                return
            gap = trouble.measured(
                name, service, lambda: act(name, node, progress), progress, via=via
            )
            print(gap if output == "table" else to_json(gap))

    return command


@click.command()
@name_option
@click.argument("node")
def heal(name: str, node: str) -> None:
    """Undo break, cut and drain of NODE; return when it is Ready."""
    with told():
        trouble.heal(name, node, say())


def _show(answers: Sequence[Answer], output: str) -> None:
    """Print the answers and end with 1 unless every address answered."""
    if output == "json":
        print(to_json(answers))
    else:
        header = (
            "SERVICE",
            "POLICY",
            "ADDRESS",
            "ANNOUNCED BY",
            "MAC",
            "POD",
            "ON NODE",
            "POD SAW",
        )
        rows = [
            (
                one.service,
                one.policy,
                one.address,
                one.announcer or "?",
                one.mac or "?",
                one.pod or f"no answer: {one.error}",
                one.pod_node,
                one.client_seen,
            )
            for one in answers
        ]
        print(table(header, rows))
    if not answers or any(one.error for one in answers):
        sys.exit(1)


VERBS = (
    client,
    demo,
    _trouble("break", trouble.power_cut, "Cut NODE's power; its disk stays."),
    _trouble("cut", trouble.cut, "Pull NODE's network cable."),
    _trouble("drain", trouble.drain, "Ask NODE's speaker to give its addresses away."),
    _trouble("reboot", trouble.reboot, "Cut NODE's power and boot it again."),
    heal,
)
