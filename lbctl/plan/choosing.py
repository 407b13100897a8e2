"""Find an address for a Service that needs one, or say why there is none. Pure.

`find` takes nothing, so that a Service that needs two families gets both or none. The refusal is
computed separately and last, from the state in which the plan ends: so it does not depend on the
order in which the plan was made, and a decision that succeeds pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from lbctl.model.address import Family, family_of
from lbctl.model.allocation import Tried
from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import Service
from lbctl.plan.ledger import Draft
from lbctl.plan.pending import Pending, Pick
from lbctl.plan.serving import Slate, Slates, asked_pool
from lbctl.plan.sharing import Port, Terms, sharing_refusal, terms_of
from lbctl.plan.slots import slot_of
from lbctl.plan.unshared import SHARING_REFUSALS, Unshared

_new = tuple.__new__
"""Make a named tuple past its own constructor: a call less in every decision."""


_NAMED: Final = 3
"""How many pools a refusal names for each rule."""


class Chooser:
    """Choose addresses in one draft."""

    def __init__(self, draft: Draft, slates: Slates) -> None:
        self._draft = draft
        self._slates = slates
        self._unshared = Unshared(draft)

    def find(self, pending: Pending, avoid: Collection[int] = ()) -> list[Pick]:
        """Return an address for each missing family that has one; nothing if that is no use.

        Addresses in `avoid` are chosen last: waiting Services ask for them by name.
        """
        service = pending.service
        request = service.request
        if request.problem or (request.addresses and self._family_mismatch(pending)):
            return []
        found: list[Pick] = []
        for family in pending.missing:
            if request.addresses:
                asked = self._asked(pending, family)
                pick = asked if isinstance(asked, Pick) else None
            else:
                pick = self.free(service, family, avoid)
            if pick is not None:
                found.append(pick)
            elif pending.all_or_nothing:
                return []
        return found

    def free(self, service: Service, family: Family, avoid: Collection[int]) -> Pick | None:
        """Return any address of the family that the Service may have, those in `avoid` last.

        Of the first pool that has one: the very address that the Service had last, one to share,
        the next. What it had before decides which address it gets, never whether or when.
        """
        draft = self._draft
        slate = self._slates.slate(service, family)
        last = slate.giving
        if (
            last is not None
            and last.shelf is not None
            and not (avoid or service.sharing_key or service.key in draft.former)
        ):
            # The shelf that gave the last one has the next, and says the same: no search.
            slot = draft.shelves[last.shelf].fresh(draft.holders)
            if slot is not None:
                return _new(Pick, (slot, last.pool, last.shelf, last.trace))
        pick = self._free(service, family, avoid)
        return self._free(service, family, ()) if pick is None and avoid else pick

    def take(self, pending: Pending, found: list[Pick]) -> None:
        for pick in found:
            self._draft.hold(pending.service, pick.slot, pick.shelf)
            pending.add(pick)

    def refusal(self, pending: Pending) -> tuple[Refused, tuple[Tried, ...]]:
        """Return why the missing families are missing, and what each pool says."""
        service = pending.service
        request = service.request
        if request.problem is not None:
            return Refused(reason=Reason.INVALID_REQUEST, detail=str(request.problem)), ()
        if request.pool and request.pool not in self._draft.book.rank_of:
            return self._unknown_pool(pending), ()
        if request.addresses:
            mismatch = self._family_mismatch(pending)
            return (mismatch, ()) if mismatch is not None else self._asked_refusals(pending)
        refusals: list[Refused] = []
        trace: list[Tried] = []
        for family in pending.missing:
            slate = self._slates.slate(service, family)
            pick = self._free(service, family, ())
            if pick is None:
                unshared = self._unshared_on(slate, service)
                for step in slate.steps:
                    if isinstance(step, int) and step in unshared:
                        trace.append(unshared[step])
                    trace.append(self._answer(step))
                refused = self._nothing_free(slate, service, family)
                refusals.append(_also(refused, next(iter(unshared.values()), None)))
            else:
                spare = (
                    self._draft.shelves[pick.shelf].label.spare if pick.shelf is not None else None
                )
                trace.extend((*pick.trace[:-1], *((spare,) if spare else ())))
        return _first(refusals), tuple(dict.fromkeys(trace))

    def _free(self, service: Service, family: Family, avoid: Collection[int]) -> Pick | None:
        slate = self._slates.slate(service, family)
        draft = self._draft
        sharing = (terms_of(service), service.sharing_ports) if service.sharing_key else None
        former = draft.former.get(service.key, ())
        # Nothing becomes free while addresses are given: a full shelf needs no second look,
        # except by who could share one of its addresses.
        index = 0 if sharing else slate.begin
        for step in slate.steps[index:] if index else slate.steps:
            over = True
            if isinstance(step, int):
                chosen = self._returned(service, step, former, avoid) if former else None
                if chosen is None and sharing:
                    chosen = self._to_share(*sharing, step)
                if chosen is None:
                    shelf = draft.shelves[step]
                    over = shelf.taken >= shelf.label.capacity
                    if not over:
                        chosen = draft.shelf(step).choose(draft.holders, avoid)
                if chosen is not None:
                    slot, words = chosen
                    trace = slate.traces.get(id(words)) if index <= slate.begin else None
                    if trace is None:
                        trace = self._trace(slate, index, words)
                    pick: Pick = _new(Pick, (slot, words.pool, step, trace))
                    if words is draft.shelves[step].label.fresh and index == slate.begin:
                        slate.giving = pick
                    return pick
            if over and index == slate.begin:
                slate.begin += 1
            index += 1
        return None

    def _trace(self, slate: Slate, index: int, words: Tried) -> tuple[Tried, ...]:
        """Return what the pools before this one answer, then its words."""
        trace = (*map(self._answer, slate.steps[:index]), words)
        if index <= slate.begin:
            slate.traces[id(words)] = trace
        return trace

    def _returned(
        self, service: Service, number: int, former: Iterable[int], avoid: Collection[int]
    ) -> tuple[int, Tried] | None:
        """Return the slot of the shelf that the Service had last, if it may have it again."""
        draft = self._draft
        for slot in former:
            if slot not in avoid and draft.shelf_of(slot) == number:
                holders = draft.holders.get(slot)
                if not holders or sharing_refusal(service, holders) is None:
                    return slot, draft.shelves[number].label.returned
        return None

    def _to_share(
        self, terms: Terms, ports: frozenset[Port], number: int
    ) -> tuple[int, Tried] | None:
        slot = self._draft.to_join(terms, ports, number)
        return None if slot is None else (slot, self._draft.shelves[number].label.shared)

    def _asked(self, pending: Pending, family: Family) -> Pick | Refused:
        """Return the requested address of the family, or why the Service cannot have it."""
        draft, service = self._draft, pending.service
        address = next(item for item in service.request.addresses if family_of(item) is family)
        slot = slot_of(address)
        number = draft.shelf_of(slot)
        if number is None:
            where = f"{address} is {self._whereabouts(slot)}"
            return Refused(reason=Reason.ADDRESS_NOT_IN_ANY_POOL, detail=where)
        pool = draft.book.ranked[number // 2]
        if asked_pool(service) not in (None, pool.name):
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

    def _whereabouts(self, slot: int) -> str:
        """Return where a slot is that no pool gives."""
        book = self._draft.book
        withholder = book.withholder(slot)
        if withholder is not None:
            return (
                f"in pool {withholder}, which never gives addresses of .0 and .255 (avoidBuggyIPs)"
            )
        keeper = book.keeper(slot)
        return "in no pool" if keeper is None else f"in pool {keeper}, which is not in effect"

    def _asked_refusals(self, pending: Pending) -> tuple[Refused, tuple[Tried, ...]]:
        answers = [self._worded(pending, family) for family in pending.missing]
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

    def _worded(self, pending: Pending, family: Family) -> Pick | Refused:
        """Return `_asked`, of several holders in the way always the same one."""
        answer = self._asked(pending, family)
        if isinstance(answer, Pick) or answer.reason not in SHARING_REFUSALS:
            return answer
        asked = pending.service.request.addresses
        slot = next(slot_of(item) for item in asked if family_of(item) is family)
        return self._unshared.on(slot, pending.service) or answer

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
            detail=f"pool {name} is not in effect, see its condition Accepted; of MetalLB's own kinds "
            "see the ConfigurationState"
            if name in self._draft.book.limbo
            else f"there is no pool {name}",
        )

    def _nothing_free(self, slate: Slate, service: Service, family: Family) -> Refused:
        pools = [self._draft.shelves[number].label.pool for number in slate.shelves]
        if pools:
            names = f"pool {pools[0]}" if len(pools) == 1 else f"pools {_enumerate(pools)}"
            return Refused(
                reason=Reason.POOL_EXHAUSTED, detail=f"every {family} address of {names} is in use"
            )
        answers = [step for step in slate.steps if isinstance(step, Tried)]
        if asked_pool(service) is not None and answers[0].reason is Reason.POOL_NOT_ALLOWED:
            return Refused(reason=Reason.POOL_NOT_ALLOWED, detail=answers[0].detail)
        if len(answers) == 1:
            text = f"pool {answers[0].pool}: {answers[0].detail}"
        elif answers:
            text = f"no pool in effect gives the Service an {family} address: {_rules(answers, family)}"
        else:
            text = "there is no pool in effect"
        return Refused(reason=Reason.NO_POOL_MATCHES, detail=text)

    def _unshared_on(self, slate: Slate, service: Service) -> dict[int, Tried]:
        """Return why the Service joins no address of its sharing key, by shelf that has one."""
        found: dict[int, Tried] = {}
        for number in slate.shelves:
            refused = self._unshared.refusal(service, number)
            if refused is not None:
                pool = self._draft.shelves[number].label.pool
                found[number] = Tried(pool=pool, reason=refused.reason, detail=refused.detail)
        return found

    def _answer(self, step: int | Tried) -> Tried:
        if not isinstance(step, int):
            return step
        shelf = self._draft.shelves[step]
        return shelf.label.full if shelf.full else shelf.label.reserved


def _enumerate(names: Sequence[str], most: int = 5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _rules(answers: Sequence[Tried], family: Family) -> str:
    """Return which rule keeps which pools away: the first few of each, whatever others there are.

    No number of pools is in it, or each pool that comes would rewrite every such condition.
    """
    words = {
        Reason.POOL_NOT_ALLOWED: "serviceAllocation does not select it",
        Reason.AUTO_ASSIGN_OFF: "autoAssign is false",
        Reason.NO_SUCH_FAMILY: f"no {family} range",
    }
    parts = []
    for reason, rule in words.items():
        pools = [answer.pool for answer in answers if answer.reason is reason]
        if pools:
            others = " and others" if len(pools) > _NAMED else ""
            parts.append(f"{rule} ({', '.join(pools[:_NAMED])}{others})")
    return "; ".join(parts)


def _also(refused: Refused, unshared: Tried | None) -> Refused:
    """Return the refusal with why the Service shares no address either."""
    if unshared is None:
        return refused
    text = f"{refused.detail}, and the Service cannot share {unshared.detail}"
    return Refused(reason=refused.reason, detail=text)


def _first(refusals: Iterable[Refused]) -> Refused:
    return next(
        iter(refusals),
        Refused(reason=Reason.POOL_EXHAUSTED, detail="no address was free when it was asked for"),
    )
