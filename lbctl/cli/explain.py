"""`lbctl explain SERVICE`: why a Service has its address or none, and who announces it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from lbctl.cli.fetch import View, access_options, view
from lbctl.cli.render import EXIT_FINDINGS, EXIT_FINE, EXIT_USAGE, fail, plain, table, to_json
from lbctl.model.names import ServiceKey
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.plan.explain import (
    AddressExplanation,
    Sent,
    ServiceExplanation,
    advice,
    explain_service,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("service")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-o", "output", default="text", type=click.Choice(["text", "json"]))
@access_options
def explain(service: str, namespace: str, output: str, **access: Any) -> None:
    """Say why SERVICE (NAME or NAMESPACE/NAME) has its address or none, and who announces it.

    Exit codes: 0 all is well, 1 there is something to repair, 2 wrong usage or no such Service,
    3 the API server cannot be reached.
    """
    inside, _, name = service.rpartition("/")
    key = ServiceKey(inside or namespace, name)
    found = view(access)
    explanation = explained(found, key)
    if explanation is None:
        fail(f"there is no Service {key}; see `kubectl get services -A`", EXIT_USAGE)
    if output == "json":
        print(to_json({**plain(explanation), "fine": explanation.fine}))
    else:
        print("\n".join(text(explanation, access["lbctl_namespace"])))
    sys.exit(EXIT_FINE if explanation.fine else EXIT_FINDINGS)


def explained(found: View, key: ServiceKey) -> ServiceExplanation | None:
    """Return the explanation of a Service, or None if there is no such Service."""
    service = found.snapshot.services.get(key)
    if service is None:
        return None
    sent = tuple(
        Sent(node=status.node, interfaces=status.interfaces, addresses=status.addresses)
        for status in found.sent.get(key, ())
    )
    return explain_service(service, found.plan.outcomes[key], found.announcement, sent)


def text(explanation: ServiceExplanation, lbctl_namespace: str) -> Iterator[str]:
    """Yield the lines that a person reads, most important first."""
    policy = f", externalTrafficPolicy {explanation.policy}" if explanation.ours else ""
    yield f"Service {explanation.service} ({explanation.type}{policy})"
    yield f"  {explanation.reason}: {explanation.detail}"
    if explanation.reason is not Reason.ALLOCATED:
        yield from _advice(explanation.reason, explanation.service, lbctl_namespace)
    if explanation.allocated and explanation.allocated != explanation.shown:
        yield "  The status does not show this yet; the controller writes it."
    if explanation.trace:
        yield "  Pools tried:"
        rows = [(one.pool, one.reason or "yes", one.detail) for one in explanation.trace]
        yield _indented(table(("POOL", "ANSWER", "DETAIL"), rows))
    for address in explanation.addresses:
        yield from _address(address, explanation.service, lbctl_namespace)


def _address(one: AddressExplanation, service: ServiceKey, lbctl_namespace: str) -> Iterator[str]:
    yield f"Address {one.address}"
    if one.owner:
        yield f"  intent: node {one.owner} announces it on {', '.join(one.links)}"
    elif one.refused is not None:
        yield f"  nobody announces it: {one.refused.reason}: {one.refused.detail}"
        yield from _advice(one.refused.reason, service, lbctl_namespace)
    if one.sent is not None:
        links = ", ".join(one.sent.interfaces) or "every interface"
        yield f"  sent: node {one.sent.node} says that it announces on {links}"
    else:
        yield "  sent: no speaker says that it announces it"
    if one.endpoints is not None:
        yield f"  endpoints: {one.endpoints}"
    if one.candidates:
        rows = [
            (c.node, "yes" if c.announces else "no", c.reason, c.detail) for c in one.candidates
        ]
        yield _indented(table(("NODE", "ANNOUNCES", "REASON", "DETAIL"), rows))


def _advice(reason: Reason, service: ServiceKey, lbctl_namespace: str) -> Iterator[str]:
    cause, check, cure = advice(reason, service=service, lbctl_namespace=lbctl_namespace)
    yield f"    {EXPLANATIONS[reason].title}. {cause}"
    yield f"    check: {check}"
    yield f"    cure:  {cure}"


def _indented(block: str) -> str:
    return "\n".join("    " + line for line in block.splitlines())
