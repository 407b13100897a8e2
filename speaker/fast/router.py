"""On which link the node says that it is a router, and when. Pure.

A router that knows its BGP peer by the link alone (`neighbor swp1 interface` of FRR, and so of
Cumulus and SONiC) learns the peer's address from the peer's router advertisements, and refuses
everybody's call until it has heard one. What the advertisement says is in `speaker.wire.ndp`.

A link is advertised on as soon as it is wanted and open, and then at an interval for as long as
it is both. The machine shape of HOUSE 4: `receive`, `expire`, `deadline`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from lbctl.model.names import LinkName
from speaker.fast.instant import Instant, earliest

INTERVAL_S: Final = 10.0
"""At most; FRR's own for unnumbered peers. It varies at random (RFC 4861 6.2.4): nodes whose links
came up in one moment must not speak in one moment for ever."""
LEAST_OF_INTERVAL: Final = 0.7
PAUSE_S: Final = 3.0
"""At least between two on a link (RFC 4861 6.2.6, MIN_DELAY_BETWEEN_RAS): it may flap."""
AGAIN_S: Final = 1.0
"""After an advertisement that did not leave: a link that has come up has no address to send from
until duplicate address detection is over, which takes it a second or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvertiseOn:
    """Advertise on exactly these links from now on."""

    links: frozenset[LinkName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """The advertisement on `link` was handed to the kernel."""

    link: LinkName


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertise:
    """Advertise on `link` now; the driver knows the addresses."""

    link: LinkName


class RouterAdvertiser:
    """Plan the advertisements of every link."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Make one; `jitter` draws from 0 to 1."""
        self._jitter = jitter
        self._due: dict[LinkName, Instant] = {}
        self._earliest: dict[LinkName, Instant] = {}
        """Where the next one may leave, also if the link goes and comes before."""

    def receive(self, now: Instant, arrived: AdvertiseOn | Advertised) -> tuple[Advertise, ...]:
        """Take in what happened; advertisements come out of `expire`, also those due at once."""
        match arrived:
            case AdvertiseOn():
                self._due = {
                    link: self._due.get(link, max(now, self._earliest.get(link, now)))
                    for link in sorted(arrived.links)
                }
            case Advertised():
                self._earliest[arrived.link] = now + PAUSE_S
                if arrived.link in self._due:
                    varied = LEAST_OF_INTERVAL + (1 - LEAST_OF_INTERVAL) * self._jitter()
                    self._due[arrived.link] = now + INTERVAL_S * varied
            case _:
                assert_never(arrived)
        return ()

    def expire(self, now: Instant) -> tuple[Advertise, ...]:
        """Return what is due; each comes again soon unless it is told to have left."""
        due = [link for link, at in self._due.items() if at <= now]
        self._due |= dict.fromkeys(due, now + AGAIN_S)
        return tuple(Advertise(link=link) for link in due)

    @property
    def deadline(self) -> Instant | None:
        return earliest(*self._due.values())
