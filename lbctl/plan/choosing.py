"""Find an address for a Service that needs one, or say why there is none. Pure.

`find` takes nothing, so that a Service that needs two families gets both or none. The refusal is
computed separately and last, from the state in which the plan ends: so it does not depend on the
order in which the plan was made, and a decision that succeeds pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from lbctl.model.address import Family, family_of
from lbctl.model.allocation import Tried
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.plan.ledger import Draft
from lbctl.plan.pending import Pending, Pick
from lbctl.plan.serving import Slate, Slates
from lbctl.plan.sharing import sharing_refusal
from lbctl.plan.slots import slot_of

Found = dict[Family, Pick]


class Chooser:
    """Choose addresses in one draft."""

    def __init__(self, draft: Draft, slates: Slates) -> None:
        self._draft = draft
        self._slates = slates

    def find(self, pending: Pending, avoid: Container[int] = ()) -> Found:
        """Return an address for each missing family that has one; nothing if that is no use."""
        found: Found = {}
        request = pending.service.request
        if request.addresses and self._family_mismatch(pending):
            return found
        missing = pending.missing
        for family in missing:
            if request.addresses:
                asked = self._asked(pending, family)
                pick = asked if isinstance(asked, Pick) else None
            else:
                pick = self._free(pending, family, avoid)
            if pick is not None:
                found[family] = pick
            elif pending.all_or_nothing:
                return {}
        return found

    def take(self, pending: Pending, found: Found) -> None:
        for family, pick in found.items():
            self._draft.hold(pending.service, pick.slot, pick.shelf)
            pending.picks[family] = pick

    def refusal(self, pending: Pending) -> tuple[Refused, tuple[Tried, ...]]:
        """Return why the missing families are missing, and what each pool says."""
        service = pending.service
        request = service.request
        if request.problem is not None:
            return Refused(reason=Reason.INVALID_REQUEST, detail=str(request.problem)), ()
        if request.pool is not None and request.pool not in self._draft.book.rank_of:
            return self._unknown_pool(pending), ()
        if request.addresses:
            mismatch = self._family_mismatch(pending)
            return (mismatch, ()) if mismatch is not None else self._asked_refusals(pending)
        refusals: list[Refused] = []
        trace: list[Tried] = []
        for family in pending.missing:
            slate = self._slates.slate(service, family)
            pick = self._free(pending, family, ())
            if pick is None:
                trace.extend(self._answer(step) for step in slate.steps)
                refusals.append(_nothing_free(slate, family, self._draft))
            else:
                spare = self._draft.shelves[pick.shelf].label.spare if pick.shelf is not None else None
                trace.extend((*pick.trace[:-1], *((spare,) if spare else ())))
        return _first(refusals), tuple(dict.fromkeys(trace))

    def _free(self, pending: Pending, family: Family, avoid: Container[int]) -> Pick | None:
        service = pending.service
        steps = self._slates.slate(service, family).steps
        shelves = self._draft.shelves
        for index, step in enumerate(steps):
            if not isinstance(step, int):
                continue
            chosen = self._to_share(pending, step) if service.sharing_key else None
            if chosen is None:
                shelf = shelves[step]
                if shelf.taken >= shelf.label.capacity:
                    continue
                chosen = self._draft.shelf(step).choose(self._draft.holders, avoid)
            if chosen is not None:
                slot, words = chosen
                trace = (*map(self._answer, steps[:index]), words) if index else (words,)
                return Pick(slot, words.pool, step, trace)
        return None

    def _to_share(self, pending: Pending, number: int) -> tuple[int, Tried] | None:
        draft, service = self._draft, pending.service
        shelf = draft.shelves[number]
        slots = (
            slot
            for slot in draft.by_sharing_key.get(service.sharing_key, ())
            if draft.shelf_of(slot) == number
        )
        for slot in sorted(slots, key=shelf.order):
            if sharing_refusal(service, draft.holders[slot]) is None:
                return slot, shelf.label.shared
        return None

    def _asked(self, pending: Pending, family: Family) -> Pick | Refused:
        """Return the requested address of the family, or why the Service cannot have it."""
        draft, service = self._draft, pending.service
        address = next(item for item in service.request.addresses if family_of(item) is family)
        slot = slot_of(address)
        number = draft.shelf_of(slot)
        if number is None:
            keeper = draft.book.keeper(slot, ())
            where = (
                f"{address} is in pool {keeper}, which is not in effect"
                if keeper
                else f"{address} is in no pool"
            )
            return Refused(reason=Reason.ADDRESS_NOT_IN_ANY_POOL, detail=where)
        pool = draft.book.ranked[number // 2]
        if service.request.pool not in (None, pool.name):
            return Refused(
                reason=Reason.ADDRESS_NOT_IN_REQUESTED_POOL,
                detail=f"{address} is in pool {pool.name} and the Service asks for pool "
                f"{service.request.pool}",
            )
        refused = self._slates.refusal(number // 2, service)
        if refused is None:
            refused = sharing_refusal(service, draft.holders.get(slot, ()))
        if refused is not None:
            return Refused(reason=refused.reason, detail=f"{address}: {refused.detail}")
        return Pick(slot, pool.name, number, (draft.shelves[number].label.asked,))

    def _asked_refusals(self, pending: Pending) -> tuple[Refused, tuple[Tried, ...]]:
        answers = [self._asked(pending, family) for family in pending.missing]
        refusals = [answer for answer in answers if isinstance(answer, Refused)]
        trace: list[Tried] = []
        for family, answer in zip(pending.missing, answers, strict=True):
            address = next(
                item for item in pending.service.request.addresses if family_of(item) is family
            )
            number = self._draft.shelf_of(slot_of(address))
            if number is None:
                continue
            label = self._draft.shelves[number].label
            trace.append(
                Tried(pool=label.pool, reason=answer.reason, detail=answer.detail)
                if isinstance(answer, Refused)
                else label.spare
            )
        return _first(refusals), tuple(trace)

    def _family_mismatch(self, pending: Pending) -> Refused | None:
        asked = pending.service.request.addresses
        families = sorted(family_of(address) for address in asked)
        if families == sorted(pending.wanted):
            return None
        return Refused(
            reason=Reason.FAMILY_MISMATCH,
            detail=f"the Service asks for {', '.join(map(str, asked))} and needs one address of "
            f"{' and one of '.join(pending.wanted)}",
        )

    def _unknown_pool(self, pending: Pending) -> Refused:
        name = pending.service.request.pool
        return Refused(
            reason=Reason.UNKNOWN_POOL,
            detail=f"pool {name} is not in effect, see its condition Accepted"
            if name in self._draft.book.limbo
            else f"there is no pool {name}",
        )

    def _answer(self, step: int | Tried) -> Tried:
        if not isinstance(step, int):
            return step
        shelf = self._draft.shelves[step]
        return shelf.label.full if shelf.taken >= shelf.label.capacity else shelf.label.reserved


def _nothing_free(slate: Slate, family: Family, draft: Draft) -> Refused:
    pools = [draft.shelves[number].label.pool for number in slate.shelves]
    if pools:
        names = f"pool {pools[0]}" if len(pools) == 1 else f"pools {_enumerate(pools)}"
        return Refused(
            reason=Reason.POOL_EXHAUSTED, detail=f"every {family} address of {names} is in use"
        )
    answers = [step for step in slate.steps if not isinstance(step, int)]
    if len(answers) == 1:
        only = answers[0]
        reason = (
            Reason.POOL_NOT_ALLOWED
            if only.reason is Reason.POOL_NOT_ALLOWED
            else Reason.NO_POOL_MATCHES
        )
        return Refused(reason=reason, detail=f"pool {only.pool}: {only.detail}")
    return Refused(
        reason=Reason.NO_POOL_MATCHES,
        detail=f"none of the {len(answers)} pools in effect may serve the Service with {family}"
        if answers
        else "there is no pool in effect",
    )


def _enumerate(names: list[str], most: int = 5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _first(refusals: Iterable[Refused]) -> Refused:
    return next(
        iter(refusals),
        Refused(reason=Reason.POOL_EXHAUSTED, detail="no address was free when it was asked for"),
    )
