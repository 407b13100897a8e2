"""The `lbctl` command: finds the verb, and nothing else.

Verbs are modules that are imported when they are used, so `lbctl --help` does not wait for the
Kubernetes client. A verb's module has the click command under the verb's name. To add one, add a
row to VERBS.

The same program is `kubectl lb` when it is called as `kubectl-lb` (a kubectl plug-in is a program
of that name in the PATH); help and usage then show that name. Completion is click's, driven by
the variable _LBCTL_COMPLETE; `lbctl completion SHELL` prints the script that sets it up.

Exit codes (HOUSE 11): 0 fine, 1 findings, 2 usage, 3 cannot reach.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

COMPLETE_VARIABLE = "_LBCTL_COMPLETE"


class Verb(NamedTuple):
    """Where a verb is, and its line in the help, which must not need the import."""

    module: str
    help: str


VERBS = {
    "get": Verb(
        "lbctl.cli.get", "Services, addresses, pools, nodes, BGP peers, sessions and routes."
    ),
    "explain": Verb(
        "lbctl.cli.explain",
        "Why a Service, an address, a pool, a node or a BGP peer is as it is, and what to do.",
    ),
    "doctor": Verb("lbctl.cli.doctor", "Check the installation and what it stands on."),
    "lab": Verb("lbctl.cli.lab", "A real Kubernetes cluster on this machine, in one command."),
    "completion": Verb("lbctl.cli.completion", "Print the completion script of a shell."),
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the verbs without importing them; options come from click."""
        verbs = [
            CompletionItem(name, help=verb.help)
            for name, verb in VERBS.items()
            if name.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.command(cls=LazyVerbs, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """A LoadBalancer for bare-metal Kubernetes that explains itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the console scripts `lbctl` and `kubectl-lb`."""
    root.main(
        args=None if arguments is None else list(arguments),
        prog_name=called_by(sys.argv[0]),
        complete_var=COMPLETE_VARIABLE,
    )


def called_by(program: str) -> str:
    """Return the name that people typed to start `program`."""
    return "kubectl lb" if Path(program).stem in ("kubectl-lb", "kubectl_lb") else "lbctl"
