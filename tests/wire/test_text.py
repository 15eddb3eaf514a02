"""The door: what may enter, what may not, and that nothing else can happen."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdstack.wire import worker
from crowdstack.wire.text import Bounds, FrameError, canonical, parse

BOUNDS = Bounds(256 * 1024)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\xff{}", "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),  # half a surrogate pair, raw
        ('"\ud800"', "UTF-8"),
        (r'"\ud800"', "surrogate"),
        (r'{"\udc00": 1}', "surrogate"),
        (r'"a\u0000b"', "NUL"),
        ("NaN", "NaN"),
        ("[-Infinity]", "Infinity"),
        ("1e999", "finite"),
        ("9" * 5000, "2^53"),
        (str(2**53 + 1), "2^53"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[" * 33 + "]" * 33, "deep"),
        ("[" * 100_000, "deep"),
        ("[" + "0," * 10_000 + "0]", "10000 values"),
        ('"' + "x" * BOUNDS.size + '"', "bytes"),
        ('"' + "ä" * (BOUNDS.size // 2) + '"', "bytes"),
        ("", "JSON"),
        ("{} {}", "JSON"),
    ],
)
def test_what_no_store_could_hold_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why.replace("^", r"\^")):
        parse(text, BOUNDS)


def test_what_stands_at_the_edge_may_enter() -> None:
    assert parse("[" * 32 + "]" * 32, BOUNDS) is not None
    assert parse(str(2**53), BOUNDS) == 2**53
    assert parse(r'"\ud83d\ude00"', BOUNDS) == "😀"
    assert len(parse("[" + "0," * 9_998 + "0]", BOUNDS)) == 9_999
    assert parse('"' + "," * 20_000 + '"', BOUNDS) == "," * 20_000


@given(json_values)
def test_canonical_text_comes_back_as_it_was(value: Any) -> None:
    text = canonical(value)
    assert parse(text, BOUNDS) == value
    assert canonical(parse(text, BOUNDS)) == text


frame_texts = st.builds(
    lambda frame, at, cut: json.dumps(frame)[:at] + cut + json.dumps(frame)[at:],
    st.dictionaries(st.sampled_from(["type", "assignment", "nonce", "answers", "protocol", "params"]), json_values)
    | st.builds(
        lambda tag, more: {"type": tag, **more},
        st.sampled_from(["hello", "next", "submit", "return"]),
        st.dictionaries(st.text(), json_values),
    ),
    st.integers(0, 200),
    st.text(max_size=3),
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000) | json_values.map(json.dumps) | frame_texts)
def test_parse_frame_is_total(raw: str | bytes) -> None:
    start = time.process_time()  # which other programs do not take part in
    try:
        frame = worker.FROM_WORKER.parse(raw, BOUNDS)
    except FrameError:
        pass
    else:
        assert worker.FROM_WORKER.parse(worker.FROM_WORKER.to_json(frame), BOUNDS) == frame
    assert time.process_time() - start < 0.5
