"""What this node's speaker tells the cluster of itself: its SpeakerStatus. Pure.

The value is compared with what the API server shows and written only if it differs, so a quiet
node writes nothing. Called by `speaker.agent.conductor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lbctl.model.membership import Instant, Member
from lbctl.model.names import Incarnation, LinkName
from lbctl.model.node import Link, Owner, SpeakerReport

FASTPATH_GRACE_S: Final = 3.0
"""A fast path that is away for less is restarting: moving its addresses would cost more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FastpathState:
    """Hold whether lb-fastpath is connected, since when, and what it cannot do.

    `faults` are per link and family: 0 for the whole link, else 4 or 6.
    """

    connected: bool
    since: Instant
    faults: Mapping[tuple[LinkName, int], str]


def speaker_report(
    *,
    now: Instant,
    me: Member,
    links: Sequence[Link],
    fastpath: FastpathState,
    published: SpeakerReport | None,
    owners: tuple[Owner, ...] = (),
    ignores_exclude_label: bool = False,
) -> SpeakerReport | None:
    """Return the report that should be published, or None while it would be a guess.

    `owners` are the pod that this process runs in, if any: the report vanishes with it. While the fast path is away for less than its grace, the published word stands; a process
    that has just started therefore says nothing before it knows.
    """
    known = published is not None and published.incarnation == me.incarnation
    away = not fastpath.connected and now - fastpath.since < FASTPATH_GRACE_S
    if away and not known:
        return None
    if away and published is not None:
        connected = published.fastpath_connected
    else:
        connected = fastpath.connected
    return SpeakerReport(
        node=me.node,
        incarnation=me.incarnation,
        draining=False,
        links=tuple(
            _without_ndp(link) if (link.name, 6) in fastpath.faults else link
            for link in sorted(links, key=lambda link: link.index)
        ),
        faults=tuple(
            sorted(
                (name, message)
                for (name, family), message in fastpath.faults.items()
                if family != 6
            )
        ),
        fastpath_connected=connected,
        owners=owners,
        ignores_exclude_label=ignores_exclude_label,
    )


def farewell(me: Member, published: SpeakerReport | None) -> SpeakerReport | None:
    """Return the last report of a speaker that stops: what is published, but draining.

    It is the same for a process that ends before it knew anything, since the report of the one
    before it would go on to say that this node works. None where there is nothing to take
    back: no report, or that of a later life of this node.
    """
    if published is None or is_later(published.incarnation, me.incarnation):
        return None
    return replace(published, draining=True, resource_version="")


def has_left(me: Member, published: SpeakerReport | None) -> bool:
    """Return whether nobody expects this process to announce anything any more."""
    return (
        published is None or published.draining or is_later(published.incarnation, me.incarnation)
    )


def is_later(one: Incarnation, other: Incarnation) -> bool:
    """Return whether `one` is a later life than `other`: incarnations are counts of time."""
    return (len(one), one) > (len(other), other)


def same_report(wanted: SpeakerReport, published: SpeakerReport | None) -> bool:
    """Return whether the API server shows `wanted` already."""
    return published is not None and replace(published, resource_version="") == wanted


def _without_ndp(link: Link) -> Link:
    """Tell a link on which NDP cannot be answered like one without a link-local address."""
    return replace(link, has_link_local=False)
