"""Render the reference pages of flags, commands and metrics from the code that implements them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from docs.generate.shapes import shapes
from lbctl.cli.main import root
from lbctl.controller import settings
from lbctl.run.flags import FlagParser, variable_of
from lbctl.run.metrics import METRICS_OF
from speaker import fastpath
from speaker import main as speaker

ABOUT = """# The lbctl command

Exit codes: 0 fine, 1 findings, 2 usage, 3 cannot reach.

Where to begin: `lbctl get services` shows what has no address or is not announced; `lbctl explain NAME` says why, walks the checklist from the Service's type to the Pods behind it, and names the first step that fails with the command that confirms it. `lbctl explain address|pool|node NAME` tells the same from the other end; `lbctl explain node NAME --service SERVICE` answers "why not this node". `lbctl doctor` asks whether the installation is whole and what it stands on is right: a check that could not be made is `unknown`, which is never `ok`, and only `failed` makes the exit code 1.

Tables are never wrapped. Colors appear on a terminal only; `NO_COLOR=1` turns them off.

Completion: `eval "$(lbctl completion bash)"` in `~/.bashrc`, the same with `zsh` in `~/.zshrc`, and `lbctl completion fish > ~/.config/fish/completions/lbctl.fish`. The scripts call `lbctl` with `_LBCTL_COMPLETE` set.

What the account needs that calls it: `list` on Services, Namespaces, Nodes, EndpointSlices and the kinds of `lbctl.io` (and `metallb.io`, where that is the API group). More answers need more: `list` on the Deployments of lbctl's namespace (API group and class of the controller), and for `lbctl explain` of a Service `list` on its Pods and `get` on `nodes/proxy` (the health of kube-proxy). `lbctl doctor` also lists CRDs, ServiceCIDRs, the Leases of lbctl's namespace, and Deployments and DaemonSets of every namespace, because another load balancer may be in any; it gets the ConfigMap `kube-system/kube-proxy`, and creates SubjectAccessReviews (`subjectaccessreviews.authorization.k8s.io`, verb `create`), which change nothing: they ask whether the accounts of the controller and the speaker have their rights. What is refused makes its check `unknown`, with the right that is missing.

As a kubectl plug-in: the package also installs the program `kubectl-lb`, so `kubectl lb get services` is `lbctl get services`.
""".splitlines()

JSON = (
    "`-o json` prints these values. Addresses, ranges and words are texts. Fields may be added; none "
    "is renamed, removed or given another meaning without a line in the changelog."
)


def generated() -> Mapping[Path, str]:
    """Return every page by its path below the checkout."""
    return {
        Path("docs/reference/flags.md"): flags(),
        Path("docs/reference/commands.md"): commands(),
        Path("docs/reference/metrics.md"): metrics(),
    }


def flags() -> str:
    """Return the flags of the processes in the cluster."""
    lines = [
        "# Flags",
        "",
        (
            "Each flag can also be given as an environment variable; the flag wins. A wrong value "
            "ends the process with one line on stderr and exit code 2."
        ),
        "",
    ]
    for parser in (settings.flag_parser({}), speaker.flag_parser({}), fastpath.flag_parser({})):
        lines += _process(parser)
    return "\n".join(lines).rstrip() + "\n"


def _process(parser: FlagParser) -> Iterator[str]:
    yield f"## {parser.prog}"
    yield ""
    yield str(parser.description)
    yield ""
    yield "| Flag | Variable | Default | Meaning |"
    yield "|---|---|---|---|"
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list flags
        if isinstance(action, argparse._HelpAction):  # noqa: SLF001 - as above
            continue
        flag = action.option_strings[-1]
        meaning = str(action.help).removesuffix(f" [{variable_of(flag)}]")
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
        default = "required" if action.required else _default(action.default)
        yield f"| `{flag}` | `{variable_of(flag)}` | {default} | {meaning}{choices} |"
    yield ""


def _default(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{getattr(value, 'api_group', value)}`"


def commands() -> str:
    """Return the help of every verb of `lbctl`, and the shapes of its JSON."""
    lines = [*ABOUT, ""]
    for words, command in _verbs(root, ("lbctl",)):
        context = click.Context(command, info_name=" ".join(words), terminal_width=90)
        lines += [f"## {' '.join(words)}", "", "```", command.get_help(context), "```", ""]
    lines += ["## JSON", "", JSON, "", *shapes()]
    return "\n".join(lines).rstrip() + "\n"


def _verbs(
    command: click.Command, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            assert verb is not None, "the group lists what it has"
            yield from _verbs(verb, (*words, name))


def metrics() -> str:
    """Return every metric that a process can expose."""
    lines = [
        "# Metrics",
        "",
        (
            "`lb-controller` and `lb-speaker` serve these at `/metrics`; the counters of "
            "`lb-fastpath` are among those of its node's `lb-speaker`, 10 s old at most. A metric "
            "whose name begins with `metallb_` has MetalLB's name, labels and meaning, so its "
            "dashboards and alerts go on working. Values are read when they are asked for: a "
            "series ends with the object that it is about."
        ),
        "",
    ]
    for process, table in METRICS_OF.items():
        lines += [f"## {process}", "", "| Name | Type | Labels | Meaning |", "|---|---|---|---|"]
        for metric in table:
            labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
            lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
