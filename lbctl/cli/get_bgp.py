"""`lbctl get peers|sessions|routes`: BGP in one line for each peer, session, table or route.

Routes are those that the plan of each node wants its peers to have, beside what the speaker says
of the session: how many it wants, has sent, and the peer has confirmed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from lbctl.cli.fetch import access_options, view
from lbctl.cli.render import EXIT_USAGE, fail, output_option, print_rows
from lbctl.cli.scope import View
from lbctl.model.names import NodeName, PeerName
from lbctl.model.route import Prefix
from lbctl.model.session import NO_ROUTES, SessionReport
from lbctl.plan.all_routes import plans_of
from lbctl.plan.explain_peer import SessionAnswer, explain_peer, node_sessions
from lbctl.plan.routes import RoutePlan
from lbctl.plan.telling import route_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    name: str
    accepted: bool
    endpoint: str
    my_asn: int | None
    """What the peer sees."""
    peer_asn: str
    nodes: int
    """How many are to keep a session with it."""
    established: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    node: str
    peer: str
    state: str
    """`unknown` while no living speaker reports."""
    since: str
    wanted: int
    sent: int
    acknowledged: int
    """Routes that the peer's TCP has confirmed to the last byte."""
    resets: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    node: str
    peer: str
    planned: int
    """Routes that the peer is to have, from the same plan as the speaker's."""
    parting: int
    """Routes that end with GRACEFUL_SHUTDOWN before they are withdrawn."""
    refused: int
    """Prefixes that no route can be made for."""
    state: str
    wanted: int
    """What the speaker says of the same."""
    sent: int
    acknowledged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRow:
    node: str
    peer: str
    prefix: str
    local_preference: int
    """Told to peers of our own AS only."""
    communities: tuple[str, ...]
    parting: bool
    advertisements: tuple[str, ...]
    """The BGPAdvertisements that ask for the route."""
    services: tuple[str, ...]


@click.command()
@output_option
@access_options
def peers(output: str, **access: Any) -> None:
    """Show BGP peers: whether they are in effect, and how many sessions with them stand."""
    rows = peer_rows(view(access))
    lines = [
        (
            row.name,
            "yes" if row.accepted else "no",
            row.endpoint or "-",
            "-" if row.my_asn is None else str(row.my_asn),
            row.peer_asn or "-",
            f"{row.established}/{row.nodes}",
            row.detail,
        )
        for row in rows
    ]
    header = ("NAME", "ACCEPTED", "PEER", "MY ASN", "PEER ASN", "ESTABLISHED", "DETAIL")
    print_rows(rows, header, lines, output)


@click.command()
@click.option("--node", default=None, help="Of one node.")
@click.option("--peer", default=None, help="With one peer.")
@output_option
@access_options
def sessions(node: str | None, peer: str | None, output: str, **access: Any) -> None:
    """Show BGP sessions as speakers report them: state, routes, and why one is not established."""
    found = view(access)
    rows = list(session_rows(found, _node(found, node), _peer(found, peer)))
    lines = [
        (
            row.node,
            row.peer,
            row.state,
            row.since or "-",
            f"{row.wanted}/{row.sent}/{row.acknowledged}",
            str(row.resets),
            row.detail,
        )
        for row in rows
    ]
    header = ("NODE", "PEER", "STATE", "SINCE", "WANTED/SENT/CONFIRMED", "RESETS", "DETAIL")
    print_rows(rows, header, lines, output)


@click.command()
@click.option("--node", default=None, help="Every route of one node, instead of counts.")
@click.option("--peer", default=None, help="For one peer.")
@output_option
@access_options
def routes(node: str | None, peer: str | None, output: str, **access: Any) -> None:
    """Show what each node wants each BGP peer to have, beside what the session has carried."""
    found = view(access)
    one, only = _node(found, node), _peer(found, peer)
    if one is None:
        tables = list(table_rows(found, only))
        lines = [
            (
                row.node,
                row.peer,
                str(row.planned),
                str(row.parting),
                str(row.refused),
                row.state,
                f"{row.wanted}/{row.sent}/{row.acknowledged}",
            )
            for row in tables
        ]
        header: tuple[str, ...]
        header = ("NODE", "PEER", "ROUTES", "PARTING", "REFUSED", "STATE", "WANTED/SENT/CONFIRMED")
        print_rows(tables, header, lines, output)
        return
    rows = list(route_rows(found, one, only))
    listed = [
        (
            row.node,
            row.peer,
            row.prefix,
            str(row.local_preference),
            ",".join(row.communities) or "-",
            "yes" if row.parting else "no",
            ",".join(row.advertisements),
            ",".join(row.services) or "-",
        )
        for row in rows
    ]
    header = (
        *("NODE", "PEER", "PREFIX", "LOCAL PREF", "COMMUNITIES", "PARTING"),
        *("ADVERTISEMENTS", "SERVICES"),
    )
    print_rows(rows, header, listed, output)


def peer_rows(found: View) -> list[PeerRow]:
    """Return a row for every BGPPeer, by name."""
    rows = []
    for key in sorted(found.snapshot.peers):
        facts = explain_peer(key, found.telling)
        wanted = [one for one in facts.sessions if one.wanted]
        rows.append(
            PeerRow(
                name=key.name,
                accepted=facts.accepted,
                endpoint=facts.endpoint,
                my_asn=facts.my_asn,
                peer_asn=facts.peer_asn,
                nodes=len(wanted),
                established=sum(one.fine for one in wanted),
                detail=facts.detail,
            )
        )
    return rows


def session_rows(
    found: View, node: NodeName | None = None, peer: PeerName | None = None
) -> Iterator[SessionRow]:
    """Yield a row for every session that a node is to keep, by node and peer."""
    for name in [node] if node is not None else sorted(found.snapshot.nodes):
        for one in node_sessions(name, found.telling):
            if one.wanted and peer in (None, one.peer):
                yield _session_row(one)


def _session_row(one: SessionAnswer) -> SessionRow:
    report = one.report
    wanted, sent, acknowledged = _counts(report)
    return SessionRow(
        node=one.node,
        peer=one.peer,
        state="unknown" if report is None else report.state,
        since="" if report is None else report.since,
        wanted=wanted,
        sent=sent,
        acknowledged=acknowledged,
        resets=0 if report is None else report.resets,
        reason=one.reason,
        detail=one.detail,
    )


def table_rows(found: View, peer: PeerName | None = None) -> Iterator[TableRow]:
    """Yield a row for every table that a node has for a peer, by node and peer."""
    rows = []
    for node, plan in _plans(found):
        for name, table in plan.tables.items():
            if peer not in (None, name):
                continue
            report = found.telling.session(node, name)
            wanted, sent, acknowledged = _counts(report)
            rows.append(
                TableRow(
                    node=node,
                    peer=name,
                    planned=len(table.routes),
                    parting=len(table.parting),
                    refused=len(table.refused),
                    state="unknown" if report is None else report.state,
                    wanted=wanted,
                    sent=sent,
                    acknowledged=acknowledged,
                )
            )
    yield from sorted(rows, key=lambda row: (row.node, row.peer))


def route_rows(found: View, node: NodeName, peer: PeerName | None = None) -> Iterator[RouteRow]:
    """Yield a row for every route that the node has for its peers, by peer and prefix."""
    plan = next((plan for name, plan in _plans(found) if name == node), None)
    if plan is None:
        return
    services: dict[Prefix, dict[str, None]] = {}
    for address in plan.addresses.values():
        for prefix, _ in (*address.asked, *address.parting):
            services.setdefault(prefix, {}).update(dict.fromkeys(map(str, address.services)))
    for name, table in sorted(plan.tables.items()):
        if peer not in (None, name):
            continue
        told = {**{key: (one, False) for key, one in table.routes.items()}}
        told |= {key: (one, True) for key, one in table.parting.items()}
        for prefix, (attributes, parting) in sorted(told.items(), key=lambda item: item[0]):
            answer = route_answer(prefix, attributes, plan.asking(name, prefix))
            yield RouteRow(
                node=node,
                peer=name,
                prefix=answer.prefix,
                local_preference=answer.local_preference,
                communities=answer.communities,
                parting=parting,
                advertisements=answer.advertisements,
                services=tuple(sorted(services.get(prefix, ()))),
            )


def _plans(found: View) -> Iterator[tuple[NodeName, RoutePlan]]:
    return plans_of(
        found.telling.stage,
        found.snapshot,
        load_balancer_class=found.access.load_balancer_class,
    )


def _counts(report: SessionReport | None) -> tuple[int, int, int]:
    routes = NO_ROUTES if report is None else report.routes()
    return routes.wanted, routes.sent, routes.acknowledged


def _node(found: View, name: str | None) -> NodeName | None:
    if name is not None and name not in found.snapshot.nodes:
        fail(f"there is no node {name}; see `kubectl get nodes`", EXIT_USAGE)
    return None if name is None else NodeName(name)


def _peer(found: View, name: str | None) -> PeerName | None:
    if name is not None and name not in {key.name for key in found.snapshot.peers}:
        elsewhere = found.access.place.elsewhere
        fail(f"there is no BGPPeer {name}; see `lbctl get peers{elsewhere}`", EXIT_USAGE)
    return None if name is None else PeerName(name)
