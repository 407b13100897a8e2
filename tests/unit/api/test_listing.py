"""The answer to a LIST, object by object; tests/property cuts it anywhere."""

import json
from typing import Any

import pytest

from lbctl.api import listing
from lbctl.api.listing import ListReader
from lbctl.api.watch import StreamBroken


def read(raw: bytes) -> tuple[list[Any], str]:
    reader = ListReader()
    items = reader.feed(raw)
    last, version = reader.end()
    return items + last, version


def test_objects_come_out_before_the_answer_is_complete():
    reader = ListReader()
    assert reader.feed(b'{"kind": "List", "items": [{"a": 1}, {"a"') == [{"a": 1}]
    assert reader.feed(b": 2}, 3") == [{"a": 2}]
    assert reader.feed(b"4") == []
    assert reader.feed(b"], ") == [34]
    with pytest.raises(StreamBroken, match="not complete"):
        reader.end()
    assert reader.feed(b'"metadata": {"resourceVersion": "9"}}') == []
    assert reader.end() == ([], "9")


@pytest.mark.parametrize("number", ["12", "1.5", "1e-16", "-0.5E+3", "true", "null"])
def test_a_value_may_be_cut_anywhere(number):
    raw = f'{{"items":[{number},{number}],"metadata":{{"resourceVersion":"7"}}}}'.encode()
    for at in range(len(raw)):
        reader = ListReader()
        items = reader.feed(raw[:at]) + reader.feed(raw[at:])
        assert items == [json.loads(number)] * 2


def test_a_large_object_is_not_read_anew_with_every_piece(monkeypatch):
    monkeypatch.setattr(listing, "_SMALL", 100)
    tries = []
    scan = json.JSONDecoder.raw_decode

    def counted(self: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
        tries.append(at)
        return scan(self, text, at)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    reader, large = ListReader(), {"data": "x" * 10_000}
    raw = json.dumps({"items": [large], "metadata": {"resourceVersion": "7"}}).encode()
    found = [one for at in range(0, len(raw), 50) for one in reader.feed(raw[at : at + 50])]
    last, version = reader.end()
    assert (found + last, version) == ([large], "7")
    assert len(tries) < 40, "of 200 pieces"


@pytest.mark.parametrize("items", ["null", "[]"])
def test_no_objects_are_a_list_too(items):
    raw = f'{{"items":{items},"metadata":{{"resourceVersion":"7"}}}}'.encode()
    assert read(raw) == ([], "7")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"<html>", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"", "not complete"),
        (b'{"items":[{"a":1', "not complete"),
        (b'{"items":[{"a":1}}', "not complete"),
        (b'{"items":[],"metadata":{}}', "no resourceVersion"),
        (b'{"items":[],"metadata":{"resourceVersion":7}}', "no resourceVersion"),
        (b'{"items":[]}', "no resourceVersion"),
        (b'{"items":{},"metadata":{}}', "no list"),
        (b'{"items":"\xff"}', "not UTF-8"),
        (b"{7:7}", "no JSON"),
        (b'{"items":[{"a" 1}, {"b": "and so on"}]}', "no JSON: Expecting ':' delimiter"),
        (b'{"kind" "List"}', "no JSON"),
    ],
)
def test_what_is_no_list_is_refused_with_a_sentence(raw, words):
    with pytest.raises(StreamBroken, match=words):
        read(raw)


def test_an_object_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(listing, "LINE_LIMIT", 100)
    reader = ListReader()
    reader.feed(b'{"items":[{"a":"')
    with pytest.raises(StreamBroken, match="longer than 100 bytes"):
        reader.feed(b"x" * 100)
