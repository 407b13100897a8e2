"""The `lbctl` command: finds the verb, and nothing else.

Verbs are modules that are imported when they are used, so `lbctl --help` does not wait for the
Kubernetes client. A verb's module has the click command under the verb's name. To add one, add a
row to VERBS.

Exit codes (HOUSE 11): 0 fine, 1 findings, 2 usage, 3 cannot reach.
"""

import importlib
from collections.abc import Sequence
from typing import NamedTuple

import click


class Verb(NamedTuple):
    """Where a verb is, and its line in the help, which must not need the import."""

    module: str
    help: str


VERBS = {
    "get": Verb("lbctl.cli.get", "Services, pools or nodes as lbctl sees them."),
    "explain": Verb(
        "lbctl.cli.explain", "Why a Service has its address or none, and who announces it."
    ),
    "lab": Verb("lbctl.cli.lab", "A real Kubernetes cluster on this machine, in one command."),
}


class LazyVerbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx  # the same verbs for everybody
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = getattr(importlib.import_module(verb.module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.command(cls=LazyVerbs, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """A LoadBalancer for bare-metal Kubernetes that explains itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the console script `lbctl`."""
    root.main(args=None if arguments is None else list(arguments), prog_name="lbctl")
