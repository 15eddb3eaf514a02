"""Values -> text: what a terminal, a table, JSON and Markdown get to see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdstack.cli import render
from crowdstack.errors import CrowdstackError, Problem, SpecError
from crowdstack.model import UnitCounts
from crowdstack.plan.fees import PayVerdict, charge
from crowdstack.ports import GroupChange, Operation
from tests.cli.conftest import Call
from tests.cli.world import World, a_cost, a_line, a_preview, a_status, a_step, usd

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066 |`@team` [link](javascript:alert(1)) <script>\r\nfaked line\x9b31m\ud800"


@given(st.text())
def test_safe_text_is_one_line_that_only_shows(text: str) -> None:
    safe = render.safe_text(text)
    assert all(char.isprintable() or char.isspace() or ord(char) > 0x7F for char in safe)
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in safe)
    assert not set(safe) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029")
    safe.encode()


@given(st.text(alphabet="abc \u00e9\u4e2d"))
def test_safe_text_leaves_ordinary_text_alone(text: str) -> None:
    assert render.safe_text(text) == text


@given(st.text())
def test_a_code_span_cannot_be_left(text: str) -> None:
    span = render.code_span(text)
    fence = span[: len(span) - len(span.lstrip("`"))]
    inner = span[len(fence) : len(span) - len(fence)]
    assert fence not in inner.split(" ") or not fence
    assert "\n" not in span
    assert "|" not in inner.replace("\\|", "")


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_plain_ascii_and_says_the_same(value: object) -> None:
    text = render.to_json(value, indent=None)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == value


@pytest.mark.parametrize(("done", "warned"), [(4, False), (1, True)], ids=["each submission counts", "verdicts count"])
def test_who_would_go_unpaid_is_said_before_anything_is_taken_away(done: int, warned: bool) -> None:
    there = a_status(units=UnitCounts(total=4, submitted=3, approved=1), done=done)
    assert ("3 units wait for a verdict" in render.leaving(there, now=False)) is warned


@pytest.mark.parametrize(
    ("provider", "crowd", "told"),
    [
        ("mock", "human", "-  the workers' links"),
        ("mock", "bots", "-  the simulated crowd"),
        ("mock", "replay", "-  the simulated crowd"),
        ("generic", "", "-  the link that the panel was given: end the project there too"),
        ("prolific", "", "-  study birds-1 at Prolific: closed for good"),
        ("board", "", "-  study birds-1 at board: closed for good"),
    ],
)
def test_destroy_tells_by_what_nobody_can_come_any_more(provider: str, crowd: str, told: str) -> None:
    said = render.leaving(a_status(provider=provider, crowd=crowd), now=False).splitlines()
    assert f"  {told}" in said
    assert sum("crowd" in line or "link" in line or "study" in line for line in said) == 1


def test_destroy_in_a_hurry_tells_of_those_inside_at_the_provider() -> None:
    warning = "!  still inside at Prolific: 1; what they hand in from now on is yours to decide on its site"
    there = a_status(provider="prolific")
    assert warning in render.leaving(there, now=True)
    assert warning not in render.leaving(there, now=False)
    assert "still inside" not in render.leaving(a_status(provider="mock", crowd="human"), now=True)


def test_numbers_stand_to_the_right_in_tables() -> None:
    assert render.table(["name", "n"], [["a", 5], ["bc", 17]]) == "NAME   N\na      5\nbc    17"


def test_a_table_without_rows_is_its_header() -> None:
    assert render.table(["name", "n"], []) == "NAME  N"


@pytest.mark.parametrize("form", render.FORMATS)
@pytest.mark.parametrize("command", ["preview", "status", "logs"])
def test_hostile_text_prints_as_text(call: Call, tmp_path: Path, command: str, form: str) -> None:
    from crowdstack.folder import Folder

    world = World(
        task=HOSTILE,
        state="paused",
        folder=Folder(tmp_path),
        preview_says={
            "lines": (a_line("+", HOSTILE),),
            "notes": (HOSTILE,),
            "edits": (HOSTILE,),
            "never_changes": (HOSTILE,),
            "steps": (a_step(Operation.UPDATE, HOSTILE, changed=(HOSTILE,)),),
            "groups": (GroupChange(name=HOSTILE, made=True),),
        },
        status_says={
            "loop_note": HOSTILE,
            "links": {HOSTILE: HOSTILE},
            "labels": {HOSTILE: HOSTILE},
            "server_url": HOSTILE,
        },
    )
    log = tmp_path / "runs" / "birds-1" / "server.log"
    log.parent.mkdir(parents=True)
    log.write_text(HOSTILE.replace("\ud800", "") + "\n")
    options = {"logs": (), "status": ("--links", "-o", form)}.get(command, ("-o", form))
    said = call(command, *options, world=world)
    assert said.code == 0
    assert "owned" in said.out
    assert not set(said.out) & set("\x1b\x07\r\x9b\u202e\u2066\ud800")
    assert not any(line.startswith("faked line") for line in said.out.splitlines())
    if form == "md" and command != "logs":
        assert "``" in said.out  # the foreign backticks stand inside a longer fence


@pytest.mark.parametrize("command", ["up", "destroy", "stop", "resume"])
def test_hostile_names_and_messages_act_on_no_terminal(call: Call, command: str) -> None:
    world = World(task=HOSTILE, state="live", target=4, preview_says={"notes": (HOSTILE,)})
    said = call(command, *(["--yes"] if command in ("up", "destroy") else []), world=world)
    assert not set(said.out + said.err) & set("\x1b\x07\r\x9b\u202e\u2066\ud800")


def test_a_hostile_error_message_acts_on_no_terminal() -> None:
    text = render.error(CrowdstackError(HOSTILE, where=HOSTILE, why=HOSTILE, hint=HOSTILE))
    assert not set(text) & set("\x1b\x07\r\x9b\u202e\u2066\ud800")


PREVIEWS = {
    "preview-first-up": a_preview(),
    "preview-no-changes": a_preview(new_run=False, steps=(a_step(Operation.SAME),), lines=(), never_changes=()),
    "preview-target-met": a_preview(steps=(), lines=(), target_met=True, never_changes=()),
    "preview-of-a-change": a_preview(
        new_run=False,
        steps=(
            a_step(Operation.SAME, "Keys"),
            a_step(Operation.REPLACE, "Bundle", changed=("files",), replaced_by=("files",)),
            a_step(Operation.UPDATE, changed=("title", "timeout_s")),
        ),
        cost=a_cost(per_unit=None, per_hour=None),
        notes=("provider: mock, no real money",),
    ),
    "preview-with-groups": a_preview(
        groups=(
            GroupChange(name="crowdstack:birds:blocked", made=True, joining=2),
            GroupChange(name="crowdstack:birds:allowed", made=False, joining=3, leaving=1),
        )
    ),
    "preview-with-fees": a_preview(
        cost=a_cost(
            gross=usd(172),
            total=usd(688),
            cap=usd(860),
            per_unit="1.72 USD",
            charge=charge(usd(100), fee_bp=4280, vat_bp=2000),
            per_hour=usd(900),
            minimum_hourly=usd(800),
            recommended_hourly=usd(1200),
            pay=PayVerdict.BELOW_RECOMMENDED,
        )
    ),
}
ERRORS = {
    "error-of-a-command": CrowdstackError(
        "port 8000 is taken", where="architect.port", why="process 17 listens there", hint="leave it out"
    ),
    "error-of-a-spec": SpecError(
        [
            Problem(where="birds.yaml:14:12", path="target.repeats", message="0 is less than 1", hint="use 1 or more"),
            Problem(where="birds.yaml:20:3", path="", message="unknown key 'taget'"),
        ]
    ),
}
STATUSES = {
    "status-live": a_status(loop_note="waits for verdicts", quarantined=2),
    "status-links": a_status(),
    "status-nothing": a_status(
        state="not deployed", server_url=None, server_healthy=False, loop_running=False, links={}, budget=None
    ),
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, render.preview(plan)) for name, plan in PREVIEWS.items()),
        *((name, render.error(fault)) for name, fault in ERRORS.items()),
        *((name, render.status(now, "text", links=name == "status-links")) for name, now in STATUSES.items()),
    ],
    ids=[*PREVIEWS, *ERRORS, *STATUSES],
)
def test_the_text_is_the_golden_one(name: str, text: str) -> None:
    assert text + "\n" == (GOLDEN / f"{name}.txt").read_text()
