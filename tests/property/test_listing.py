"""The answer to a LIST may be cut anywhere: every object comes out once, in its order."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lbctl.api.listing import ListReader

TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)
METADATA = {"metadata": {"resourceVersion": "7"}}


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[Any], bytes]:
    """Return the objects, and the answer as one server or another writes it."""
    items = draw(st.lists(VALUES))
    more = draw(
        st.dictionaries(TEXT.filter(lambda name: name not in {"items", "metadata"}), VALUES)
    )
    body = {**more, **METADATA, "items": items}
    if draw(st.booleans()):
        body = {"items": items, **METADATA, **more}
    written = json.dumps(
        body, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans())
    )
    return items, written.encode()


@given(answer=lists(), cuts=st.lists(st.integers(min_value=0), max_size=8))
def test_every_object_comes_out_once_wherever_the_answer_is_cut(answer, cuts):
    items, raw = answer
    reader = ListReader()
    ends = [*sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    found = [
        item
        for begin, end in zip([0, *ends], ends, strict=False)
        for item in reader.feed(raw[begin:end])
    ]
    last, version = reader.end()
    assert found + last == items
    assert version == "7"
