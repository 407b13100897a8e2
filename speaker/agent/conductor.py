"""The conductor of lb-speaker: from everything known to everything that should be so. Pure.

`conduct(previous, situation)` is called after nearly every event; its result says what the fast path's
table, this node's SpeakerStatus and its ServiceL2Status should be. Drivers compute and perform
the difference. Restart is no special case: the first call has no previous and gives the same.

Two gates keep a starting speaker quiet: no table exists before every kind of input has synced,
and none before this process's own SpeakerStatus was seen, because an owner is named by its
incarnation. Meanwhile lb-fastpath goes on with the table of the process before.

Most events change no owner (an endpoint comes beside others, somebody claims an address). What
would come out as before is then taken over as the same object, so that a call costs little at
thousands of Services and the drivers see by identity that they have nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lbctl.model.address import Address
from lbctl.model.membership import Instant, Member, Membership, MemberState
from lbctl.model.names import LinkName, NodeName
from lbctl.model.node import Link, Owner, SpeakerReport
from lbctl.model.snapshot import EVERYTHING, Changed, Snapshot
from lbctl.plan.announcement import Announcement, plan_announcements
from lbctl.plan.rendezvous import rendezvous_membership
from speaker.agent.peering import NOBODY, Ground, Speaking, speak
from speaker.agent.report import (
    FASTPATH_GRACE_S,
    FastpathState,
    farewell,
    has_left,
    speaker_report,
)
from speaker.agent.statement import Statements, statements
from speaker.agent.table import Desired, desired_table
from speaker.wire.control import Entry, Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Hold everything that one call of `conduct` may look at.

    `links` is None until the node's first inventory; `yielded` are handings over that ended
    since the last call; `floor` is the lowest number that a new view may have.
    """

    now: Instant
    me: Member
    snapshot: Snapshot
    changed: Changed = EVERYTHING
    synced: bool
    """All that layer 2 rests on has been read."""
    links: tuple[Link, ...] | None
    fastpath: FastpathState
    stopping: bool = False
    released: frozenset[Address] = frozenset()
    yielded: frozenset[Address] = frozenset()
    floor: int = 0
    load_balancer_class: str | None = None
    owners: tuple[Owner, ...] = ()
    """The pod of this process: its SpeakerStatus is to vanish with it."""
    ignore_exclude_label: bool = False
    bgp_synced: bool = True
    """So has all that BGP rests on, or the API server has none of BGP's kinds."""
    ground: Ground = field(default_factory=Ground)
    """What BGP sessions rest on beside the snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """Hold what the memberships rest on beside the plan."""

    links: tuple[Link, ...]
    released: frozenset[Address]
    floor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Intentions:
    """Hold what should be so. `table` None: leave the fast path as it is."""

    announcement: Announcement | None = None
    footing: Footing | None = None
    memberships: Mapping[LinkName, Membership] = field(default_factory=dict)
    table: Desired | None = None
    peers: frozenset[str] = frozenset()
    """Hardware addresses that other speakers publish."""
    report: SpeakerReport | None = None
    """What SpeakerStatus should say; None: leave it."""
    statements: Statements | None = None
    """What the ServiceL2Status objects of this node should say; None: leave them."""
    speaking: Speaking | None = None
    """With whom to speak BGP and about what; None: not known yet, leave the sessions."""
    deadline: Instant | None = None
    handed_over: bool = False
    """The speaker is stopping, the cluster knows, and it answers for nothing any more."""


NOTHING = Intentions()


def conduct(previous: Intentions, situation: Situation) -> Intentions:
    """Return what should be so now."""
    own = situation.snapshot.speakers.get(situation.me.node)
    report = _report(situation, own)
    left = situation.stopping and has_left(situation.me, own)
    recognized = own is not None and own.incarnation == situation.me.incarnation
    links = situation.links
    if not situation.synced or links is None or not (recognized or previous.table):
        return Intentions(report=report, deadline=_deadline(None, situation), handed_over=left)
    announcement = plan_announcements(
        previous.announcement,
        situation.snapshot,
        situation.changed,
        load_balancer_class=situation.load_balancer_class,
    )
    footing = Footing(links=links, released=situation.released, floor=situation.floor)
    memberships, table, said = previous.memberships, previous.table, previous.statements
    moved = footing != previous.footing or not _same_owners(previous, announcement, situation)
    if moved:
        memberships = _memberships(previous, announcement, situation, links)
    if table is None or said is None or moved or table.yields:
        table = desired_table(
            table or Desired(),
            now=situation.now,
            memberships=memberships,
            addresses=announcement.addresses,
            links=links,
            released=situation.released,
            yielded=situation.yielded,
        )
        said = statements(situation.me.node, table.entries, announcement)
    speaking = _speaking(previous, situation, report if own is None else None)
    return Intentions(
        announcement=announcement,
        footing=footing,
        memberships=memberships,
        table=table,
        peers=_peers(situation),
        report=report,
        statements=said,
        speaking=speaking,
        deadline=_deadline(table, situation, speaking),
        handed_over=left and not table.entries and (speaking or NOBODY).deadline is None,
    )


def _speaking(
    previous: Intentions, situation: Situation, lost: SpeakerReport | None
) -> Speaking | None:
    """Return what is told by BGP; without its inputs what was told stands, and layer 2 goes on.

    `lost` is this node's report while somebody has deleted it: who announces by BGP agrees with
    nobody, so it goes on until the report is there again.
    """
    if not situation.bgp_synced:
        return previous.speaking
    snapshot, node = situation.snapshot, situation.me.node
    if lost is not None:
        snapshot = replace(snapshot, speakers={**snapshot.speakers, node: lost})
    return speak(
        previous.speaking or NOBODY,
        now=situation.now,
        node=node,
        snapshot=snapshot,
        changed=situation.changed,
        ground=situation.ground,
        load_balancer_class=situation.load_balancer_class,
        stopping=situation.stopping,
    )


def owned(intentions: Intentions) -> Mapping[Address, Entry]:
    """Return the entries that this node answers for, without those that it hands over."""
    if intentions.table is None:
        return {}
    return {a: entry for a, entry in intentions.table.entries.items() if entry.mode is Mode.OWN}


def working_nodes(intentions: Intentions) -> frozenset[NodeName]:
    """Return the nodes whose speakers are at work, as the views say."""
    return frozenset(
        member.node
        for view in intentions.memberships.values()
        for member, state in view.members.items()
        if state is MemberState.MEMBER
    )


def _report(situation: Situation, own: SpeakerReport | None) -> SpeakerReport | None:
    if situation.stopping:
        return farewell(situation.me, own)
    if situation.links is None:
        return None
    return speaker_report(
        now=situation.now,
        me=situation.me,
        links=situation.links,
        fastpath=situation.fastpath,
        published=own,
        owners=situation.owners,
        ignores_exclude_label=situation.ignore_exclude_label,
    )


def _same_owners(previous: Intentions, announcement: Announcement, situation: Situation) -> bool:
    """Return whether every address has the owner, the links and the Services that it had.

    An incremental plan keeps the very objects of what it did not judge again.
    """
    if previous.announcement is None:
        return False
    if announcement is previous.announcement:
        return True
    before, after = previous.announcement.addresses, announcement.addresses
    return (
        # Nodes or speakers may have changed, and views list them.
        not (situation.changed.everything or situation.changed.nodes)
        and len(before) == len(after)
        and all(
            plan is (former := before.get(address))
            or (
                former is not None
                and (plan.owner, plan.links, plan.services)
                == (former.owner, former.links, former.services)
            )
            for address, plan in after.items()
        )
    )


def _memberships(
    previous: Intentions,
    announcement: Announcement,
    situation: Situation,
    links: tuple[Link, ...],
) -> dict[LinkName, Membership]:
    newest = max((view.view.number for view in previous.memberships.values()), default=0)
    return {
        link.name: rendezvous_membership(
            link=link.name,
            me=situation.me,
            snapshot=situation.snapshot,
            addresses=announcement.addresses,
            # A raised floor renews every epoch: the fast path knows newer ones than ours.
            previous=(previous.memberships.get(link.name) if situation.floor <= newest else None),
            released=situation.released,
            floor=max(situation.floor, newest),
        )
        for link in links
    }


def _peers(situation: Situation) -> frozenset[str]:
    return frozenset(
        link.mac
        for name, report in situation.snapshot.speakers.items()
        if name != situation.me.node and name in situation.snapshot.nodes
        for link in report.links
    )


def _deadline(
    table: Desired | None, situation: Situation, speaking: Speaking | None = None
) -> Instant | None:
    moments = list(table.yields.values()) if table is not None else []
    if speaking is not None and speaking.deadline is not None:
        moments.append(speaking.deadline)
    if not situation.fastpath.connected:
        until = situation.fastpath.since + FASTPATH_GRACE_S
        if until > situation.now:
            moments.append(until)
    return min(moments, default=None)
