"""The verbs of `lbctl lab` that use the cluster from outside: client, demo, and trouble.

`break`, `cut`, `drain` and `reboot` measure what the client sees of a Service meanwhile and print
it, if a Service is named with --service.
"""

import sys
from collections.abc import Callable, Sequence

import click

from lbctl.cli.lab_routes import text as routes_text
from lbctl.cli.lab_words import name_option, routers_option, say, told, via_option
from lbctl.cli.render import table, to_json
from lbctl.lab import demo as demonstration
from lbctl.lab import demo_bgp, reach, records, trouble
from lbctl.lab import lab as labs
from lbctl.lab.demo_bgp import BgpPart
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
        answers = reach.ask(name, target, within_s=within, via=via)
    print(to_json(answers) if output == "json" else _table(answers))
    _end(answers)


@click.command()
@name_option
@output_option
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 9))
@routers_option(",".join(Router))
def demo(name: str, output: str, nodes: int, routers: tuple[Router, ...]) -> None:
    """Make a lab, install lbctl, create Services, and ask them from outside the cluster.

    First on the nodes' own LAN, then, unless --routers is none, from behind BGP routers that use
    several nodes for each address; what a client there sees of a node that is drained and of one
    that is cut off is measured. Exit code 0 only when the client was answered at every address.
    """
    with told():
        progress = say()
        spec = LabSpec(
            name=name,
            directory=records.directory(name),
            nodes=nodes,
            routers=routers,
            ecmp=bool(routers),
        )
        labs.up(spec, progress)
        install(name, progress)
        answers = demonstration.run(name, progress)
        bgp = demo_bgp.run(name, progress) if routers else _NO_BGP
        progress(f"the lab stays up; remove it with: lbctl lab down --name {name}")
    if output == "json":
        print(to_json({"answers": answers, "bgp": bgp}))
    else:
        print(_table(answers))
        if routers:
            print(_bgp(bgp))
    _end([*answers, *bgp.answers])


_NO_BGP = BgpPart(answers=(), routers=(), gaps=())


def _bgp(found: BgpPart) -> str:
    gaps = [f"{one.event} of {one.node}, seen through {one.via}: {one.gap}" for one in found.gaps]
    return "\n".join(["", routes_text(found.routers), "", _table(found.answers), "", *gaps])


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


def _table(answers: Sequence[Answer]) -> str:
    header = ("SERVICE", "POLICY", "ADDRESS", "ANNOUNCED BY", "MAC", "POD", "ON NODE", "POD SAW")
    rows = [
        (
            one.service,
            one.policy,
            one.address,
            one.announcer or "?",
            f"via {one.via}" if one.via else one.mac or "?",
            one.pod or f"no answer: {one.error}",
            one.pod_node,
            one.client_seen,
        )
        for one in answers
    ]
    return table(header, rows)


def _end(answers: Sequence[Answer]) -> None:
    """End with 1 unless every address answered."""
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
