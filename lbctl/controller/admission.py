"""Judge a configuration object that somebody is about to write. No I/O.

The words are those of the condition `Accepted`: the same parser and the same rules over the same
pools in effect. So whatever the condition would say is said at the door, also in MetalLB's group,
whose schema lets more through than ours. A reference to a pool that does not exist is a warning,
because an advertisement may be applied before its pool, and so are ranges that clients cannot
reach; BGP objects are judged one by one, and what they say of peers and names of communities is
not looked up here.

Let through on purpose: an update that leaves `spec` alone (refusing a label makes no pool better)
and an update in another namespace (with a warning: it may be somebody else's object). Runs in
kopf's thread: it reads one immutable value, which the reflectors' loop replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lbctl.kube.crds.bfd_profile import parse_bfd_profile
from lbctl.kube.crds.bgp_advertisement import parse_bgp_advertisement
from lbctl.kube.crds.bgp_peer import parse_bgp_peer
from lbctl.kube.crds.communities import parse_communities
from lbctl.kube.crds.ip_address_pool import parse_pool
from lbctl.kube.crds.l2_advertisement import parse_l2_advertisement
from lbctl.model.configuration import Configured, Verdict
from lbctl.model.names import ObjectKey
from lbctl.model.outcome import Problem
from lbctl.plan.advertisements import (
    Known,
    bgp_doubts,
    judge_advertisement,
    judge_bgp_advertisement,
    unknown_pools,
)
from lbctl.plan.bgp_objects import judge_alone
from lbctl.plan.peers import judge_peer
from lbctl.plan.pools import PoolBook, judge_candidate, pool_doubts


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Say yes, with what the writer should know all the same."""

    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """Say no, in one message that names object, field and cure."""

    message: str


class _Any(Container[str]):
    """Hold every name."""

    def __contains__(self, name: object) -> bool:
        return True


_ANY: Final = _Any()

Answer = Admitted | Denied
Body = Mapping[str, Any]


class Judge:
    """Answer for one installation; `book` returns the present judgement on all its pools."""

    def __init__(self, book: Callable[[], PoolBook], *, namespace: str) -> None:
        self._book = book
        self._namespace = namespace

    def pool(self, body: Body, old: Body | None) -> Answer:
        """Judge an IPAddressPool that is created, or that replaces `old`."""
        found = parse_pool(dict(body))
        if found is None:
            return Admitted()
        doubts = pool_doubts(found.spec) if found.spec is not None else ()
        return self._by_place(found, body, old) or _answer(
            found.key, judge_candidate(found, self._book()), doubts
        )

    def advertisement(self, body: Body, old: Body | None) -> Answer:
        """Judge an L2Advertisement that is created, or that replaces `old`."""
        found = parse_l2_advertisement(dict(body))
        if found is None:
            return Admitted()
        pools = {key.name for key in self._book().judged}
        return self._by_place(found, body, old) or _answer(
            found.key, judge_advertisement(found, pools), unknown_pools(found, pools)
        )

    def peer(self, body: Body, old: Body | None) -> Answer:
        """Judge a BGPPeer that is created, or that replaces `old`."""
        found = parse_bgp_peer(dict(body))
        if found is None:
            return Admitted()
        return self._by_place(found, body, old) or _answer(found.key, judge_peer(found))

    def bgp_advertisement(self, body: Body, old: Body | None) -> Answer:
        """Judge a BGPAdvertisement that is created, or that replaces `old`."""
        found = parse_bgp_advertisement(dict(body))
        if found is None:
            return Admitted()
        pools = {key.name: pool for key, pool in self._book().judged.items()}
        known = Known(pools=pools, peers=_ANY, communities=_ANY)
        doubts = [problem for _, problem in bgp_doubts(found, known)]
        return self._by_place(found, body, old) or _answer(
            found.key, judge_bgp_advertisement(found, known), doubts
        )

    def community(self, body: Body, old: Body | None) -> Answer:
        """Judge a Community that is created, or that replaces `old`."""
        return self._alone(parse_communities(dict(body)), body, old)

    def bfd_profile(self, body: Body, old: Body | None) -> Answer:
        """Judge a BFDProfile that is created, or that replaces `old`."""
        return self._alone(parse_bfd_profile(dict(body)), body, old)

    def _alone(self, found: Configured[Any] | None, body: Body, old: Body | None) -> Answer:
        """Judge an object of a kind whose fields are all that can be wrong."""
        if found is None:
            return Admitted()
        verdict = judge_alone(found, "the object is valid")
        return self._by_place(found, body, old) or _answer(found.key, verdict)

    def _by_place(self, found: Configured[Any], body: Body, old: Body | None) -> Answer | None:
        """Return the answer that needs no look at the fields, if there is one."""
        key = found.key
        if key.namespace == self._namespace:
            same = old is not None and old.get("spec") == body.get("spec")
            return Admitted() if same else None
        only = f"lbctl reads its configuration in namespace {self._namespace} only"
        if old is not None:
            return Admitted(warnings=(f"{key}: metadata.namespace: {only}; move the object there",))
        return Denied(
            message=f"{key}: metadata.namespace: {only}; create the object there (or, if another "
            f"installation serves namespace {key.namespace}, add that namespace to the chart's "
            "webhook.otherNamespaces)"
        )


def _answer(key: ObjectKey, verdict: Verdict, doubts: Iterable[Problem] = ()) -> Answer:
    if verdict.accepted:
        return Admitted(warnings=tuple(f"{key}: {doubt}" for doubt in doubts))
    return Denied(message=f"{key}: {verdict.message}")
