"""Judge all objects of BGP's kinds together: the condition Accepted of each. Pure.

The rules are those that the plan of routes goes by; this puts them side by side for whoever shows
verdicts. Called by the controller's reports, and by the `lbctl` command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbctl.model.configuration import Configured, Verdict
from lbctl.model.names import ObjectKey
from lbctl.model.peer import BFDProfile
from lbctl.model.reason import Reason
from lbctl.model.snapshot import Snapshot
from lbctl.plan.advertisements import Known, judge_bgp_advertisement
from lbctl.plan.communities import judge_communities
from lbctl.plan.peers import judge_peers
from lbctl.plan.pools import join_problems

Profiles = Mapping[ObjectKey, Configured[BFDProfile]]


def judge_bgp(snapshot: Snapshot, profiles: Profiles) -> dict[ObjectKey, Verdict]:
    """Return the verdict on every BGPPeer, BGPAdvertisement, Community and BFDProfile."""
    aliases = judge_communities(snapshot.communities)
    known = Known(
        pools={key.name: pool for key, pool in snapshot.pools.items()},
        peers={key.name for key in snapshot.peers},
        communities=aliases.values,
    )
    return {
        **judge_peers(snapshot.peers, snapshot.nodes.values()),
        **{
            key: judge_bgp_advertisement(entry, known)
            for key, entry in snapshot.bgp_advertisements.items()
        },
        **aliases.verdicts,
        **{key: judge_profile(entry) for key, entry in profiles.items()},
    }


def judge_profile(entry: Configured[BFDProfile]) -> Verdict:
    """Return whether the profile could be used."""
    return judge_alone(entry, "the profile is valid; a peer that names it waits until there is BFD")


def judge_alone(entry: Configured[Any], in_effect: str) -> Verdict:
    """Return the verdict on an object whose fields are all that can be wrong with it."""
    if entry.problems:
        return Verdict(accepted=False, reason=Reason.INVALID, message=join_problems(entry.problems))
    return Verdict(accepted=True, reason=Reason.ACCEPTED, message=in_effect)
