"""What this node's speaker tells the cluster of itself: its SpeakerStatus. Pure.

The value is compared with what the API server shows and written only if it differs, so a quiet
node writes nothing. Called by `speaker.agent.conductor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lbctl.model.membership import Instant, Member
from lbctl.model.names import LinkName
from lbctl.model.node import Link, SpeakerReport

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
    draining: bool,
    published: SpeakerReport | None,
) -> SpeakerReport | None:
    """Return the report that should be published, or None while it would be a guess.

    While the fast path is away for less than its grace, the published word stands; a process
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
        draining=draining,
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
    )


def same_report(wanted: SpeakerReport, published: SpeakerReport | None) -> bool:
    """Return whether the API server shows `wanted` already."""
    return published is not None and replace(published, resource_version="") == wanted


def _without_ndp(link: Link) -> Link:
    """Tell a link on which NDP cannot be answered like one without a link-local address."""
    return replace(link, has_link_local=False)
