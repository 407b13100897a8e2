"""`lbctl lab routes`: what each router of a lab holds.

One row for each way to a prefix. Exit code 1 when a router could not be asked.
"""

import sys
from collections.abc import Iterator, Sequence

import click

from lbctl.cli.lab_words import name_option, told
from lbctl.cli.render import table, to_json
from lbctl.lab import routes as asking
from lbctl.lab.routes import RouterTable

_HEADER = ("ROUTER", "PREFIX", "NEXT HOP", "NODE", "LOCAL PREF", "USED")


@click.command()
@name_option
@click.option(
    "-o", "output", default="table", show_default=True, type=click.Choice(["table", "json"])
)
def routes(name: str, output: str) -> None:
    """Show what each router holds: its own table, and what of it its kernel uses.

    USED ways carry packets; several for one prefix share them. LOCAL PREF 0 has who asked to be
    the last choice (a node that is drained).
    """
    with told():
        found = asking.read(name)
    print(to_json(found) if output == "json" else text(found))
    if not found and output != "json":
        click.echo(f"lab {name} has no routers: lbctl lab up --routers", err=True)
    if any(one.error for one in found):
        sys.exit(1)


def text(found: Sequence[RouterTable]) -> str:
    """Return the routers' tables as one table of text."""
    return table(_HEADER, [row for one in found for row in _rows(one)])


def _rows(one: RouterTable) -> Iterator[tuple[str, ...]]:
    if one.error or not one.routes:
        yield one.router, one.error or "nothing", "", "", "", ""
    for route in one.routes:
        used = "yes" if route.used else "no"
        yield one.router, route.prefix, route.next_hop, route.node, str(route.local_pref), used
