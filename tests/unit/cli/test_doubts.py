"""Objects that cannot be read, or only in part, are named and stop nobody."""

from __future__ import annotations

from typing import Any

import pytest

from lbctl.cli.doubts import readable
from lbctl.kube.crds.speaker_status import parse_speaker_status


def address(body: dict[str, Any]) -> str:
    return str(body["spec"]["address"])


def speaker(**status: Any) -> dict[str, Any]:
    metadata = {"name": "node1", "namespace": "lbctl-system"}
    return {"metadata": metadata, "status": {"incarnation": "1", **status}}


@pytest.mark.parametrize(
    ("odd", "name", "field"),
    [
        ({"metadata": {"name": "b"}, "spec": {}}, "Thing b is left out", "'address'"),
        ({"metadata": {"name": "b", "namespace": "a"}, "spec": 3}, "Thing a/b", "subscriptable"),
        (["nonsense"], "an object without a name among the Thing objects", "indices"),
    ],
    ids=["field missing", "wrong form", "no object"],
)
def test_an_object_that_cannot_be_read_is_named_and_the_others_are_read(
    odd: Any, name: str, field: str
) -> None:
    said: list[str] = []
    items = [{"spec": {"address": "192.0.2.1"}}, odd, {"spec": {"address": "192.0.2.2"}}]
    assert list(readable("Thing", items, address, said.append)) == ["192.0.2.1", "192.0.2.2"]
    [sentence] = said
    assert name in sentence
    assert field in sentence


def test_a_report_of_a_form_that_is_not_known_is_named_with_the_field() -> None:
    said: list[str] = []
    odd = speaker(links={"eth0": {}}, draining="soon", newField=1)
    [report] = readable("SpeakerStatus", [odd], parse_speaker_status, said.append)
    assert report is not None
    [sentence] = said
    assert sentence.startswith("SpeakerStatus lbctl-system/node1 is read in part: ")
    assert 'status.links: {"eth0":{}} is not a list' in sentence
    assert "status.draining" in sentence
    assert "newField" not in sentence, "a field of a newer version is no fault"


def test_an_object_without_a_status_leaves_no_doubts() -> None:
    said: list[str] = []
    body = {"metadata": {"name": "node1"}}
    assert list(readable("SpeakerStatus", [body], parse_speaker_status, said.append)) == [None]
    assert said == []
