"""Frames and their schemas say the same; events and their chain survive the way there and back."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from crowdstack.model import Arrived, Drained, Ended, EventBody, EventKind, Left, LeftReason, Submitted
from crowdstack.wire import control, schema, worker
from crowdstack.wire.frames import Frames
from crowdstack.wire.text import Bounds, FrameError

BOUNDS = Bounds(1 << 22)
SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
ID = "a" * 22
AT = datetime(2026, 3, 29, 1, 59, 59, 999_999, timezone.utc)

EXAMPLES: list[tuple[Frames[Any], Any]] = [
    (worker.FROM_WORKER, worker.Hello(protocol=1, bundle="", params={"t": "x"})),
    (worker.FROM_WORKER, worker.Submit(assignment=ID, nonce=ID, answers={"a": [1, None]}, signals={})),
    (worker.TO_WORKER, worker.Refused(assignment=ID, errors=(worker.Fault(path="/a", message="no"),))),
    (worker.TO_WORKER, worker.Welcome(session="s", worker="w", visit=ID, progress=worker.Progress(done=0))),
    (control.FROM_CLIENT, control.Units(id=ID, items=(control.ItemData(item="i", data={}),), put=(), drop=("u",))),
    (control.FROM_SERVER, control.Events(again=False, events=(control.Entry(seq=1, salt="00", body="{}"),))),
    (control.FROM_SERVER, control.Applied(of=ID)),
]


def test_the_committed_schemas_are_those_of_the_frames() -> None:
    for name, text in schema.documents().items():
        assert (SCHEMAS / name).read_text() == text, f"run: python -m crowdstack.wire.schema {SCHEMAS}"


@pytest.mark.parametrize(("frames", "frame"), EXAMPLES)
def test_a_frame_comes_back_as_it_was_sent(frames: Frames[Any], frame: Any) -> None:
    text = frames.to_json(frame)
    assert frames.parse(text, BOUNDS) == frame
    assert Draft202012Validator(frames.schema()).is_valid(json.loads(text))


values = st.sampled_from([None, True, 0, 1, 1.0, 1.5, "", "a", ID, [], {}, [{}], {"t": "x"}, {"t": 1}, ["x"]])


@settings(max_examples=300)
@given(st.sampled_from(EXAMPLES), st.data())
def test_a_frame_is_read_if_and_only_if_its_schema_allows_it(
    example: tuple[Frames[Any], Any], data: st.DataObject
) -> None:
    frames, frame = example
    changed = json.loads(frames.to_json(frame))
    for _ in range(data.draw(st.integers(0, 2))):
        key = data.draw(st.sampled_from([*changed, "extra", "session"]))
        if data.draw(st.booleans()):
            changed[key] = data.draw(values)
        else:
            changed.pop(key, None)
    try:
        frames.parse(json.dumps(changed), BOUNDS)
        readable = True
    except FrameError:
        readable = False
    assert readable is Draft202012Validator(frames.schema()).is_valid(changed)


BODIES: list[tuple[EventKind, EventBody]] = [
    (EventKind.ARRIVED, Arrived(visit="v", worker="ä 😀", study="s")),  # type: ignore[arg-type]
    (EventKind.ARRIVED, Arrived(visit="v", worker="w", study="s", submission="5f2")),  # type: ignore[arg-type]
    (
        EventKind.LATE,
        Submitted(
            assignment="a",
            unit="u",
            worker="w",
            visit="v",
            nonce="n",
            answers={"x": {"y": [1.5, None]}},
            signals={},  # type: ignore[arg-type]
            bundle="",
            duration_s=3,
            late=True,
            counts=False,
        ),
    ),
    (EventKind.EXPIRED, Ended(assignment="a", unit="u", worker="w", visit="v")),  # type: ignore[arg-type]
    (EventKind.LEFT, Left(visit="v", worker="w", reason=LeftReason.TARGET, submissions=2)),  # type: ignore[arg-type]
    (EventKind.DRAINED, Drained()),
]


@pytest.mark.parametrize(("kind", "body"), BODIES)
def test_an_event_comes_back_as_it_was_written(kind: EventKind, body: EventBody) -> None:
    event = control.parse_event(7, control.event_text(AT, kind, body))
    assert (event.seq, event.receipt, event.at, event.kind, event.body) == (7, 7, AT, kind, body)


def test_an_event_told_again_and_again_keeps_its_first_receipt() -> None:
    text = control.told_again(control.event_text(AT, *BODIES[2]), 7)
    assert control.parse_event(90, control.told_again(text, 50)).receipt == 7


@given(st.text())
def test_a_body_that_is_no_event_is_a_fault_and_nothing_else(text: str) -> None:
    with pytest.raises(FrameError):
        control.parse_event(1, text)


def test_a_field_of_the_wrong_kind_makes_no_event() -> None:
    for wrong in (
        {"visit": 3},
        {"study": None},
        {"submission": 3},
        {"kind": "submitted"},
        {"at": "yesterday"},
        {"more": 1},
    ):
        data = json.loads(control.event_text(AT, *BODIES[0]))
        with pytest.raises(FrameError):
            control.parse_event(1, json.dumps({**data, **wrong}))


def test_a_chain_ends_elsewhere_when_anything_in_it_changed() -> None:
    start = control.chain_start("inbox", 1)
    true = control.chain_next(start, 1, b"salt", "body")
    assert true == control.chain_next(start, 1, b"salt", "body")
    others = {
        control.chain_next(control.chain_start("other", 1), 1, b"salt", "body"),
        control.chain_next(control.chain_start("inbox", 2), 1, b"salt", "body"),
        control.chain_next(start, 2, b"salt", "body"),
        control.chain_next(start, 1, b"Salt", "body"),
        control.chain_next(start, 1, b"salt", "Body"),
    }
    assert len(others) == 5
    assert true not in others
