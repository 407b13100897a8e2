"""Say why a Service cannot join the holders of an address, in the same words every time. Pure.

Who shares an address and who is refused is decided elsewhere; this is for the words of a refusal,
when every address has been given. Of several holders the oldest answers, or the one that has the
lowest common port; of several addresses of a sharing key the first in the pool's order: so it is
the same however the plan was reached, and costs what the newcomer's own ports cost, also where
thousands share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lbctl.model.outcome import Refused
from lbctl.model.reason import Reason
from lbctl.model.service import Service
from lbctl.plan.ledger import Draft
from lbctl.plan.pending import age
from lbctl.plan.sharing import sharing_refusal
from lbctl.plan.slots import address_of

SHARING_REFUSALS: Final = frozenset(
    {Reason.ADDRESS_IN_USE, Reason.SHARING_KEY_DIFFERS, Reason.PORT_IN_USE}
)
"""What `sharing_refusal` may answer."""


class Unshared:
    """Answer for one draft that gives no address any more; what it looks up it looks up once."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._slots: Mapping[tuple[str, int], int] | None = None
        self._holders: dict[int, tuple[Service, Mapping[tuple[str, int], Service]]] = {}

    def refusal(self, service: Service, number: int) -> Refused | None:
        """Return why the Service shares no address of the shelf; None if its key has none there."""
        if not service.sharing_key:
            return None
        if self._slots is None:
            self._slots = _first_slots(self._draft)
        slot = self._slots.get((service.sharing_key, number))
        return None if slot is None else self.on(slot, service)

    def on(self, slot: int, service: Service) -> Refused | None:
        """Return why the Service does not join the holders of the slot; None if it may."""
        oldest, users = self._who(slot)
        common = service.sharing_ports & users.keys()
        asked = (oldest, users[min(common)]) if common else (oldest,)
        refused = sharing_refusal(service, asked)
        if refused is None:
            return None
        return Refused(reason=refused.reason, detail=f"{address_of(slot)}: {refused.detail}")

    def _who(self, slot: int) -> tuple[Service, Mapping[tuple[str, int], Service]]:
        """Return the oldest holder of the slot, and who uses each port."""
        found = self._holders.get(slot)
        if found is None:
            holders = self._draft.holders[slot]
            users = {port: holder for holder in holders for port in holder.sharing_ports}
            found = self._holders[slot] = (min(holders, key=age), users)
        return found


def _first_slots(draft: Draft) -> Mapping[tuple[str, int], int]:
    """Return the first slot that a sharing key has on a shelf, by both."""
    found: dict[tuple[str, int], int] = {}
    for slot, holders in draft.holders.items():
        # Whoever shares an address does so with one key.
        key = next(iter(holders)).sharing_key
        number = draft.shelf_of(slot) if key else None
        if number is None:
            continue
        order = draft.shelves[number].order
        first = found.get((key, number))
        if first is None or order(slot) < order(first):
            found[key, number] = slot
    return found
