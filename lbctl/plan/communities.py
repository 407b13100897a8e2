"""Which names stand for which BGP communities, over all Community objects. Pure.

Of two objects that define one name the older counts, so that nobody changes the routes of others
by a new object; everything else that the younger one defines is in effect. Called by the plan of
routes, by the admission webhook and by the controller's reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbctl.model.community import Community, CommunityAliases
from lbctl.model.configuration import Configured, Verdict
from lbctl.model.names import ObjectKey
from lbctl.model.outcome import Problem
from lbctl.model.reason import Reason
from lbctl.plan.pools import join_problems

CommunityObjects = Mapping[ObjectKey, Configured[CommunityAliases]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasBook:
    """Hold the names in effect, and the verdict on each object."""

    values: Mapping[str, Community] = field(default_factory=dict)
    verdicts: Mapping[ObjectKey, Verdict] = field(default_factory=dict)


def judge_communities(objects: CommunityObjects) -> AliasBook:
    """Return what the objects define together."""
    values: dict[str, Community] = {}
    definers: dict[str, str] = {}
    verdicts: dict[ObjectKey, Verdict] = {}
    for entry in sorted(objects.values(), key=lambda one: (one.created, one.key)):
        verdicts[entry.key] = _judge(entry, definers)
        for name, value in entry.spec.values if entry.spec is not None else ():
            if name not in values:
                values[name] = value
                definers[name] = entry.key.name
    return AliasBook(values=values, verdicts=verdicts)


def _judge(entry: Configured[CommunityAliases], definers: Mapping[str, str]) -> Verdict:
    if entry.spec is None:
        return Verdict(accepted=False, reason=Reason.INVALID, message=join_problems(entry.problems))
    in_effect = "the names are in effect"
    doubts = [
        Problem(
            path=f"spec.communities[{index}].name",
            message=f"the older Community {definers[name]} defines {name!r}, and its value counts; "
            "remove the name from one of the two",
        )
        for index, (name, _) in enumerate(entry.spec.values)
        if name in definers
    ]
    if not doubts:
        return Verdict(accepted=True, reason=Reason.ACCEPTED, message=in_effect)
    return Verdict(
        accepted=True,
        reason=Reason.DUPLICATE_COMMUNITY,
        message=f"{in_effect}; but {join_problems(doubts)}",
    )
