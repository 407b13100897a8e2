"""The step of the checklist about BGP sessions: do those stand that are to carry the address? Pure.

There only where a BGPAdvertisement is about the Service: a cluster without BGP has no such step.
Called by `lbctl.plan.checklist`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import Service
from lbctl.plan.announcement import AddressPlan
from lbctl.plan.checklist_steps import Answer, Commands, Step, not_reached, refused
from lbctl.plan.tally import Tally
from lbctl.plan.telling import Telling

_NAME = "BGP sessions"


def sessions_step(
    service: Service, plans: list[AddressPlan], telling: Telling, commands: Commands
) -> Iterator[Step]:
    """Yield the step if BGP is to announce the Service."""
    covered = [plan for plan in plans if telling.covering(service, plan.pool)]
    tallies: dict[Tally, None] = {}
    for plan in covered:
        heard = telling.heard(service.key, plan.address)
        if isinstance(heard, Refused):
            if heard.reason in (Reason.NO_ENDPOINTS, Reason.NO_LOCAL_ENDPOINTS):
                yield not_reached(_NAME, "no node has a usable endpoint", commands.sessions)
            elif plan.owner is not None:
                # ARP and NDP serve it: what BGP lacks is worth a word and no more.
                yield Step(
                    name=_NAME,
                    answer=Answer.NOTE,
                    detail=f"{heard.reason}: {heard.detail}",
                    confirm=commands.sessions,
                )
            else:
                confirm = _confirm(heard.reason, commands)
                yield refused(_NAME, heard.reason, heard.detail, confirm)
            return
        tally = telling.tally(heard)
        tallies[tally] = None
        if not tally.told and plan.owner is None:
            why = telling.why_not(service.key, plan.address)
            assert why is not None, "no peer has been told"
            yield refused(_NAME, why.reason, why.detail, commands.sessions)
            return
    if tallies:
        whole = all(one.acknowledged == one.wanted for one in tallies)
        detail = "; ".join(
            f"{one.established} of {one.wanted} established, {one.acknowledged} have confirmed "
            f"every route"
            for one in tallies
        )
        yield Step(
            name=_NAME,
            answer=Answer.OK if whole else Answer.NOTE,
            detail=detail,
            confirm=commands.sessions,
        )


def _confirm(reason: Reason, commands: Commands) -> str:
    """Return the command that shows the objects of which a refusal speaks."""
    if reason in (Reason.NO_PEER, Reason.FAMILY_NOT_ON_SESSION):
        return commands.peers
    about_advertisements = (
        Reason.PEER_NOT_SELECTED,
        Reason.AGGREGATE_TOO_WIDE,
        Reason.CONFLICTING_ADVERTISEMENTS,
        Reason.MISSING_COMMUNITY,
    )
    return commands.bgp_advertisements if reason in about_advertisements else commands.sessions
