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
"""Every input must have been heard for so long before addresses are ours again: the first watch
events after an outage bring the moves that we missed."""

LOOK_S: Final = 1.0
"""How often to look whether the inputs are back, while something is released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Hold when the API server last answered, and the claims heard since.

    `last` None means never: then nothing has been announced that could be released.
    `silent_at` is the latest moment at which there certainly was no contact.
    """

    last: Instant | None = None
    heard: Mapping[Address, Instant] = field(default_factory=dict)
    released: frozenset[Address] = frozenset()
    silent_at: Instant | None = None
    looked_at: Instant | None = None
    back_since: Instant | None = None

    @property
    def deadline(self) -> Instant | None:
        """Return when `judged` may say something new without any new input."""
        moments = []
        if self.heard and self.last is not None:
            moments.append(self.last + SILENCE_S)
        if self.back_since is not None:
            moments.append(self.back_since + RETURN_S)
        elif self.released and self.looked_at is not None:
            moments.append(self.looked_at + LOOK_S)
        return min(moments, default=None)


def claimed(contact: Contact, now: Instant, address: Address) -> Contact:
    """Note that a published peer announced `address` as its own at `now`."""
    noted = replace(contact, heard={**contact.heard, address: now})
    return judged(noted, now, contact.last, contact.last)


def judged(contact: Contact, now: Instant, last: Instant | None, inputs: Instant | None) -> Contact:
    """Return what is released at `now`, the API server having answered at `last`.

    `inputs` is when the input that was silent longest was heard. One answer ends the silence,
    but what was missed arrives with the watches, each of which comes back in its own time; an
    address taken back before that would be answered twice. Idempotent; early and late calls
    are harmless.
    """
    if last is None:
        return contact
    heard = {address: at for address, at in contact.heard.items() if at > last}
    if now - last >= SILENCE_S:
        released = contact.released | heard.keys()
        return Contact(last=last, released=released, silent_at=now, looked_at=now)
    if not contact.released:
        return Contact(last=last, heard=heard)
    waiting = Contact(
        last=last,
        heard=heard,
        released=contact.released,
        silent_at=contact.silent_at,
        looked_at=now,
    )
    if contact.silent_at is not None and (inputs is None or inputs <= contact.silent_at):
        return waiting
    back_since = now if contact.back_since is None else contact.back_since
    if now - back_since >= RETURN_S:
        return Contact(last=last, heard=heard)
    return replace(waiting, back_since=back_since)
