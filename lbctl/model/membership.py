"""Membership: who may own addresses on a link, and who does. Pure.

Planning and reporting read only this value. In this version it is filled by stateless rendezvous
over eligible nodes (lbctl.plan.election); the ownership protocol will fill the same value from
its views, which is why it has view numbers, standings and epochs already.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.model.address import Address
from lbctl.model.names import Incarnation, LinkName, NodeName

Instant = float
"""A moment on CLOCK_BOOTTIME, in seconds."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class ViewNumber:
    """Number a view; the epoch of an ownership is the number of the view that assigned it."""

    generation: int
    number: int


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Member:
    """Name a participant: a restarted process is another member."""

    node: NodeName
    incarnation: Incarnation


class Standing(enum.StrEnum):
    OUTSIDE = "outside"
    JOINING = "joining"
    MEMBER = "member"
    FENCED = "fenced"


class MemberState(enum.StrEnum):
    MEMBER = "member"
    SUSPECTED = "suspected"
    FENCED = "fenced"
    JOINING = "joining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    owner: Member
    epoch: ViewNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Hold one link's view as this node sees it."""

    link: LinkName
    view: ViewNumber
    me: Member
    standing: Standing
    leader: Member | None
    members: Mapping[Member, MemberState]
    owners: Mapping[Address, Ownership]
    released: frozenset[Address]
    """Addresses that I gave up in this view: not mine although the table may still say so."""
    answering_until: Instant | None
    """When my right to answer ends; None: no end (this version has no lease)."""
    quorum: bool
    last_change: str
    """Why the view is as it is, in words an operator reads (`node2 not ready`)."""

    def mine(self) -> Mapping[Address, ViewNumber]:
        """Return the addresses that I may act on, with their epochs."""
        if self.standing is not Standing.MEMBER:
            return {}
        return {
            address: ownership.epoch
            for address, ownership in self.owners.items()
            if ownership.owner == self.me and address not in self.released
        }
