"""Say which pools may serve a Service, before any address is looked at. Pure.

A slate is the answer for one Service and one family: the shelves to try in the order of rank, and
between them the pools that refuse, with the rule. It depends only on the Service's namespace,
labels and requested pool, so that ten thousand Services of a few kinds share a few slates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbctl.model.address import Family
from lbctl.model.allocation import Tried
from lbctl.model.names import PoolName
from lbctl.model.outcome import Refused
from lbctl.model.pool import Pool
from lbctl.model.reason import Reason
from lbctl.model.selector import any_matches
from lbctl.model.service import Service
from lbctl.plan.pending import Pick
from lbctl.plan.pools import PoolBook
from lbctl.plan.slots import FAMILIES

Namespaces = Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class Slate:
    """Hold the pools for one family in the order of rank: a shelf's number, or a refusal.

    Mutable, because it also remembers what the plan it belongs to found out about it.
    """

    steps: tuple[int | Tried, ...]
    begin: int = 0
    """Every step before this one is a refusal or a full shelf."""
    traces: dict[int, tuple[Tried, ...]] = field(default_factory=dict)
    """By id of the words of the shelf that gave (they live as long as its label): what all steps
    answered, while those before it are full."""
    giving: Pick | None = None
    """The last pick, if its shelf gave an address that nobody had yet: the next is beside it."""
    shelves: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.shelves = tuple(step for step in self.steps if isinstance(step, int))


def shelf_number(rank: int, family: Family) -> int:
    """Return the number of a shelf in the ledger: two for each pool in effect, by rank."""
    return 2 * rank + FAMILIES.index(family)


def asked_pool(service: Service) -> PoolName | None:
    """Return the pool that the Service asks for; one that cannot be read asks for nothing."""
    request = service.request
    return None if request.problem is not None else request.pool or None


def serving_refusal(pool: Pool, service: Service, namespaces: Namespaces) -> Refused | None:
    """Return why `serviceAllocation` keeps the pool from the Service, or None if it serves it.

    Namespaces and namespaceSelectors are united, and that union and serviceSelectors are ANDed.
    Selectors that match no namespace serve nobody; a namespace that is not known matches none.
    """
    rule = pool.allocation
    if rule is None:
        return None
    namespace = service.key.namespace
    if (rule.namespaces or rule.namespace_selectors) and namespace not in rule.namespaces:
        labels = namespaces.get(namespace)
        if labels is None or not any_matches(rule.namespace_selectors, labels):
            return Refused(
                reason=Reason.POOL_NOT_ALLOWED,
                detail=f"serviceAllocation of pool {pool.name} does not select namespace {namespace}",
            )
    if rule.service_selectors and not any_matches(rule.service_selectors, service.labels):
        return Refused(
            reason=Reason.POOL_NOT_ALLOWED,
            detail=f"serviceAllocation of pool {pool.name} does not select the Service's labels",
        )
    return None


class Slates:
    """Make and remember the slates of one plan."""

    def __init__(self, book: PoolBook, namespaces: Namespaces) -> None:
        self._book = book
        self._namespaces = namespaces
        self._known: dict[object, Slate] = {}
        rules = [pool.allocation for pool in book.ranked if pool.allocation is not None]
        self._by_namespace = any(rule.namespaces or rule.namespace_selectors for rule in rules)
        self._by_labels = any(rule.service_selectors for rule in rules)
        self._general: dict[Family, Slate] = {}
        """The slates of every Service that asks for no pool, where no pool has a rule."""

    def slate(self, service: Service, family: Family) -> Slate:
        slate = self._general.get(family)
        if slate is not None and not service.request.pool:
            return slate
        wanted = asked_pool(service)
        labels = frozenset(service.labels.items()) if self._by_labels else None
        namespace = service.key.namespace if self._by_namespace else None
        kind = (namespace, wanted, labels, family)
        slate = self._known.get(kind)
        if slate is None:
            slate = Slate(tuple(self._steps(service, wanted, family)))
            self._known[kind] = slate
        if kind == (None, None, None, family):
            self._general[family] = slate
        return slate

    def refusal(self, rank: int, service: Service) -> Refused | None:
        """Return why the pool of this rank does not serve the Service at all."""
        pool = self._book.ranked[rank]
        return None if pool.allocation is None else serving_refusal(pool, service, self._namespaces)

    def _steps(
        self, service: Service, wanted: PoolName | None, family: Family
    ) -> list[int | Tried]:
        steps: list[int | Tried] = []
        for rank, pool in enumerate(self._book.ranked):
            if wanted is not None and pool.name != wanted:
                continue
            refused = self.refusal(rank, service)
            if wanted is None and not pool.auto_assign:
                refused = Refused(
                    reason=Reason.AUTO_ASSIGN_OFF,
                    detail="the pool has autoAssign: false and the Service does not ask for it",
                )
            elif refused is None and family not in pool.families:
                refused = Refused(
                    reason=Reason.NO_SUCH_FAMILY, detail=f"the pool has no {family} range"
                )
            if refused is None:
                steps.append(shelf_number(rank, family))
            else:
                steps.append(Tried(pool=pool.name, reason=refused.reason, detail=refused.detail))
        return steps
