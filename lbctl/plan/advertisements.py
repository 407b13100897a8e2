"""Judge an advertisement: it stands or falls by itself, whatever other objects say. Pure.

A name of a pool or a peer that does not exist is no reason to refuse it, because objects may be
applied in any order; but it is said wherever the advertisement is judged, since nothing else about
the object would ever show it. A name of a community is another matter: without its communities a
route could go where it must not, so the advertisement waits for it. Called by the controller's
reports, by the plan of routes and by the admission webhook.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lbctl.model.address import Family, Range, shortest_length
from lbctl.model.advertisement import Advertisement, BGPAdvertisement, L2Advertisement
from lbctl.model.community import Alias
from lbctl.model.configuration import Configured, Verdict
from lbctl.model.outcome import Problem
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.model.selector import any_matches
from lbctl.model.service import Service
from lbctl.plan.pools import join_problems

IN_EFFECT = "the advertisement is in effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Hold what exists beside an advertisement: pools, and the names of peers and communities."""

    pools: Mapping[str, Configured[Pool]]
    peers: Container[str]
    communities: Container[str]


def judge_advertisement(entry: Configured[L2Advertisement], pools: Container[str]) -> Verdict:
    """Return whether the advertisement is in effect; `pools` are the names of all pools."""
    if entry.spec is None:
        return Verdict(accepted=False, reason=Reason.INVALID, message=join_problems(entry.problems))
    return _with_doubts(Reason.MISSING_POOL, unknown_pools(entry, pools))


def judge_bgp_advertisement(entry: Configured[BGPAdvertisement], known: Known) -> Verdict:
    """Return whether the advertisement is in effect, beside the names that exist."""
    if entry.spec is None:
        return Verdict(accepted=False, reason=Reason.INVALID, message=join_problems(entry.problems))
    missing = unknown_communities(entry.spec, known.communities)
    if missing:
        return Verdict(
            accepted=False, reason=Reason.MISSING_COMMUNITY, message=join_problems(missing)
        )
    found = bgp_doubts(entry, known)
    reason = found[0][0] if found else Reason.ACCEPTED
    return _with_doubts(reason, tuple(problem for _, problem in found))


def bgp_doubts(
    entry: Configured[BGPAdvertisement], known: Known
) -> tuple[tuple[Reason, Problem], ...]:
    """Return what is doubtful about an advertisement that is in effect all the same."""
    spec = entry.spec
    if spec is None:
        return ()
    return (
        *((Reason.MISSING_POOL, one) for one in unknown_pools(entry, known.pools)),
        *((Reason.MISSING_PEER, one) for one in unknown_peers(spec, known.peers)),
        *((Reason.AGGREGATE_TOO_WIDE, one) for one in wide_aggregates(spec, known.pools.values())),
    )


def wide_aggregates(
    advertisement: BGPAdvertisement, pools: Iterable[Configured[Pool]]
) -> Iterator[Problem]:
    """Yield a problem for each pool that has entries narrower than the aggregate."""
    for pool in pools:
        if pool.spec is None or not covers(advertisement, pool):
            continue
        wide = [(one, words) for one in pool.spec.ranges if (words := wider(advertisement, one))]
        if not wide:
            continue
        block, words = wide[0]
        more = f" (and of {len(wide) - 1} more)" if len(wide) > 1 else ""
        field = "aggregationLength" + ("V6" if block.family is Family.IPV6 else "")
        yield Problem(
            path=f"spec.{field}",
            message=f"{words} of pool {pool.key.name}; the addresses of this entry{more} are not "
            "announced; raise the length, or widen the entry",
        )


def wider(advertisement: BGPAdvertisement, block: Range) -> str | None:
    """Return in words that an aggregate of the block's addresses would reach beyond it, or None.

    The rule is MetalLB's: the prefix must not be shorter than the largest CIDR of the block.
    """
    length = advertisement.length(block.family)
    if length == block.first.max_prefixlen or length >= (least := shortest_length(block)):
        return None
    return f"/{length}, which is wider than {block} (/{least})"


def unknown_pools(
    entry: Configured[L2Advertisement] | Configured[BGPAdvertisement], pools: Container[str]
) -> tuple[Problem, ...]:
    """Return a problem for each pool that the advertisement names and that does not exist."""
    spec: Advertisement | None = entry.spec
    if spec is None:
        return ()
    return _unknown("spec.ipAddressPools", "pool", spec.pools, pools)


def unknown_peers(advertisement: BGPAdvertisement, peers: Container[str]) -> tuple[Problem, ...]:
    """Return a problem for each peer that the advertisement names and that does not exist."""
    return _unknown("spec.peers", "BGPPeer", advertisement.peers, peers)


def unknown_communities(
    advertisement: BGPAdvertisement, names: Container[str]
) -> tuple[Problem, ...]:
    """Return a problem for each name of a community that no object in effect defines."""
    return tuple(
        Problem(
            path=f"spec.communities[{index}]",
            message=f"no Community object defines {item.name!r}; define it or correct the name",
        )
        for index, item in enumerate(advertisement.communities)
        if isinstance(item, Alias) and item.name not in names
    )


def covers(advertisement: Advertisement, pool: Configured[Pool]) -> bool:
    """Return whether the advertisement is about the pool; without names and selectors it is."""
    if not advertisement.pools and not advertisement.pool_selectors:
        return True
    if pool.key.name in advertisement.pools:
        return True
    # A pool that cannot be read has no labels that one could trust.
    return pool.spec is not None and any_matches(advertisement.pool_selectors, pool.spec.labels)


def selects_service(advertisement: Advertisement, service: Service) -> bool:
    """Return whether the advertisement is about the Service; without selectors it is."""
    return not advertisement.service_selectors or any_matches(
        advertisement.service_selectors, service.labels
    )


def _unknown(
    path: str, kind: str, named: Iterable[str], existing: Container[str]
) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            path=path,
            message=f"there is no {kind} {name} at present; create it or correct the name",
        )
        for name in sorted(named)
        if name not in existing
    )


def _with_doubts(reason: Reason, doubts: tuple[Problem, ...]) -> Verdict:
    if not doubts:
        return Verdict(accepted=True, reason=Reason.ACCEPTED, message=IN_EFFECT)
    return Verdict(
        accepted=True, reason=reason, message=f"{IN_EFFECT}; but {join_problems(doubts)}"
    )
