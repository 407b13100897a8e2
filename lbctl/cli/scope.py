"""Read for each question as much of the world as can matter to its answer, and plan that.

Every answer is that of the whole world, which `whole` reads; a property holds the others to it
(tests/property/test_scope.py). They leave out what the plan of the asked thing never looks at, in
a cluster of 10,000 Services most of the time. Allocation needs every Service; who announces an
address depends on the endpoints of those Services alone that show it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lbctl.cli.installation import Access
from lbctl.cli.lists import Reader
from lbctl.kube.crds.reading import LABEL_VALUE_PATTERN
from lbctl.kube.crds.service_l2_status import ServiceL2Status
from lbctl.kube.fold import Source, fold_projected
from lbctl.model.address import Address
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.names import NodeName, ServiceKey
from lbctl.model.reason import Reason
from lbctl.model.snapshot import EVERYTHING, Snapshot
from lbctl.plan.adoption import ALLOCATED_CONDITION
from lbctl.plan.allocation import EMPTY, Plan, plan
from lbctl.plan.announcement import Announcement, judge_addresses
from lbctl.plan.claims import claims_of
from lbctl.plan.eligibility import selects_node
from lbctl.plan.reach import survey
from lbctl.plan.tally import Sessions
from lbctl.plan.telling import Telling, telling_of

_FEW: Final = 16
"""Services on one address of which each is asked for alone; of more, all are read."""
_ALLOCATING: Final = frozenset({Source.SERVICES, Source.NAMESPACES, Source.POOLS})
_ADVERTISING: Final = frozenset(
    {Source.ADVERTISEMENTS, Source.BGP_ADVERTISEMENTS, Source.COMMUNITIES}
)
_BY_SERVICE: Final = frozenset({Source.SERVICES, Source.SLICES, Source.NAMESPACES})

Sent = Mapping[ServiceKey, tuple[ServiceL2Status, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class View:
    """Hold what a verb renders: the snapshot, both plans and what speakers sent.

    Without a repr of its fields: when `asyncio.run` puts the handler of SIGINT back it has the
    result of the task spelled out (for an enum's error that is caught at once), which would take
    longer than all the rest in a cluster of 10,000 Services.
    """

    access: Access
    snapshot: Snapshot
    plan: Plan
    announcement: Announcement
    sent: Sent
    """What speakers say they announce: one object for each family of a Service."""
    telling: Telling
    """What BGP peers are told, with what speakers say of their sessions."""


Scope = Callable[[Reader], Awaitable[View]]
"""What reads as much as a question needs."""


async def whole(reader: Reader) -> View:
    """Read everything."""
    items, sent, sessions = await asyncio.gather(
        reader.world(), reader.reports(), reader.sessions()
    )
    snapshot = fold_projected(items)
    return view_of(reader.access, snapshot, allocated(reader.access, snapshot), sent, sessions)


async def about_service(reader: Reader, key: ServiceKey) -> View:
    """Read what the Service touches, and everything where anything else can matter to it."""
    # What no selector can hold is the name of nothing.
    if all(word and re.match(LABEL_VALUE_PATTERN, word) for word in key):
        items, sent, sessions = await asyncio.gather(
            reader.world(near=key), reader.reports([key]), reader.sessions()
        )
        snapshot = fold_projected(items)
        near = view_of(reader.access, snapshot, allocated(reader.access, snapshot), sent, sessions)
        if is_whole(near, key):
            return near
        reader.forget_doubts()
    return await whole(reader)


async def about_address(reader: Reader, address: Address) -> View:
    """Read every Service; the endpoints of those alone that have the address."""
    items, sessions = await asyncio.gather(
        reader.world([one for one in Source if one is not Source.SLICES]), reader.sessions()
    )
    snapshot = fold_projected(items)
    decided = allocated(reader.access, snapshot)
    keys = concerned(address, snapshot, decided)
    if keys is None:
        rest, sent = await asyncio.gather(reader.world([Source.SLICES]), reader.reports())
        slices, only = rest[Source.SLICES], None
    else:
        slices, sent = await asyncio.gather(reader.slices(keys), reader.reports(keys))
        only = (address,)
    snapshot = replace(snapshot, slices=fold_projected({Source.SLICES: slices}).slices)
    return view_of(reader.access, snapshot, decided, sent, sessions, only=only)


async def about_pools(reader: Reader) -> View:
    """Read what is allocated, and what covers the pools; not who announces the addresses."""
    snapshot = fold_projected(await reader.world(_ALLOCATING | _ADVERTISING))
    return view_of(reader.access, snapshot, allocated(reader.access, snapshot), only=())


async def about_peers(reader: Reader) -> View:
    """Read the nodes, and what they were told to do; no Service."""
    items, sessions = await asyncio.gather(
        reader.world([one for one in Source if one not in _BY_SERVICE]), reader.sessions()
    )
    return view_of(reader.access, fold_projected(items), EMPTY, sessions=sessions, only=())


async def about_node(reader: Reader, node: NodeName) -> View:
    """Read every Service only where the node may announce one by ARP and NDP."""
    view = await about_peers(reader)
    if not may_own(node, view.snapshot):
        return view
    items, sent = await asyncio.gather(reader.world(_BY_SERVICE), reader.reports())
    found = fold_projected(items)
    snapshot = replace(
        view.snapshot,
        services=found.services,
        slices=found.slices,
        namespaces=found.namespaces,
    )
    decided = allocated(reader.access, snapshot)
    return view_of(reader.access, snapshot, decided, sent, view.telling.sessions)


def allocated(access: Access, snapshot: Snapshot) -> Plan:
    """Return what the controller would give in this snapshot."""
    return plan(EMPTY, snapshot, EVERYTHING, load_balancer_class=access.load_balancer_class)


def view_of(
    access: Access,
    snapshot: Snapshot,
    decided: Plan,
    sent: Sent | None = None,
    sessions: Sessions | None = None,
    *,
    only: Collection[Address] | None = None,
) -> View:
    """Return the view of a snapshot; `only`: the addresses whose announcement is asked for."""
    claims = claims_of(snapshot.services, access.load_balancer_class)
    claimants = claims.claimants
    if only is not None:
        claimants = {one: claimants[one] for one in only if one in claimants}
    announcement = judge_addresses(snapshot, survey(snapshot), claimants, shown=claims.shown)
    return View(
        access=access,
        snapshot=snapshot,
        plan=decided,
        announcement=announcement,
        sent=sent or {},
        telling=telling_of(snapshot, sessions or {}, claimants),
    )


def is_whole(near: View, key: ServiceKey) -> bool:
    """Return whether nothing that was left out can matter to the Service.

    Either it is not ours; or the controller says that it has what it needs, what was read says
    the same, and it shares neither its address nor a route with anybody. Where two Services show
    one address the condition of one of them says so.
    """
    service = near.snapshot.services.get(key)
    if service is None:
        return True
    outcome = near.plan.outcomes[key]
    if isinstance(outcome, NotOurs):
        return True
    told = [
        (one.status, one.reason) for one in service.conditions if one.type == ALLOCATED_CONDITION
    ]
    return (
        not service.sharing_key
        and not _aggregates(near.snapshot)
        and outcome.reason is Reason.ALLOCATED
        and outcome.addresses == service.addresses
        and told == [("True", Reason.ALLOCATED)]
    )


def concerned(address: Address, snapshot: Snapshot, decided: Plan) -> frozenset[ServiceKey] | None:
    """Return the Services whose endpoints and reports can matter to the address; None: all.

    An aggregate is told for as long as any of its addresses is.
    """
    shown = {key for key, service in snapshot.services.items() if address in service.addresses}
    given = {
        key
        for key, outcome in decided.outcomes.items()
        if isinstance(outcome, Outcome) and address in outcome.addresses
    }
    found = frozenset(shown | given)
    return None if len(found) > _FEW or _aggregates(snapshot) else found


def may_own(node: NodeName, snapshot: Snapshot) -> bool:
    """Return whether the node may be elected for any address: it has a speaker, and is selected."""
    if node not in snapshot.speakers or node not in snapshot.nodes:
        return False
    return any(
        one.spec is not None and selects_node(one.spec, snapshot.nodes[node])
        for one in snapshot.advertisements.values()
    )


def _aggregates(snapshot: Snapshot) -> bool:
    return any(
        one.spec is not None and one.spec.aggregates for one in snapshot.bgp_advertisements.values()
    )
