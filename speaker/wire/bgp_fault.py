"""NOTIFICATION: what ends a BGP session, its codes by name, and the text a person wrote. Pure.

Codes and subcodes are one table with the standard's names. Text from a peer (RFC 9003) is shown to
operators, so it is cleaned of control characters here, where it enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from speaker.wire.error import WireError

CEASE: Final = 6
MAX_PREFIXES: Final = 1
SHUTDOWN: Final = 2
DECONFIGURED: Final = 3
RESET: Final = 4
CONFIGURATION_CHANGE: Final = 6
OUT_OF_RESOURCES: Final = 8
MAX_TEXT: Final = 128
"""Bytes of text that we send: RFC 9003 allows 255, but peers of RFC 8203's time take 128."""

CODES: Final = {
    1: "Message Header Error",
    2: "OPEN Message Error",
    3: "UPDATE Message Error",
    4: "Hold Timer Expired",
    5: "Finite State Machine Error",
    CEASE: "Cease",
    7: "ROUTE-REFRESH Message Error",
    8: "Send Hold Timer Expired",
}
"""RFC 4271 4.5, RFC 7313 5, RFC 9687 3."""

SUBCODES: Final = {
    (1, 1): "Connection Not Synchronized",
    (1, 2): "Bad Message Length",
    (1, 3): "Bad Message Type",
    (2, 1): "Unsupported Version Number",
    (2, 2): "Bad Peer AS",
    (2, 3): "Bad BGP Identifier",
    (2, 4): "Unsupported Optional Parameter",
    (2, 5): "Authentication Failure",
    (2, 6): "Unacceptable Hold Time",
    (2, 7): "Unsupported Capability",
    (2, 11): "Role Mismatch",
    (3, 1): "Malformed Attribute List",
    (3, 2): "Unrecognized Well-known Attribute",
    (3, 3): "Missing Well-known Attribute",
    (3, 4): "Attribute Flags Error",
    (3, 5): "Attribute Length Error",
    (3, 6): "Invalid ORIGIN Attribute",
    (3, 8): "Invalid NEXT_HOP Attribute",
    (3, 9): "Optional Attribute Error",
    (3, 10): "Invalid Network Field",
    (3, 11): "Malformed AS_PATH",
    (5, 1): "Unexpected Message in OpenSent",
    (5, 2): "Unexpected Message in OpenConfirm",
    (5, 3): "Unexpected Message in Established",
    (CEASE, MAX_PREFIXES): "Maximum Number of Prefixes Reached",
    (CEASE, SHUTDOWN): "Administrative Shutdown",
    (CEASE, DECONFIGURED): "Peer De-configured",
    (CEASE, RESET): "Administrative Reset",
    (CEASE, 5): "Connection Rejected",
    (CEASE, CONFIGURATION_CHANGE): "Other Configuration Change",
    (CEASE, 7): "Connection Collision Resolution",
    (CEASE, OUT_OF_RESOURCES): "Out of Resources",
    (CEASE, 9): "Hard Reset",
    (CEASE, 10): "BFD Down",
    (7, 1): "Invalid Message Length",
}
"""RFC 4271 4.5, 4486, 5492, 6608, 7313, 8538, 9234, 9384."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Hold why one end ends the session, in the standard's numbers."""

    code: int
    subcode: int = 0
    data: bytes = b""

    @property
    def text(self) -> str:
        """Return what the other operator wrote (RFC 9003), cleaned, or nothing."""
        if self.code != CEASE or self.subcode not in (SHUTDOWN, RESET) or not self.data:
            return ""
        text = self.data[1 : 1 + self.data[0]].decode("utf-8", "replace")
        return "".join(char if char.isprintable() else " " for char in text).strip()

    def __str__(self) -> str:
        name = SUBCODES.get((self.code, self.subcode)) or CODES.get(self.code, "unknown")
        said = f': "{self.text}"' if self.text else ""
        return f"{self.code}/{self.subcode} {name}{said}"


def cease(subcode: int, text: str = "") -> Notification:
    """Return a Cease; `text` goes with a shutdown or a reset only (RFC 9003 2)."""
    if not text or subcode not in (SHUTDOWN, RESET):
        return Notification(code=CEASE, subcode=subcode)
    # Cut between characters: half of one is not UTF-8.
    said = text.encode()[:MAX_TEXT].decode("utf-8", "ignore").encode()
    return Notification(code=CEASE, subcode=subcode, data=bytes([len(said)]) + said)


class FaultError(WireError):
    """Say what a peer sent wrong, and the NOTIFICATION that answers it."""

    def __init__(self, notification: Notification, why: str) -> None:
        super().__init__(why)
        self.notification = notification
