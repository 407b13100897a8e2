"""Read typed fields out of parsed JSON, with an error that names the field. Pure.

Parsed JSON may be anything, so each read says what it expects; everything else is a `WireError`
with the path of the field (`message.entries[3].epoch`). Called by `speaker.wire.control_json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lbctl.model.address import Address, parse_address
from speaker.wire.error import WireError
from speaker.wire.ethernet import Mac, parse_mac

T = TypeVar("T")


def reader_of(value: Any, path: str) -> Reader:
    """Return a reader of `value`.

    Raises:
        WireError: `value` is not a JSON object.

    """
    if not isinstance(value, dict):
        raise WireError(f"{path}: expected an object, got {type(value).__name__}")
    return Reader(value, path)


class Reader:
    """Read the fields of one object. Every method raises `WireError` for a field of a wrong kind."""

    __slots__ = ("_path", "_value")

    def __init__(self, value: Mapping[str, Any], path: str) -> None:
        self._value = value
        self._path = path

    def has(self, name: str) -> bool:
        return name in self._value

    def names(self) -> tuple[str, ...]:
        return tuple(self._value)

    def text(self, name: str) -> str:
        value = self._value.get(name)
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self._value.get(name, default)
        # bool is an int for Python; a flag where a number belongs is still a mistake.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
            raise self.wrong(name, "a whole number from 0 to 2^64-1")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._value.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def address(self, name: str) -> Address:
        address = parse_address(self.text(name))
        if address is None:
            raise self.wrong(name, "an IP address")
        return address

    def mac(self, name: str) -> Mac:
        return parse_mac(self.text(name))

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._list(name)
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(name, "a list of strings")
        return tuple(values)

    def numbers(self, name: str, count: int) -> tuple[int, ...]:
        values = self._list(name)
        if len(values) != count or not all(type(value) is int and value >= 0 for value in values):
            raise self.wrong(name, f"a list of {count} whole numbers")
        return tuple(values)

    def objects(self, name: str, decode: Callable[[Reader], T]) -> tuple[T, ...]:
        if name not in self._value:
            return ()
        return tuple(
            decode(reader_of(value, f"{self._path}.{name}[{index}]"))
            for index, value in enumerate(self._list(name))
        )

    def counts(self, name: str) -> dict[str, int]:
        reader = reader_of(self._value.get(name, {}), f"{self._path}.{name}")
        return {key: reader.number(key) for key in reader.names()}

    def counts_by(self, name: str) -> dict[str, dict[str, int]]:
        reader = reader_of(self._value.get(name, {}), f"{self._path}.{name}")
        return {key: reader.counts(key) for key in reader.names()}

    def wrong(self, name: str, expected: str) -> WireError:
        got = repr(self._value.get(name))
        shown = got if len(got) <= 60 else got[:60] + "..."
        return WireError(f"{self._path}.{name}: expected {expected}, got {shown}")

    def _list(self, name: str) -> list[Any]:
        value = self._value.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value
