"""Control messages to JSON values and back, one function per kind. Pure.

Unknown fields are not looked at; a missing or wrong one is a `WireError` that names it. Called
only by `speaker.wire.control`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

from lbctl.model.names import Incarnation, LinkName, NodeName
from speaker.wire.control_messages import (
    VERSION,
    AddressCount,
    AddressCounts,
    Announced,
    Applied,
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
    StaleEpoch,
    Table,
    Version,
    YieldCause,
    Yielded,
)
from speaker.wire.ethernet import Mac, format_mac, parse_mac
from speaker.wire.fields import Reader, reader_of


def to_json(message: Message) -> dict[str, Any]:
    """Return the JSON object that stands for `message`."""
    match message:
        case Hello():
            return {
                "kind": "hello",
                "version": str(message.version),
                "node": message.node,
                "incarnation": message.incarnation,
            }
        case Refused():
            return {"kind": "refused", "message": message.message}
        case Table():
            return {
                "kind": "table",
                "revision": message.revision,
                "entries": [_entry_to_json(entry) for entry in message.entries],
                "links": list(message.links),
                "peers": [format_mac(mac) for mac in message.peers],
                "router_links": list(message.router_links),
            }
        case Delta():
            return _delta_to_json(message)
        case CountersRequest():
            return {"kind": "counters_request"}
        case Counters():
            links = {link: dict(counts) for link, counts in message.links.items()}
            return {"kind": "counters", "totals": dict(message.totals), "links": links}
        case AddressCounts():
            return {
                "kind": "address_counts",
                "addresses": [_count_to_json(count) for count in message.addresses],
            }
        case _:
            return _report_to_json(message)


def _report_to_json(
    message: Applied | Heard | Yielded | Announced | LinkFault | LinkOk,
) -> dict[str, Any]:
    match message:
        case Applied():
            refused = [
                {
                    "address": str(stale.address),
                    "epoch": _epoch_to_json(stale.epoch),
                    "known": _epoch_to_json(stale.known),
                }
                for stale in message.refused
            ]
            return {"kind": "applied", "revision": message.revision, "refused": refused}
        case Heard():
            return {
                "kind": "heard",
                "address": str(message.address),
                "link": message.link,
                "mac": format_mac(message.mac),
                "peer": message.peer,
            }
        case Yielded():
            return {"kind": "yielded", "address": str(message.address), "cause": message.cause}
        case Announced():
            return {"kind": "announced", "address": str(message.address), "link": message.link}
        case LinkFault():
            return {
                "kind": "link_fault",
                "link": message.link,
                "message": message.message,
                "family": message.family,
            }
        case LinkOk():
            return {"kind": "link_ok", "link": message.link, "family": message.family}
        case _:
            assert_never(message)


def _delta_to_json(delta: Delta) -> dict[str, Any]:
    value: dict[str, Any] = {
        "kind": "delta",
        "revision": delta.revision,
        "upsert": [_entry_to_json(entry) for entry in delta.upsert],
        "remove": [
            {"address": str(removal.address), "epoch": _epoch_to_json(removal.epoch)}
            for removal in delta.remove
        ],
    }
    if delta.links is not None:
        value["links"] = list(delta.links)
    if delta.peers is not None:
        value["peers"] = [format_mac(mac) for mac in delta.peers]
    if delta.router_links is not None:
        value["router_links"] = list(delta.router_links)
    return value


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    return {
        "address": str(entry.address),
        "links": list(entry.links),
        "epoch": _epoch_to_json(entry.epoch),
        "mode": entry.mode,
        "announce": entry.announce,
    }


def _count_to_json(count: AddressCount) -> dict[str, Any]:
    return {
        "address": str(count.address),
        "answered": count.answered,
        "failed": count.failed,
        "announced": count.announced,
    }


def _epoch_to_json(epoch: Epoch) -> list[int]:
    return [epoch.generation, epoch.number]


def from_json(value: Any) -> Message | None:
    """Return the message that parsed JSON is, or None if its kind is unknown.

    Raises:
        WireError: not an object, no kind, or a field of a wrong type.

    """
    reader = reader_of(value, "message")
    decode = _DECODERS.get(reader.text("kind"))
    return decode(reader) if decode else None


def _hello(reader: Reader) -> Hello:
    major, dot, minor = reader.text("version").partition(".")
    if not (dot and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise reader.wrong("version", "MAJOR.MINOR")
    if len(major) + len(minor) > 18:
        raise reader.wrong("version", "MAJOR.MINOR with few digits")
    version = Version(major=int(major), minor=int(minor))
    if version.major != VERSION.major:
        # The other fields may mean anything in another major version; the version must still
        # get through, for the sentence with which it is refused.
        return Hello(incarnation=Incarnation(""), version=version)
    return Hello(
        version=version,
        node=NodeName(reader.text("node")) if reader.has("node") else NodeName(""),
        incarnation=Incarnation(reader.text("incarnation")),
    )


def _epoch(reader: Reader, name: str) -> Epoch:
    generation, number = reader.numbers(name, 2)
    return _shared_epoch(generation, number)


# Thousands of entries name the same few epochs and links; one object of each is enough, and
# lb-fastpath keeps what it decoded for as long as the address lives.
@functools.lru_cache(maxsize=256)
def _shared_epoch(generation: int, number: int) -> Epoch:
    return Epoch(generation=generation, number=number)


@functools.lru_cache(maxsize=256)
def _shared_links(links: tuple[str, ...]) -> tuple[LinkName, ...]:
    return tuple(LinkName(sys.intern(link)) for link in links)


def _entry(reader: Reader) -> Entry:
    try:
        mode = Mode(reader.text("mode"))
    except ValueError as error:
        raise reader.wrong("mode", " or ".join(Mode)) from error
    return Entry(
        address=reader.address("address"),
        links=_links(reader),
        epoch=_epoch(reader, "epoch"),
        mode=mode,
        announce=reader.flag("announce", default=True),
    )


def _links(reader: Reader, name: str = "links") -> tuple[LinkName, ...]:
    return _shared_links(reader.texts(name))


def _peers(reader: Reader) -> tuple[Mac, ...]:
    return tuple(parse_mac(mac) for mac in reader.texts("peers"))


def _removal(reader: Reader) -> Removal:
    return Removal(address=reader.address("address"), epoch=_epoch(reader, "epoch"))


def _table(reader: Reader) -> Table:
    return Table(
        revision=reader.number("revision"),
        entries=reader.objects("entries", _entry),
        links=_links(reader),
        peers=_peers(reader),
        router_links=_links(reader, "router_links") if reader.has("router_links") else (),
    )


def _delta(reader: Reader) -> Delta:
    return Delta(
        revision=reader.number("revision"),
        upsert=reader.objects("upsert", _entry),
        remove=reader.objects("remove", _removal),
        links=_links(reader) if reader.has("links") else None,
        peers=_peers(reader) if reader.has("peers") else None,
        router_links=_links(reader, "router_links") if reader.has("router_links") else None,
    )


def _stale(reader: Reader) -> StaleEpoch:
    return StaleEpoch(
        address=reader.address("address"),
        epoch=_epoch(reader, "epoch"),
        known=_epoch(reader, "known"),
    )


def _applied(reader: Reader) -> Applied:
    return Applied(revision=reader.number("revision"), refused=reader.objects("refused", _stale))


def _heard(reader: Reader) -> Heard:
    return Heard(
        address=reader.address("address"),
        link=LinkName(reader.text("link")),
        mac=reader.mac("mac"),
        peer=reader.flag("peer", default=False),
    )


def _yielded(reader: Reader) -> Yielded:
    try:
        cause = YieldCause(reader.text("cause"))
    except ValueError as error:
        raise reader.wrong("cause", " or ".join(YieldCause)) from error
    return Yielded(address=reader.address("address"), cause=cause)


def _announced(reader: Reader) -> Announced:
    return Announced(address=reader.address("address"), link=LinkName(reader.text("link")))


def _link_fault(reader: Reader) -> LinkFault:
    return LinkFault(
        link=LinkName(reader.text("link")),
        message=reader.text("message"),
        family=reader.number("family", 0),
    )


def _link_ok(reader: Reader) -> LinkOk:
    return LinkOk(link=LinkName(reader.text("link")), family=reader.number("family", 0))


def _counters(reader: Reader) -> Counters:
    links = reader.counts_by("links")
    return Counters(
        totals=reader.counts("totals"),
        links={LinkName(link): counts for link, counts in links.items()},
    )


def _count(reader: Reader) -> AddressCount:
    return AddressCount(
        address=reader.address("address"),
        answered=reader.number("answered"),
        failed=reader.number("failed"),
        announced=reader.number("announced"),
    )


def _counts(reader: Reader) -> AddressCounts:
    return AddressCounts(addresses=reader.objects("addresses", _count))


_DECODERS: Final[Mapping[str, Callable[[Reader], Message]]] = {
    "hello": _hello,
    "refused": lambda reader: Refused(message=reader.text("message")),
    "table": _table,
    "delta": _delta,
    "counters_request": lambda _: CountersRequest(),
    "applied": _applied,
    "heard": _heard,
    "yielded": _yielded,
    "announced": _announced,
    "link_fault": _link_fault,
    "link_ok": _link_ok,
    "counters": _counters,
    "address_counts": _counts,
}
