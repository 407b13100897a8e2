"""The control protocol between lb-speaker and lb-fastpath: typed messages, frames, decoder. Pure.

Both run in one pod but restart and upgrade one at a time, so two versions may meet here. A frame
is a 4-byte big-endian length and that many bytes of UTF-8 JSON, one object with a `kind`. Both
ends send `Hello` first. Another major version is refused with a sentence; unknown kinds are
counted and skipped, unknown fields are skipped, so minor versions mix freely. lb-fastpath
listens, lb-speaker connects and sends the whole table each time, then deltas.

JSON, because a person can read it in a capture, and because only commands pass here, never
packets. Limit: 8 MiB a frame, which holds more than 30,000 entries; a length beyond it is garbage
and ends the connection. Fields are read by `speaker.wire.fields`; called by
`speaker.drivers.fast.control` (one end) and lb-speaker's node driver (the other).
"""

from __future__ import annotations

import json
from typing import Final

from speaker.wire.control_json import from_json, to_json
from speaker.wire.control_messages import (
    VERSION,
    AddressCount,
    AddressCounts,
    Announced,
    Applied,
    Command,
    Counters,
    CountersRequest,
    Delta,
    Entry,
    Epoch,
    Heard,
    Hello,
    LinkFault,
    LinkOk,
    Message,
    Mode,
    Refused,
    Removal,
    Report,
    StaleEpoch,
    Table,
    Version,
    YieldCause,
    Yielded,
)
from speaker.wire.error import WireError

__all__ = [
    "LENGTH_BYTES",
    "MAX_FRAME",
    "VERSION",
    "AddressCount",
    "AddressCounts",
    "Announced",
    "Applied",
    "Command",
    "Counters",
    "CountersRequest",
    "Decoder",
    "Delta",
    "Entry",
    "Epoch",
    "Heard",
    "Hello",
    "LinkFault",
    "LinkOk",
    "Message",
    "Mode",
    "Refused",
    "Removal",
    "Report",
    "StaleEpoch",
    "Table",
    "Version",
    "YieldCause",
    "Yielded",
    "encode",
    "greet",
]

LENGTH_BYTES: Final = 4
MAX_FRAME: Final = 8 << 20
"""Bytes of JSON in one frame; whoever can open the socket could otherwise make us allocate."""


def encode(message: Message) -> bytes:
    """Return `message` as one frame."""
    body = json.dumps(to_json(message), separators=(",", ":")).encode()
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def greet(message: Message) -> Hello:
    """Return the peer's Hello, which has to be its first message, in our major version.

    Raises:
        WireError: something else came first, the peer refused us, or its major version is
            another one; the text is for the peer and for the log.

    """
    if isinstance(message, Refused):
        raise WireError(f"the other process refused the connection: {message.message}")
    if not isinstance(message, Hello):
        raise WireError(f"the first message was {type(message).__name__}, not Hello")
    if message.version.major != VERSION.major:
        raise WireError(
            f"control protocol {message.version} is not understood by this process, which speaks "
            f"{VERSION}: run lb-speaker and lb-fastpath of releases with the same major version"
        )
    return message


class Decoder:
    """Turn the bytes of one connection into messages, however they are cut up.

    After a `WireError` the stream has no meaning: close the connection and drop the decoder.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self.ignored = 0
        """Messages of unknown kind so far: a newer minor version is at the other end."""

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that `data` completes, in order.

        Raises:
            WireError: a length above `MAX_FRAME`, or bytes that are not a message. Messages
                completed by the same `data` are lost; a new connection sends everything again.

        """
        self._pending += data
        messages: list[Message] = []
        while len(self._pending) >= LENGTH_BYTES:
            length = int.from_bytes(self._pending[:LENGTH_BYTES], "big")
            if length > MAX_FRAME:
                raise WireError(f"a control frame of {length} bytes is above {MAX_FRAME}")
            end = LENGTH_BYTES + length
            if len(self._pending) < end:
                break
            message = _decode_body(bytes(self._pending[LENGTH_BYTES:end]))
            del self._pending[:end]
            if message is None:
                self.ignored += 1
            else:
                messages.append(message)
        return messages

    def end(self) -> None:
        """Check that the stream may end here.

        Raises:
            WireError: it ends inside a frame.

        """
        if self._pending:
            raise WireError(f"the connection ended {len(self._pending)} bytes into a frame")


def _decode_body(body: bytes) -> Message | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a control frame is not JSON: {error}") from error
    return from_json(value)
