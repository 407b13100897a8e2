"""A BGP session on paper, for transcripts: what the peer and time do in, what we do out.

Commands: `peer KEY=VALUE...` (our configuration, first), `want PREFIX...`, `calls`, `connects`, `refused`,
`closes`, `hears MESSAGE [KEY=VALUE...]`, `stall`, `drain`, `wait SECONDS`, `stop [CODE [WORDS]]`.
Jitter is 1, so that times are round.
"""

from __future__ import annotations

from typing import Any

from lbctl.model.address import Family
from speaker.protocols.bgp_inputs import (
    Calling,
    Changed,
    Connect,
    Connected,
    Disconnect,
    Drained,
    Output,
    Send,
    Stop,
    Wanted,
)
from speaker.wire.bgp import encode_open
from speaker.wire.bgp_fault import Notification, cease
from speaker.wire.bgp_frame import (
    Frame,
    FrameReader,
    MessageType,
    decode_notification,
    encode_message,
    encode_notification,
    end_of_rib,
)
from tests.support.bgp import (
    CLOSED,
    FAILED,
    LINK,
    MESSAGES,
    Bench,
    Router,
    make_open,
    make_peer,
    routes,
)

ENDS = {end_of_rib(family)[19:]: family for family in Family}


class Conversation:
    """Obey commands and tell what the session did, with the time since the beginning."""

    def __init__(self) -> None:
        self._bench = Bench()
        self._begun = self._bench.now

    def obey(self, line: str) -> list[str]:
        verb, *words = line.split()
        return list(getattr(self, f"_do_{verb}")(*words))

    def _do_peer(self, *settings: str) -> list[str]:
        self._bench = Bench(make_peer(**_settings(settings)))
        return []

    def _do_want(self, *prefixes: str) -> list[str]:
        return self._told(self._bench.tell(Wanted(table=routes(*prefixes))))

    def _do_calls(self) -> list[str]:
        return self._told(self._bench.tell(Calling(source=LINK[0])))

    def _do_connects(self) -> list[str]:
        return self._told(self._bench.tell(Connected(on_link=LINK)))

    def _do_refused(self) -> list[str]:
        return self._told(self._bench.tell(FAILED))

    def _do_closes(self) -> list[str]:
        return self._told(self._bench.tell(CLOSED))

    def _do_hears(self, message: str, *settings: str) -> list[str]:
        given = _settings(settings)
        match message:
            case "OPEN":
                data = encode_open(make_open(**given))
            case "NOTIFICATION":
                data = encode_notification(Notification(**given))
            case "REFRESH":
                data = encode_message(MessageType.ROUTE_REFRESH, bytes([0, given["afi"], 0, 1]))
            case "NOISE":
                data = b"\0" * 19
            case _:
                data = MESSAGES[message]
        return self._told(self._bench.hear(data))

    def _do_stall(self) -> list[str]:
        self._bench.stalled = True
        return []

    def _do_drain(self) -> list[str]:
        self._bench.stalled = False
        return self._told(self._bench.tell(Drained()))

    def _do_wait(self, seconds: str) -> list[str]:
        """Tell what happens meanwhile, each at its own time."""
        lines: list[str] = []
        end = self._bench.now + float(seconds)
        while (due := self._bench.session.deadline) is not None and due <= end:
            lines += self._told(self._bench.advance(due - self._bench.now))
        self._bench.advance(end - self._bench.now)
        return lines

    def _do_stop(self, subcode: str = "", *words: str) -> list[str]:
        goodbye = cease(int(subcode), " ".join(words)) if subcode else None
        return self._told(self._bench.tell(Stop(goodbye=goodbye)))

    def _told(self, outputs: list[Output]) -> list[str]:
        at = f"+{self._bench.now - self._begun:g}s"
        return [f"{at} {line}" for output in outputs for line in self._lines(output)]

    def _lines(self, output: Output) -> list[str]:
        match output:
            case Connect():
                return ["connect"]
            case Disconnect():
                return ["disconnect"]
            case Send(data=data):
                return [f"send {_frame(frame)}" for frame in FrameReader().feed(data)]
            case Changed(state=state, down=None):
                return [f"state {state}"]
            case Changed(state=state, down=down):
                assert down is not None
                again = "" if down.again is None else f"; again at +{down.again - self._begun:g}s"
                return [f"state {state}  reason={down.cause}: {down.detail}{again}"]


def _settings(words: tuple[str, ...]) -> dict[str, Any]:
    pairs = (word.partition("=") for word in words)
    return {key: int(value) if value.isdigit() else value for key, _, value in pairs}


def _frame(frame: Frame) -> str:
    match frame.type:
        case MessageType.UPDATE if frame.body in ENDS:
            return f"End-of-RIB {ENDS[frame.body]}"
        case MessageType.UPDATE:
            return f"UPDATE {_update(frame)}"
        case MessageType.NOTIFICATION:
            return f"NOTIFICATION {decode_notification(frame.body)}"
        case _:
            return frame.type.name


def _update(frame: Frame) -> str:
    """Return what the message announces, or else what it withdraws."""
    router = Router()
    withdrawn: list[Any] = []
    router.table = _Forgetting(withdrawn)
    router.read(encode_message(frame.type, frame.body))
    announced = [f"{prefix} via {hop}" for prefix, (hop, _) in router.table.items()]
    if announced:
        return "announce " + ", ".join(announced)
    return "withdraw " + ", ".join(map(str, withdrawn))


class _Forgetting(dict[Any, Any]):
    """A table that notes what is taken out of it, present or not."""

    def __init__(self, withdrawn: list[Any]) -> None:
        super().__init__()
        self._withdrawn = withdrawn

    def __delitem__(self, prefix: Any) -> None:
        self._withdrawn.append(prefix)
