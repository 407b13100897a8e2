"""The messages of the control protocol between lb-speaker and lb-fastpath. Pure.

`speaker.wire.control` says what the protocol is and re-exports everything here; import it from
there.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lbctl.model.address import Address
from lbctl.model.membership import ViewNumber
from lbctl.model.names import Incarnation, LinkName, NodeName
from speaker.wire.ethernet import Mac

Epoch = ViewNumber
"""The view that assigned an address: (generation, number), compared in that order."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Version:
    """Number the protocol: majors do not understand each other, minors do."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


VERSION: Final = Version(major=1, minor=2)
_NO_NODE: Final = NodeName("")


class Mode(enum.StrEnum):
    """Say what to do about an address: answer for it, or hand it over (a planned move)."""

    OWN = "own"
    YIELD = "yield"


class YieldCause(enum.StrEnum):
    """Say why answering for a yielded address ended."""

    SUCCESSOR_HEARD = "successor_heard"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Open a connection; `node` is empty in the direction from lb-fastpath."""

    incarnation: Incarnation
    node: NodeName = _NO_NODE
    version: Version = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Tell the other end, before closing, why this connection cannot be."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Command one address: the links on which to answer for it, since when, and how.

    `announce` False answers without gratuitous frames. An entry whose epoch is older than the
    one known for its address is not applied and comes back in `Applied.refused`.
    """

    address: Address
    links: tuple[LinkName, ...]
    epoch: Epoch
    mode: Mode = Mode.OWN
    announce: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Command to fall silent about an address at once; older epochs are refused as in `Entry`."""

    address: Address
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Replace everything. Sent on each connect; addresses that it lacks are removed.

    `links` are held open even without an address (a fault shows before it matters); `peers` are
    the hardware addresses that other speakers publish, to tell a peer's claim from a foreign one.
    On `router_links` the node advertises itself as a router, though not as a default one (1.2): a
    BGP router whose peer has no configured address waits for that. They are held open, too.
    """

    revision: int
    entries: tuple[Entry, ...]
    links: tuple[LinkName, ...]
    peers: tuple[Mac, ...]
    router_links: tuple[LinkName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Change what the last `Table` or `Delta` left; a list that is None stays as it is."""

    revision: int
    upsert: tuple[Entry, ...] = ()
    remove: tuple[Removal, ...] = ()
    links: tuple[LinkName, ...] | None = None
    peers: tuple[Mac, ...] | None = None
    router_links: tuple[LinkName, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountersRequest:
    """Ask for `Counters` now; they come every 10 s anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleEpoch:
    """Name a command that was not applied, and the epoch that made it too old."""

    address: Address
    epoch: Epoch
    known: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Confirm that `revision` is in force, except for what `refused` lists."""

    revision: int
    refused: tuple[StaleEpoch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Report that somebody else claims an address of the table, at most once per second each."""

    address: Address
    link: LinkName
    mac: Mac
    peer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Yielded:
    """Report that a planned move is over: nothing answers for `address` here any more."""

    address: Address
    cause: YieldCause


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Report the first announcement of a round for `address` that was handed to `link`."""

    address: Address
    link: LinkName


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFault:
    """Report that `link` cannot be used; `family` 4 or 6 limits it, 0 means the whole link."""

    link: LinkName
    message: str
    family: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOk:
    """Report that `link` can be used again, or for the first time; `family` as in `LinkFault`."""

    link: LinkName
    family: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Report counters since the process started: of the process, and of each link."""

    totals: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[LinkName, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressCount:
    """Count what happened for one address since it came to this process."""

    address: Address
    answered: int
    failed: int
    announced: int
    """Frames; the others are requests that were answered, or that could not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressCounts:
    """Report the counters of some addresses: those with news, a part of them at a time (1.1)."""

    addresses: tuple[AddressCount, ...]


Command = Hello | Refused | Table | Delta | CountersRequest
"""What lb-speaker sends."""
Report = (
    Hello
    | Refused
    | Applied
    | Heard
    | Yielded
    | Announced
    | LinkFault
    | LinkOk
    | Counters
    | AddressCounts
)
"""What lb-fastpath sends."""
Message = Command | Report
