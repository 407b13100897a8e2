"""`lbctl explain`: why a Service, an address, a pool, a node or a BGP peer is as it is.

One word is the name of a Service, whatever the word; two words are a kind and a name. So a
Service called `pool` is still explained by `lbctl explain pool`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from lbctl.cli import explain_bgp_text, explain_text
from lbctl.cli.backing import backing
from lbctl.cli.fetch import access_options, view
from lbctl.cli.render import EXIT_FINDINGS, EXIT_FINE, EXIT_USAGE, fail, plain, to_json
from lbctl.cli.scope import (
    Scope,
    View,
    about_address,
    about_node,
    about_peers,
    about_pools,
    about_service,
    whole,
)
from lbctl.kube.crds.service_l2_status import sent_of
from lbctl.kube.groups import OWN_VERSION
from lbctl.model.address import Address, parse_address
from lbctl.model.names import NodeName, ServiceKey
from lbctl.model.pods import NOTHING_ASKED
from lbctl.plan.address_uses import explain_address
from lbctl.plan.announced import Sent
from lbctl.plan.checklist import Checklist, checklist
from lbctl.plan.explain import ServiceExplanation, explain_service
from lbctl.plan.explain_node import explain_node
from lbctl.plan.explain_peer import explain_peer, peer_key
from lbctl.plan.explain_pool import explain_pool, pool_key

_ASKED: Final = 3
"""Nodes that tell BGP peers whose kube-proxy is asked for its health."""


def _complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the kinds as the first word; names would need the API server."""
    if ctx.params.get("words"):
        return []
    return [CompletionItem(kind) for kind in KINDS if kind.startswith(incomplete)]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="[service|address|pool|node] NAME",
    shell_complete=_complete,
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Of the Service.")
@click.option("-o", "output", default="text", type=click.Choice(["text", "json"]))
@click.option("--service", default=None, help="With node: why not that node for this Service.")
@access_options
def explain(
    words: tuple[str, ...], namespace: str, output: str, service: str | None, **access: Any
) -> None:
    """Say why a Service, an address, a pool, a node or a BGP peer is as it is.

    A Service (NAME or NAMESPACE/NAME) is meant where no kind is given: why it has its address or
    none, who announces it, and which step of the way fails first. Of an address: who has it, or
    why nobody. Of a pool: whether it is in effect, who may use it, who tells of it. Of a node:
    whether it may announce, and what it announces. Of a peer: its sessions, node by node, and
    what to do about those that do not stand.

    Exit codes: 0 all is well, 1 there is something to repair, 2 wrong usage or no such object,
    3 the API server cannot be reached.
    """
    kind, name = _target(words)
    if service is not None and kind != "node":
        fail("--service goes with `explain node NAME`", EXIT_USAGE)
    key = _service_key(service, namespace) if service is not None else None
    found = view(access, scope_of(kind, name, namespace, key))
    lines, fine, data = KINDS[kind](found, name, namespace, key)
    print(to_json({**data, "fine": fine}) if output == "json" else "\n".join(lines))
    sys.exit(EXIT_FINE if fine else EXIT_FINDINGS)


def explained(found: View, key: ServiceKey, *, brief: bool = False) -> ServiceExplanation | None:
    """Return the explanation of a Service, or None if there is no such Service."""
    service = found.snapshot.services.get(key)
    if service is None:
        return None
    outcome = found.plan.outcomes[key]
    return explain_service(
        service,
        outcome,
        found.announcement,
        sent_for(found, key),
        found.telling,
        brief=brief,
    )


def sent_for(found: View, key: ServiceKey) -> tuple[Sent, ...]:
    """Return what speakers say they have put on the wire for a Service."""
    return tuple(map(sent_of, found.sent.get(key, ())))


def sent_by_service(found: View) -> Mapping[ServiceKey, tuple[Sent, ...]]:
    """Return what speakers say they have put on the wire, for every Service."""
    return {key: sent_for(found, key) for key in found.sent}


def scope_of(kind: str, name: str, namespace: str, asked: ServiceKey | None) -> Scope:
    """Return what reads as much of the world as the question needs."""
    match kind:
        case "service":
            return partial(about_service, key=_service_key(name, namespace))
        case "address":
            return partial(about_address, address=_parsed(name))
        case "pool":
            return about_pools
        case "node" if asked is None:
            return partial(about_node, node=NodeName(name))
        case "peer":
            return about_peers
        case _:
            return whole


Answer = tuple[Iterable[str], bool, dict[str, Any]]
"""The lines for people, whether there is nothing to repair, and the value as JSON."""


def _target(words: tuple[str, ...]) -> tuple[str, str]:
    kind, name = ("service", words[0]) if len(words) == 1 else (words[0], words[1])
    if len(words) > 2 or kind not in KINDS:
        kinds = ", ".join(KINDS)
        said = " ".join(words)
        fail(f"say the NAME of a Service, or one of {kinds} and a NAME: not {said!r}", EXIT_USAGE)
    return kind, name


def _service_key(name: str, namespace: str) -> ServiceKey:
    inside, _, bare = name.rpartition("/")
    return ServiceKey(inside or namespace, bare)


def _service(found: View, name: str, namespace: str, _: ServiceKey | None) -> Answer:
    key = _service_key(name, namespace)
    explanation = explained(found, key)
    if explanation is None:
        fail(f"there is no Service {key}; see `kubectl get services -A`", EXIT_USAGE)
    steps = _checklist(found, explanation)
    lines = explain_text.service(explanation, steps, found.access.place)
    fine = explanation.fine and steps.fails_first is None
    return lines, fine, {**plain(explanation), "checklist": plain(steps.steps)}


def _checklist(found: View, explanation: ServiceExplanation) -> Checklist:
    key = explanation.service
    service = found.snapshot.services[key]
    owners = [one.owner for one in explanation.addresses if one.owner is not None]
    for one in explanation.addresses:
        # Of a hundred nodes that all tell their peers a few are enough to ask.
        owners += sorted(found.telling.nodes(key, one.address))[:_ASKED]
    return checklist(
        service,
        explanation,
        found.announcement,
        found.snapshot.slices.get(key, {}),
        backing(found.access, service, owners=owners, nodes=found.snapshot.nodes)
        if explanation.ours
        else NOTHING_ASKED,
        telling=found.telling,
        place=found.access.place,
    )


def _address(found: View, name: str, _: str, __: ServiceKey | None) -> Answer:
    facts = explain_address(
        _parsed(name),
        found.snapshot,
        found.plan,
        found.announcement,
        sent_by_service(found),
        telling=found.telling,
    )
    return explain_text.address(facts, found.access.place), facts.fine, plain(facts)


def _parsed(name: str) -> Address:
    address = parse_address(name)
    if address is None:
        fail(f"{name!r} is not an address such as 192.0.2.130 or 2001:db8::1", EXIT_USAGE)
    return address


def _pool(found: View, name: str, _: str, __: ServiceKey | None) -> Answer:
    key = pool_key(name, found.snapshot)
    if key is None:
        fail(
            f"there is no pool {name} in namespace {found.access.lbctl_namespace}; see "
            f"`lbctl get pools{found.access.place.elsewhere}`",
            EXIT_USAGE,
        )
    api_version = f"{found.access.api_group}/{OWN_VERSION}"
    facts = explain_pool(
        key, found.snapshot, found.plan, found.announcement, api_version=api_version
    )
    return explain_text.pool(facts), facts.fine, plain(facts)


def _node(found: View, name: str, _: str, asked: ServiceKey | None) -> Answer:
    if name not in found.snapshot.nodes:
        fail(f"there is no node {name}; see `kubectl get nodes`", EXIT_USAGE)
    explanation = explained(found, asked) if asked is not None else None
    if asked is not None and explanation is None:
        fail(f"there is no Service {asked}; see `kubectl get services -A`", EXIT_USAGE)
    facts = explain_node(
        NodeName(name),
        found.snapshot,
        found.announcement,
        sent_by_service(found),
        explanation,
        telling=found.telling,
    )
    return explain_text.node(facts, found.access.place), facts.fine, plain(facts)


def _peer(found: View, name: str, _: str, __: ServiceKey | None) -> Answer:
    key = peer_key(name, found.snapshot)
    if key is None:
        fail(
            f"there is no BGPPeer {name} in namespace {found.access.lbctl_namespace}; see "
            f"`lbctl get peers{found.access.place.elsewhere}`",
            EXIT_USAGE,
        )
    facts = explain_peer(key, found.telling)
    return explain_bgp_text.peer(facts, found.access.place), facts.fine, plain(facts)


KINDS: Mapping[str, Callable[[View, str, str, ServiceKey | None], Answer]] = {
    "service": _service,
    "address": _address,
    "pool": _pool,
    "node": _node,
    "peer": _peer,
}
