"""Fill Membership by stateless rendezvous: every eligible node is a member, the plan has owners. Pure.

This stands where the ownership protocol will: it has no leader and needs no quorum, so `leader`
is None and `quorum` is True. Generation 0 marks its views; the protocol's begin at 1 and are
newer than all of these. Numbers must never run backwards at one fast path, also across restarts
of lb-speaker: a view that changed takes the highest resourceVersion of its members' reports (our
own is written at each start, so it is newer than all we ever used), or one more than the last.

Called by `speaker.agent` for each link, and by the command to show what a speaker would see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lbctl.model.address import Address
from lbctl.model.membership import (
    Member,
    Membership,
    MemberState,
    Ownership,
    Standing,
    ViewNumber,
)
from lbctl.model.names import LinkName, NodeName
from lbctl.model.reason import Reason
from lbctl.model.snapshot import Snapshot
from lbctl.plan.announcement import AddressPlan
from lbctl.plan.eligibility import believed, node_refusal

GENERATION: Final = 0


def rendezvous_membership(
    *,
    link: LinkName,
    me: Member,
    snapshot: Snapshot,
    addresses: Mapping[Address, AddressPlan],
    previous: Membership | None = None,
    released: frozenset[Address] = frozenset(),
    floor: int = 0,
) -> Membership:
    """Return the view of `link`: the members, and the owner of each address announced there.

    An owner's incarnation is the one in its SpeakerStatus, so a process that has just started
    owns nothing before its own report is out. Addresses that this node owns appear only on
    the links that they are announced on. `floor` is the lowest number that a new view may have.
    """
    members = _members(snapshot)
    owners = _owners(link, me.node, snapshot, addresses)
    if previous is not None and _unchanged(previous, members, owners):
        view, last_change = previous.view, previous.last_change
    else:
        view = _next_view(previous, members, snapshot, floor)
        last_change = _last_change(previous, members, owners, snapshot)
    before: Mapping[Address, Ownership] = {} if previous is None else previous.owners
    return Membership(
        link=link,
        view=view,
        me=me,
        standing=_standing(me, members),
        leader=None,
        members=members,
        owners={
            address: _ownership(before.get(address), owner, view)
            for address, owner in owners.items()
        },
        released=released & owners.keys(),
        answering_until=None,
        quorum=True,
        last_change=last_change,
    )


def _members(snapshot: Snapshot) -> dict[Member, MemberState]:
    members: dict[Member, MemberState] = {}
    nodes = believed(snapshot.nodes)
    for name in sorted(snapshot.speakers):
        node, report = nodes.get(name), snapshot.speakers[name]
        if node is None:
            continue
        refused = node_refusal(node, report)
        member = Member(node=name, incarnation=report.incarnation)
        if refused is None:
            members[member] = MemberState.MEMBER
        elif refused.reason is Reason.NODE_NOT_READY:
            members[member] = MemberState.SUSPECTED
    return members


def _owners(
    link: LinkName,
    mine: NodeName,
    snapshot: Snapshot,
    addresses: Mapping[Address, AddressPlan],
) -> dict[Address, Member]:
    known = {
        name: Member(node=name, incarnation=report.incarnation)
        for name, report in snapshot.speakers.items()
    }
    return {
        address: known[plan.owner]
        for address, plan in addresses.items()
        if plan.owner in known and (plan.owner != mine or link in plan.links)
    }


def _unchanged(
    previous: Membership,
    members: Mapping[Member, MemberState],
    owners: Mapping[Address, Member],
) -> bool:
    return (
        previous.members == members
        and len(previous.owners) == len(owners)
        and all(
            address in previous.owners and previous.owners[address].owner == owner
            for address, owner in owners.items()
        )
    )


def _next_view(
    previous: Membership | None,
    members: Mapping[Member, MemberState],
    snapshot: Snapshot,
    floor: int,
) -> ViewNumber:
    versions = [snapshot.speakers[member.node].resource_version for member in members]
    numbers = [int(version) for version in versions if version.isdecimal()]
    after = 0 if previous is None else previous.view.number + 1
    return ViewNumber(generation=GENERATION, number=max(after, floor, *numbers, 1))


def _ownership(before: Ownership | None, owner: Member, view: ViewNumber) -> Ownership:
    """Keep the epoch of an ownership that goes on: it is the view that assigned it."""
    if before is not None and before.owner == owner:
        return before
    return Ownership(owner=owner, epoch=view)


def _standing(me: Member, members: Mapping[Member, MemberState]) -> Standing:
    if members.get(me) is MemberState.MEMBER:
        return Standing.MEMBER
    known = any(member.node == me.node for member in members)
    return Standing.JOINING if known and me not in members else Standing.OUTSIDE


def _last_change(
    previous: Membership | None,
    members: Mapping[Member, MemberState],
    owners: Mapping[Address, Member],
    snapshot: Snapshot,
) -> str:
    if previous is None:
        return "first view of this process"
    nodes_before = {member.node for member in previous.members}
    nodes_now = {member.node for member in members}
    for member in previous.members:
        if member.node not in nodes_now:
            return _why_left(member.node, snapshot)
    for member, state in members.items():
        if member.node not in nodes_before:
            return f"{member.node} joined"
        if member not in previous.members:
            return f"{member.node} restarted"
        if state is not previous.members[member]:
            words = "is not ready" if state is MemberState.SUSPECTED else "is back"
            return f"{member.node} {words}"
    for address, owner in owners.items():
        before = previous.owners.get(address)
        if before is None:
            return f"{address} is announced by {owner.node}"
        if before.owner != owner:
            return f"{address} moved from {before.owner.node} to {owner.node}"
    gone = next((address for address in previous.owners if address not in owners), None)
    return f"{gone} is no longer announced" if gone is not None else previous.last_change


def _why_left(name: NodeName, snapshot: Snapshot) -> str:
    node = snapshot.nodes.get(name)
    if node is None:
        return f"node {name} was deleted"
    refused = node_refusal(node, snapshot.speakers.get(name))
    return refused.detail if refused is not None else f"{name} left"
