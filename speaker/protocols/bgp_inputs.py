"""What a driver tells a BGP session, and what the session asks of it: two closed unions. Pure.

The driver tells of the present connection only: after `Disconnect`, and after it has told that a
connection failed or closed, nothing of that connection may be told any more. `Drained` follows
every `Send`, at once or when the peer has read.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbctl.model.address import Address
from speaker.protocols.bgp_report import Down
from speaker.protocols.bgp_routes import Table
from speaker.protocols.bgp_transitions import State
from speaker.wire.bgp_fault import Notification


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The table that the peer is to have; the first one starts the session."""

    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """The call is under way, from this address of ours: not always the one the peer expects."""

    source: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """TCP is there. `on_link` are our addresses on its link, its own end first."""

    on_link: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renumbered:
    """The link of the connection has these addresses of ours now, its own end first."""

    on_link: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFailed:
    """TCP was refused, by somebody or by our own kernel."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Bytes of the peer, cut anywhere."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The peer's end of TCP, or the connection, is gone."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """Everything that was sent has been taken by TCP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End for good.

    With a `goodbye` the peer flushes our routes; without, as for a restart, it keeps them for the
    restart time if graceful restart was agreed on.
    """

    goodbye: Notification | None


Input = (
    Wanted | Calling | Connected | Renumbered | ConnectFailed | Received | Closed | Drained | Stop
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Open TCP to the peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """Close TCP, or give up opening it; what was sent before is to be delivered if it can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Hand bytes to TCP."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The state is another, or an attempt has failed (`down`)."""

    state: State
    down: Down | None = None


Output = Connect | Disconnect | Send | Changed
