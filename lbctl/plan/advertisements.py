"""Judge an advertisement: it stands or falls by itself, whatever other objects say. Pure.

A name of a pool that does not exist is no reason to refuse it, because the two may be applied in
any order; but it is said wherever the advertisement is judged, since nothing else about the object
would ever show it. Called by the controller's reports and by the admission webhook.
"""

from __future__ import annotations

from collections.abc import Container

from lbctl.model.advertisement import L2Advertisement
from lbctl.model.configuration import Configured, Verdict
from lbctl.model.outcome import Problem
from lbctl.model.reason import Reason
from lbctl.plan.pools import join_problems


def judge_advertisement(entry: Configured[L2Advertisement], pools: Container[str]) -> Verdict:
    """Return whether the advertisement is in effect; `pools` are the names of all pools."""
    if entry.spec is None:
        return Verdict(accepted=False, reason=Reason.INVALID, message=join_problems(entry.problems))
    in_effect = "the advertisement is in effect"
    doubts = unknown_pools(entry, pools)
    if not doubts:
        return Verdict(accepted=True, reason=Reason.ACCEPTED, message=in_effect)
    return Verdict(
        accepted=True,
        reason=Reason.MISSING_POOL,
        message=f"{in_effect}; but {join_problems(doubts)}",
    )


def unknown_pools(entry: Configured[L2Advertisement], pools: Container[str]) -> tuple[Problem, ...]:
    """Return a problem for each pool that the advertisement names and that does not exist."""
    if entry.spec is None:
        return ()
    return tuple(
        Problem(
            path="spec.ipAddressPools",
            message=f"there is no pool {name} at present; create it or correct the name",
        )
        for name in sorted(entry.spec.pools)
        if name not in pools
    )
