"""Laws that every plan keeps, whatever went before; the machine checks them after each step."""

from __future__ import annotations

from itertools import combinations

from lbctl.model.address import family_of
from lbctl.model.allocation import NotOurs, Outcome
from lbctl.model.names import ServiceKey
from lbctl.plan.allocation import Plan
from tests.support.allocation_world import AllocationWorld, Body, pool_key


def check_lawful(present: Plan, world: AllocationWorld) -> None:
    """Fail unless each address is in a pool of the Service's, one of each family, IPv4 first."""
    for one, other in combinations(present.book.ranked, 2):
        assert not any(a.overlaps(b) for a in one.ranges for b in other.ranges)
    by_name = {pool.name: pool for pool in present.book.ranked}
    for key, outcome in present.outcomes.items():
        if isinstance(outcome, NotOurs):
            continue
        families = [family_of(address) for address in outcome.addresses]
        assert families == sorted(set(families))
        assert set(families) <= set(world.service(key).families)
        for address, name in zip(outcome.addresses, outcome.pools, strict=True):
            assert name in present.book.limbo or address in by_name[name]
    assert set(present.verdicts) == set(map(pool_key, world.pools))


def check_losses(before: Plan, present: Plan, world: AllocationWorld) -> None:
    """Fail unless each address that a Service loses is named with the reason."""
    held = before.ledger.holders.values()
    uids = {holder.key: holder.uid for holders in held for holder in holders}
    for key, outcome in present.outcomes.items():
        earlier = before.outcomes.get(key)
        if not (isinstance(outcome, Outcome) and isinstance(earlier, Outcome)):
            continue
        if uids.get(key) != world.service(key).uid:
            continue
        said = [refused.detail for refused in outcome.lost]
        for address in earlier.addresses:
            if address not in outcome.addresses:
                assert any(text.startswith(f"{address} is not kept: ") for text in said), said


def without_words(present: Plan) -> dict[ServiceKey, object]:
    """Return the decisions without how they came about: "gave" becomes "keeps" in time."""
    return {
        key: decision
        if isinstance(decision, NotOurs)
        else (
            decision.addresses,
            decision.pools,
            decision.refused,
            tuple(words for words in decision.trace if words.reason is not None)
            if not decision.addresses
            else (),
        )
        for key, decision in present.outcomes.items()
    }


def differences(before: Plan, present: Plan) -> set[ServiceKey]:
    keys = set(before.outcomes) | set(present.outcomes)
    return {key for key in keys if before.outcomes.get(key) != present.outcomes.get(key)}


def foreign_conditions(body: Body) -> list[Body]:
    conditions = body["status"].get("conditions") or []
    return [item for item in conditions if not item["type"].startswith("lbctl.io/")]
