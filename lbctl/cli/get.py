"""`lbctl get services|addresses|pools|nodes`: the decisions in one line each.

The targets that are about BGP are in `lbctl.cli.get_bgp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from lbctl.cli.explain import explained, sent_by_service
from lbctl.cli.fetch import access_options, view
from lbctl.cli.get_bgp import peers, routes, sessions
from lbctl.cli.render import output_option, print_rows
from lbctl.cli.scope import View, about_pools
from lbctl.model.names import PoolName
from lbctl.model.reason import Reason
from lbctl.plan.address_uses import AddressUse, address_uses
from lbctl.plan.explain_node import speaker_word


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    namespace: str
    name: str
    addresses: tuple[str, ...]
    reason: str
    announced_by: tuple[str, ...]
    """The nodes that are to announce it by ARP and NDP."""
    peers: tuple[str, ...]
    """The BGP peers that have confirmed it."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRow:
    address: str
    pool: str
    services: tuple[str, ...]
    """All that share it."""
    owner: str
    """The node that is to announce it; empty if none."""
    sent: tuple[str, ...]
    """The nodes whose speakers say that they announce it."""
    peers: tuple[str, ...]
    """The BGP peers that have confirmed it."""
    reason: str
    """`Announced`, or why nobody announces it."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    name: str
    accepted: bool
    assigned_ipv4: int
    available_ipv4: int
    assigned_ipv6: int
    available_ipv6: int
    auto_assign: bool | None
    """None when the object cannot be read."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    node: str
    ready: bool
    speaker: str
    """`up`, `draining`, `no fast path` or `none`."""
    announces: int
    links: tuple[str, ...]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def get() -> None:
    """Show Services, addresses, pools, nodes, or BGP's peers, sessions and routes."""


for command in (peers, sessions, routes):
    get.add_command(command)


@get.command()
@click.option("-n", "--namespace", default=None, help="One namespace; all without it.")
@click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces (the default).")
@output_option
@access_options
def services(namespace: str | None, all_namespaces: bool, output: str, **access: Any) -> None:
    """Show Services of type LoadBalancer: address, reason and announcing node."""
    rows = service_rows(view(access), None if all_namespaces else namespace)
    lines = [
        (
            row.namespace,
            row.name,
            ",".join(row.addresses) or "-",
            row.reason,
            _ways(row.announced_by, row.peers),
            row.detail,
        )
        for row in rows
    ]
    header = ("NAMESPACE", "NAME", "ADDRESSES", "REASON", "ANNOUNCED BY", "DETAIL")
    print_rows(rows, header, lines, output)


@get.command()
@output_option
@access_options
def addresses(output: str, **access: Any) -> None:
    """Show addresses in use: who shares them, who is to announce them, who says that it does."""
    rows = address_rows(view(access))
    lines = [
        (
            row.address,
            row.pool or "-",
            ",".join(row.services) or "-",
            row.owner or "-",
            _ways(row.sent, row.peers),
            row.reason,
            row.detail,
        )
        for row in rows
    ]
    header = ("ADDRESS", "POOL", "SERVICES", "OWNER", "SENT", "REASON", "DETAIL")
    print_rows(rows, header, lines, output)


@get.command()
@output_option
@access_options
def pools(output: str, **access: Any) -> None:
    """Show pools: whether they are in effect, and how many addresses are left."""
    rows = pool_rows(view(access, about_pools))
    lines = [
        (
            row.name,
            "yes" if row.accepted else "no",
            f"{row.assigned_ipv4}/{row.assigned_ipv4 + row.available_ipv4}",
            f"{row.assigned_ipv6}/{row.assigned_ipv6 + row.available_ipv6}",
            {True: "yes", False: "no", None: "?"}[row.auto_assign],
            row.detail,
        )
        for row in rows
    ]
    header = ("NAME", "ACCEPTED", "IPV4 USED", "IPV6 USED", "AUTO ASSIGN", "DETAIL")
    print_rows(rows, header, lines, output)


@get.command()
@output_option
@access_options
def nodes(output: str, **access: Any) -> None:
    """Show nodes: whether their speaker works, and how many addresses they announce."""
    rows = node_rows(view(access))
    lines = [
        (
            row.node,
            "yes" if row.ready else "no",
            row.speaker,
            str(row.announces),
            ", ".join(row.links),
        )
        for row in rows
    ]
    print_rows(rows, ("NODE", "READY", "SPEAKER", "ANNOUNCES", "LINKS"), lines, output)


def _ways(nodes: tuple[str, ...], told: tuple[str, ...]) -> str:
    return ",".join((*nodes, *(f"BGP:{peer}" for peer in told))) or "-"


def service_rows(found: View, namespace: str | None) -> list[ServiceRow]:
    """Return a row for every LoadBalancer Service, by namespace and name."""
    rows = []
    for key, service in sorted(found.snapshot.services.items()):
        if service.type != "LoadBalancer" or (namespace and key.namespace != namespace):
            continue
        explanation = explained(found, key, brief=True)
        assert explanation is not None, "the key is of this snapshot"
        owners = tuple(dict.fromkeys(str(a.owner) for a in explanation.addresses if a.owner))
        silent = next((a.refused for a in explanation.addresses if a.refused is not None), None)
        healthy = explanation.reason in (Reason.ALLOCATED, Reason.PARTIALLY_ALLOCATED)
        rows.append(
            ServiceRow(
                namespace=key.namespace,
                name=key.name,
                addresses=tuple(str(address) for address in explanation.shown),
                reason=str(silent.reason if silent and healthy else explanation.reason),
                announced_by=owners,
                peers=tuple(
                    dict.fromkeys(str(peer) for a in explanation.addresses for peer in a.told)
                ),
                detail=silent.detail if silent and healthy else explanation.detail,
            )
        )
    return rows


def address_rows(found: View) -> list[AddressRow]:
    """Return a row for every address that is given or shown, in the order of addresses."""
    uses = address_uses(found.plan, found.announcement, sent_by_service(found), found.telling)
    return [_address_row(use) for use in uses]


def _address_row(use: AddressUse) -> AddressRow:
    return AddressRow(
        address=str(use.address),
        pool=use.pool or "",
        services=tuple(map(str, use.services)),
        owner=use.owner or "",
        sent=use.sent,
        peers=use.peers,
        reason=use.refused.reason if use.refused else Reason.ANNOUNCED,
        detail=use.refused.detail if use.refused else "",
    )


def pool_rows(found: View) -> list[PoolRow]:
    """Return a row for every pool object, by name."""
    rows = []
    for key, pool in sorted(found.snapshot.pools.items()):
        verdict = found.plan.verdicts[key]
        four = found.plan.counters.get(PoolName(key.name), (0, 0, 0, 0))
        assigned4, assigned6, available4, available6 = four
        rows.append(
            PoolRow(
                name=key.name,
                accepted=verdict.accepted,
                assigned_ipv4=assigned4,
                available_ipv4=available4,
                assigned_ipv6=assigned6,
                available_ipv6=available6,
                auto_assign=pool.spec.auto_assign if pool.spec else None,
                detail=verdict.message,
            )
        )
    return rows


def node_rows(found: View) -> list[NodeRow]:
    """Return a row for every node, by name."""
    rows = []
    owned = [plan.owner for plan in found.announcement.addresses.values()]
    for name, node in sorted(found.snapshot.nodes.items()):
        report = found.snapshot.speakers.get(name)
        rows.append(
            NodeRow(
                node=name,
                ready=node.ready,
                speaker=speaker_word(node, report),
                announces=owned.count(name),
                links=tuple(
                    f"{link.name} ({'up' if link.up and link.carrier else 'down'})"
                    for link in (report.links if report else ())
                ),
            )
        )
    return rows
