"""The answer to a LIST, object by object; tests/property cuts it anywhere."""

from typing import Any

import pytest

from lbctl.api import listing
from lbctl.api.listing import ListReader
from lbctl.api.watch import StreamBroken


def read(raw: bytes) -> tuple[list[Any], str]:
    reader = ListReader()
    return reader.feed(raw), reader.end()


def test_objects_come_out_before_the_answer_is_complete():
    reader = ListReader()
    assert reader.feed(b'{"kind": "List", "items": [{"a": 1}, {"a"') == [{"a": 1}]
    assert reader.feed(b": 2}, 3") == [{"a": 2}]
    assert reader.feed(b"4") == []
    assert reader.feed(b"], ") == [34]
    with pytest.raises(StreamBroken, match="not complete"):
        reader.end()
    assert reader.feed(b'"metadata": {"resourceVersion": "9"}}') == []
    assert reader.end() == "9"


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
