"""Adj-RIB-Out of one session: what the peer should have against what it was sent. Pure.

Level-triggered: the wish is a whole table, and what to send is computed from the difference at the
moment of sending. So the last wish wins, however many there were meanwhile; a prefix is in one
UPDATE of a batch at most; a withdraw is never overtaken by an older announcement, because neither
is queued. A new session has been sent nothing, a refresh sends a family again; both are the same
path. What cannot be sent on this session (its family was not agreed on, no next hop) is kept aside
with the reason. Called by `speaker.protocols.bgp_session`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from itertools import islice
from typing import Final

from lbctl.model.address import Address, Family
from lbctl.model.route import Prefix
from speaker.protocols.bgp_peer import Terms
from speaker.wire.bgp_frame import end_of_rib
from speaker.wire.bgp_messages import PathAttributes
from speaker.wire.bgp_update import announce, withdraw

BATCH: Final = 16384
"""Prefixes of one batch, at most 280 KiB: what may wait in memory for a slow peer."""

PLAIN: Final = PathAttributes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Hold what is said about one prefix. `next_hop` None is our own address on the session."""

    next_hop: Address | None = None
    attributes: PathAttributes = PLAIN


Table = Mapping[Prefix, Route]


class Unsendable(enum.StrEnum):
    """Say why a route is not sent on a session."""

    FAMILY = "family_not_negotiated"
    NEXT_HOP = "no_next_hop"
    """None of its family is ours on this session, and the peer takes none of the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Hold the terms of a session that decide how its routes are written."""

    terms: Terms
    own: Mapping[Family, Address]
    """Next hop self."""

    def hop(self, family: Family) -> Address | None:
        """Return the next hop of a route that names none; IPv6 serves IPv4 if the peer agrees."""
        if family in self.own or not self.terms.extended_next_hop:
            return self.own.get(family)
        return self.own.get(Family.IPV6)


class AdjRibOut:
    """Hold the wish and what was sent; `take` returns what the peer lacks."""

    def __init__(self) -> None:
        self.wanted: Table | None = None
        """None until the first table is there. Nobody changes a table that was handed over."""
        self.sent: dict[Prefix, Route] = {}
        self.sent_of: Counter[Family] = Counter()
        """How many of each family are sent."""
        self.unsendable: dict[Prefix, Unsendable] = {}
        self.complete_since_open = False
        """The whole table has been sent once in this session, and End-of-RIB after it."""
        self._dirty: dict[Prefix, None] = {}
        """What may differ, oldest first."""
        self._again: set[Prefix] = set()
        """What is sent although the peer was sent it."""
        self._unconfirmed: set[Prefix] = set()
        """Of what is sent: what the peer's TCP has not acknowledged, as far as we have looked."""
        self._egress: Egress | None = None

    @property
    def waiting(self) -> bool:
        """Whether `take` would return something."""
        return self._egress is not None and (bool(self._dirty) or not self.complete_since_open)

    def want(self, table: Table) -> None:
        """Make `table` the wish."""
        before = {} if self.wanted is None else self.wanted
        self.wanted = table
        if table is before:
            return
        # The one look at every prefix: nearly all routes are the very objects of before.
        others = [prefix for prefix, route in table.items() if before.get(prefix) is not route]
        self._dirty.update((one, None) for one in others if before.get(one) != table[one])
        # A difference of keys costs as much as all of the above.
        if len(table) - sum(one not in before for one in others) < len(before):
            self._dirty.update(dict.fromkeys(before.keys() - table.keys()))

    def open(self, egress: Egress) -> None:
        """Begin a session: the peer has nothing."""
        self.close()
        self._egress = egress
        self._dirty = dict.fromkeys(self.wanted or ())

    def close(self) -> None:
        """End the session: what was sent is gone, or kept by the peer until we say it anew."""
        self.sent.clear()
        self.sent_of.clear()
        self.unsendable.clear()
        self._dirty.clear()
        self._again.clear()
        self._unconfirmed.clear()
        self._egress = None
        self.complete_since_open = False

    def refresh(self, family: Family) -> None:
        """Send the routes of `family` again (RFC 2918 4)."""
        again = [prefix for prefix in self.sent if prefix.family is family]
        self._again.update(again)
        self._dirty.update(dict.fromkeys(again))

    def renumber(self, own: Mapping[Family, Address]) -> None:
        """Take another next hop self; routes that it changes are sent again, or withdrawn."""
        if self._egress is None:
            return
        before = self._egress
        self._egress = replace(before, own=own)
        others = {one for one in Family if before.hop(one) != self._egress.hop(one)}
        again = [
            prefix
            for prefix, route in (self.wanted or {}).items()
            if route.next_hop is None and prefix.family in others
        ]
        self._again.update(again)
        self._dirty.update(dict.fromkeys(again))

    def confirm(self) -> None:
        """Note that the peer's TCP has acknowledged everything that was sent."""
        self._unconfirmed.clear()

    def confirmed_of(self) -> Counter[Family]:
        """Return how many routes of each family the peer has confirmed as they are wished now."""
        wanted = self.wanted or {}
        other = {one for one in self._dirty if wanted.get(one) != self.sent.get(one)}
        lacking = self._unconfirmed | other.intersection(self.sent)
        return self.sent_of - Counter(prefix.family for prefix in lacking)

    def take(self) -> tuple[bytes, ...]:
        """Return the next UPDATEs: withdraws, announcements and, after the first table, the ends."""
        if self._egress is None or self.wanted is None:
            return ()
        withdrawn: dict[Family, list[Prefix]] = {}
        announced: dict[tuple[Family, Address, bytes], list[Prefix]] = {}
        packed: dict[tuple[Family, Route], tuple[Family, Address, bytes] | Unsendable] = {}
        for prefix in list(islice(self._dirty, BATCH)):
            del self._dirty[prefix]
            family = prefix.family
            route = self.wanted.get(prefix)
            group = None if route is None else packed.get((family, route))
            if route is not None and group is None:
                group = packed[family, route] = self._group(family, route)
            self.unsendable.pop(prefix, None)
            if isinstance(group, Unsendable):
                self.unsendable[prefix] = group
                group = None
            if group is None or route is None:
                self._unconfirmed.discard(prefix)
                if self.sent.pop(prefix, None) is not None:
                    self.sent_of[family] -= 1
                    withdrawn.setdefault(family, []).append(prefix)
            elif prefix in self._again or self.sent.get(prefix) != route:
                self.sent_of[family] += prefix not in self.sent
                self.sent[prefix] = route
                self._unconfirmed.add(prefix)
                announced.setdefault(group, []).append(prefix)
            self._again.discard(prefix)
        messages = [one for family, each in withdrawn.items() for one in withdraw(family, each)]
        for (family, hop, attributes), prefixes in announced.items():
            messages += announce(family, hop, attributes, prefixes)
        if not self._dirty and not self.complete_since_open:
            self.complete_since_open = True
            messages += [end_of_rib(family) for family in sorted(self._egress.terms.families)]
        return tuple(messages)

    def _group(self, family: Family, route: Route) -> tuple[Family, Address, bytes] | Unsendable:
        """Return what routes must share to share an UPDATE, as the peer will see it."""
        assert self._egress is not None
        terms = self._egress.terms
        if family not in terms.families:
            return Unsendable.FAMILY
        hop = route.next_hop or self._egress.hop(family)
        crossed = hop is not None and hop.version != (4 if family is Family.IPV4 else 6)
        if hop is None or (crossed and not (family is Family.IPV4 and terms.extended_next_hop)):
            return Unsendable.NEXT_HOP
        from speaker.wire.bgp import encode_attributes  # noqa: PLC0415 - 17 MiB, with a peer only

        attributes = encode_attributes(
            route.attributes,
            local_asn=terms.local_asn,
            internal=terms.internal,
            four_octet_asn=terms.peer.four_octet_asn,
            next_hop=hop if family is Family.IPV4 and isinstance(hop, IPv4Address) else None,
        )
        return family, hop, attributes
