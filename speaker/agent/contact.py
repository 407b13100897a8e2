"""When to believe a peer that claims our address: contact with the API server, and claims heard. Pure.

The plan decides owners while the API server can be reached. A speaker cut off from it may have
been declared dead meanwhile, and another then claims its addresses on the wire. So: without
contact for 40 s (what Kubernetes takes to call a node not ready), an address that a published
peer's hardware address claims is released, and stays so until contact is back. An API outage
alone releases nothing, because nobody claims anything then. Called by the speaker's main loop;
`speaker.agent.conductor` reads `released`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lbctl.model.address import Address
from lbctl.model.membership import Instant

SILENCE_S: Final = 40.0
"""Contact older than this is no contact; the node lifecycle controller waits as long."""

RETURN_S: Final = 2.0
"""Contact must have been back for so long before addresses are ours again: the first watch
events after an outage bring the moves that we missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Hold when the API server last answered, and the claims heard since.

    `last` None means never: then nothing has been announced that could be released.
    """

    last: Instant | None = None
    heard: Mapping[Address, Instant] = field(default_factory=dict)
    released: frozenset[Address] = frozenset()
    back_since: Instant | None = None

    @property
    def deadline(self) -> Instant | None:
        """Return when `judged` may say something new without any new input."""
        moments = []
        if self.heard and self.last is not None:
            moments.append(self.last + SILENCE_S)
        if self.back_since is not None:
            moments.append(self.back_since + RETURN_S)
        return min(moments, default=None)


def claimed(contact: Contact, now: Instant, address: Address) -> Contact:
    """Note that a published peer announced `address` as its own at `now`."""
    return judged(replace(contact, heard={**contact.heard, address: now}), now, contact.last)


def judged(contact: Contact, now: Instant, last: Instant | None) -> Contact:
    """Return what is released at `now`, the API server having answered at `last`.

    Idempotent; early and late calls are harmless.
    """
    if last is None:
        return contact
    heard = {address: at for address, at in contact.heard.items() if at > last}
    if now - last >= SILENCE_S:
        return Contact(last=last, heard={}, released=contact.released | heard.keys())
    if not contact.released:
        return Contact(last=last, heard=heard)
    back_since = now if contact.back_since is None else contact.back_since
    if now - back_since >= RETURN_S:
        return Contact(last=last, heard=heard)
    return Contact(last=last, heard=heard, released=contact.released, back_since=back_since)
