"""The rules behind the real engine, without it: events as steps, complaints as errors, what is cut off, which engine it is."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest

from crowdstack import process
from crowdstack.engine.automation import state as states
from crowdstack.engine.automation.engine import Place
from crowdstack.engine.automation.events import Story
from crowdstack.engine.automation.faults import Owner, error_of
from crowdstack.engine.automation.inline import connected
from crowdstack.engine.automation.outputs import FRESH_S, Outputs
from crowdstack.engine.chosen import Choice, ChosenEngine
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.secrets import Vault
from crowdstack.engine.values import SECRET, SIGNATURE
from crowdstack.errors import Busy, CredentialsMissing, LockHeld, Refused, StateMismatch, StepFailed, UsageError
from crowdstack.folder import private_folder
from crowdstack.ports import Operation, Step
from crowdstack.wiring import wished
from tests.engine.world import TOKEN, ThingType
from tests.engine.world import World as Embedded

STACK = "urn:pulumi:shop::paint::pulumi:pulumi:Stack::paint-shop"


def urn(name: str) -> str:
    return f"urn:pulumi:shop::paint::{TOKEN}::{name}"


# ---------------------------------------------------------------------------------------------------- events


def event(kind: str, op: str, name: str, *, custom: bool = True, **more: Any) -> Mapping[str, Any]:
    state = {"custom": custom, "inputs": {"colour": "red"}, "outputs": {}}
    metadata = {"op": op, "urn": urn(name), "type": TOKEN, "old": state, "new": state, **more}
    return {kind: {"metadata": metadata}}


def steps(*events: Mapping[str, Any], taken_up: tuple[str, ...] = ()) -> list[str]:
    story = Story(lambda _: None, taken_up)
    for each in events:
        story.hear(each)
    return [f"{step.operation.value} {step.name} {','.join(step.changed)}".strip() for step in story.steps]


def test_a_step_is_told_once_when_it_is_done_and_a_component_when_it_begins() -> None:
    assert steps(
        event("resourcePreEvent", "create", "box", custom=False),
        event("resourcePreEvent", "create", "first"),
        event("resOutputsEvent", "create", "first"),
        event("resOutputsEvent", "create", "box", custom=False),
    ) == ["create box", "create first"]


def test_a_replacement_is_one_line() -> None:
    changed = {"diffs": ["shape", "colour"], "keys": ["shape"]}
    doomed = {"custom": True, "delete": True}  # replaced, and marked to be deleted since
    assert steps(
        event("resOutputsEvent", "create-replacement", "first", **changed),
        event("resOutputsEvent", "replace", "first", **changed),
        event("resOutputsEvent", "delete-replaced", "first"),
        event("resOutputsEvent", "delete-replaced", "left over from before", old=doomed, new=None),
    ) == ["replace first colour,shape", "delete left over from before"]


def test_a_refresh_is_a_line_only_where_something_had_changed() -> None:
    other = {"custom": True, "inputs": {"colour": "blue"}, "outputs": {}}
    assert steps(
        event("resOutputsEvent", "refresh", "as it was"),
        event("resOutputsEvent", "refresh", "painted", new=other),
        event("resOutputsEvent", "refresh", "gone", new=None),
    ) == ["refresh painted colour", "refresh gone"]


def test_a_create_that_was_taken_up_is_told_as_the_create_it_is() -> None:
    same = event("resOutputsEvent", "same", "first")
    assert steps(same) == ["same first"]
    assert steps(same, taken_up=(urn("first"),)) == ["create first"]


def test_plugins_own_providers_are_no_steps() -> None:
    assert steps(event("resOutputsEvent", "create", "default", type="pulumi:providers:crowdstack")) == []


def test_the_fault_of_a_step_comes_before_what_follows_from_it() -> None:
    story = Story(lambda _: None)
    story.hear({"diagnosticEvent": {"severity": "error", "message": "update failed"}})
    story.hear({"diagnosticEvent": {"severity": "error", "message": "the program ended"}})
    told = "no paint left\n  why: it is Sunday\n  try: buy some\n"
    story.hear({"diagnosticEvent": {"severity": "error", "urn": urn("first"), "message": told}})
    story.hear(event("resOpFailedEvent", "create", "first"))
    fault = story.fault()
    assert fault is not None
    assert (fault.what, fault.why, fault.hint) == (
        f"creating {TOKEN} first failed: no paint left",
        "it is Sunday",
        "buy some",
    )


def test_only_the_expected_warning_is_left_out() -> None:
    story = Story(lambda _: None)
    for message in ("using pulumi-resource-crowdstack from $PATH at /bin", "the disk is nearly full"):
        story.hear({"diagnosticEvent": {"severity": "warning", "message": message}})
    assert story.warnings == ["the disk is nearly full"]


# ---------------------------------------------------------------------------------------------------- complaints


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("error: the stack is currently locked by 1 lock(s).\n x: created by ada@box (pid 7) at 2026-11-26T15:52:59Z", LockHeld),
        ("error: [409] Conflict: Another update is currently in progress.", LockHeld),
        ("error: getting secrets manager: incorrect passphrase", StateMismatch),
        ("error: passphrase must be set with PULUMI_CONFIG_PASSPHRASE", StateMismatch),
        ("error: PULUMI_ACCESS_TOKEN must be set for login", CredentialsMissing),
        ("error: unable to open bucket file:///x: stat /x: no such file or directory", Busy),
        ("error: read: dial tcp 127.0.0.1:9: connect: connection refused", Busy),
        ("error: failed to load checkpoint: place 1: invalid character", StateMismatch),
        ("error: no resource plugin 'pulumi-resource-aws' found", Refused),
        ("error: something new", StepFailed),
        ("", StepFailed),
    ],
)  # fmt: skip
def test_each_complaint_is_an_error_of_ours(told: str, kind: type[Exception]) -> None:
    fault = error_of(told, backend="file:///here", passphrase="/here/state.passphrase")
    assert type(fault) is kind
    assert fault.where


def owner(pid: int, *, at: float, host: str | None = None) -> Owner:
    return Owner(user="ada", host=host or socket.gethostname(), pid=pid, at=datetime.fromtimestamp(at, timezone.utc))


def test_an_owner_is_dead_only_when_it_is_certain() -> None:
    now = time.time()
    assert not owner(os.getpid(), at=now).dead
    assert not owner(1, at=0, host="another-machine").dead
    with subprocess.Popen(["true"]) as gone:
        pass
    assert owner(gone.pid, at=now).dead
    started = process.started_at(os.getpid())
    assert started is not None
    assert owner(os.getpid(), at=started - 60).dead, "this process is younger than the lock"


# ---------------------------------------------------------------------------------------------------- cut off


def begun(name: str, **inputs: Any) -> dict[str, Any]:
    return {"type": "creating", "resource": {"urn": urn(name), "custom": True, "type": TOKEN, "inputs": inputs}}


@pytest.fixture
def kind(tmp_path: Path) -> ThingType:
    return ThingType(private_folder(tmp_path / "things"), broken={"bad"})


def settled(kind: ThingType, deployment: dict[str, Any], *, keep: bool = True) -> states.Settled:
    return states.settle(deployment, Plugin("crowdstack", [kind]), keep=keep)


def test_a_cut_off_create_is_completed_with_its_secrets_marked(kind: ThingType) -> None:
    secret = {SIGNATURE: SECRET, "plaintext": '"red"'}
    done = settled(kind, {"resources": [], "pending_operations": [begun("first", colour=secret)]})
    (made,) = done.deployment["resources"]
    assert (made["id"], done.taken_up) == (next(iter(kind.things())).name, (urn("first"),))
    assert made["inputs"]["colour"] == made["outputs"]["colour"] == secret
    assert made["outputs"]["password"][SIGNATURE] == SECRET
    assert done.deployment["pending_operations"] == []


def test_a_cut_off_create_that_cannot_be_or_is_not_wanted_is_undone(kind: ThingType) -> None:
    kind.create(urn("first"), {"colour": "red"}, preview=False)
    pending = {"resources": [], "pending_operations": [begun("first", colour="red")]}
    assert settled(kind, pending, keep=False).deployment["resources"] == []
    assert kind.things() == {}
    assert settled(kind, {"pending_operations": [begun("first", colour="bad")]}).taken_up == ()


@pytest.mark.parametrize(
    ("mark", "left"),
    [({"pendingReplacement": True}, ["new"]), ({}, ["old, to be deleted", "needs it", "new"])],
    ids=["deleted first", "made first"],
)
def test_a_cut_off_replacement_takes_the_place_of_what_it_replaces(
    kind: ThingType, mark: dict[str, Any], left: list[str]
) -> None:
    old = {"urn": urn("first"), "custom": True, "type": TOKEN, "id": "old", **mark}
    other = {"urn": urn("second"), "custom": True, "type": TOKEN, "id": "needs it", "dependencies": [urn("first")]}
    here = [old, other] if not mark else [old]
    done = settled(kind, {"resources": here, "pending_operations": [begun("first", colour="red")]})
    told = [
        "old, to be deleted" if found.get("delete") else found["id"] if found["id"] in ("needs it", "old") else "new"
        for found in done.deployment["resources"]
    ]
    assert told == left


def test_what_only_a_cloud_knows_is_left_to_a_person(kind: ThingType) -> None:
    operation = begun("bucket")
    operation["resource"]["type"] = "aws:s3/bucket:Bucket"
    with pytest.raises(StateMismatch):
        settled(kind, {"pending_operations": [operation]})


def test_times_of_states_sort_as_they_happened() -> None:
    told = [
        "2026-11-26T15:52:17.9Z",
        "2026-11-26T15:52:17.91Z",
        "2026-11-26T15:52:18Z",
        "2026-11-26T15:52:18.000000001Z",
    ]
    assert [states.written_at({"manifest": {"time": time_}}) for time_ in told] == sorted(
        states.written_at({"manifest": {"time": time_}}) for time_ in reversed(told)
    )


# ---------------------------------------------------------------------------------------------------- outputs, choice


def test_outputs_hold_while_the_state_is_the_same_and_elsewhere_for_a_while(tmp_path: Path) -> None:
    note = Outputs(tmp_path / "outputs", Vault(tmp_path / "state.key"))
    assert note.read("one") is None
    note.keep("one", {"key": "gold"}, written="2026")
    kept = note.read("one")
    assert kept is not None
    assert kept.outputs == {"key": "gold"}
    assert note.read("two") is None
    assert note.read(None) is not None
    assert note.read(None, now=time.time() + FRESH_S + 1) is None
    assert (note.last_written(), note.last() is not None) == ("2026", True)
    assert b"gold" not in note.path.read_bytes()
    note.path.write_bytes(b"broken")
    assert note.read("one") is None


def test_what_is_up_keeps_its_engine_until_it_is_down(tmp_path: Path) -> None:
    embedded, real = Choice(), Choice(engine="pulumi", backend="s3://birds")
    up = [False]

    def engine(wish: Choice | None) -> ChosenEngine:
        return ChosenEngine(tmp_path / "birds", wish=wish, bound=lambda: up[0], open_=lambda choice: None)  # type: ignore[arg-type,return-value]

    assert engine(None).choice == embedded
    engine(real).remember()
    up[0] = True
    assert engine(None).choice == engine(real).choice == real
    assert engine(Choice(engine="pulumi", secrets="awskms://key")).choice == real, "no backend was named: the known one"
    with pytest.raises(Refused) as fault:
        _ = engine(embedded).choice
    with pytest.raises(Refused):
        _ = engine(Choice(engine="pulumi", backend="s3://others")).choice
    assert "pulumi at s3://birds" in str(fault.value)
    up[0] = False
    assert engine(embedded).choice == embedded
    (tmp_path / "birds" / "engine.json").write_text("{")
    with pytest.raises(StateMismatch):
        _ = engine(None).choice


def test_the_options_name_an_engine_and_its_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(private_folder(tmp_path / "a b"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wished(None, None) is None
    assert wished("embedded", None) == Choice()
    assert wished(None, "s3://birds") == Choice(engine="pulumi", backend="s3://birds")
    for told, meant in (("file://./here?x=1", tmp_path / "a b" / "here"), ("file://~/there", tmp_path / "there")):
        choice = wished("pulumi", told)
        assert choice is not None
        assert choice.backend is not None
        assert Place(backend=choice.backend, passphrase=tmp_path).local == meant
    with pytest.raises(UsageError):
        wished("embedded", "s3://birds")


def test_a_step_of_both_engines_reads_the_same(tmp_path: Path) -> None:
    """What the real engine's events come to is what the embedded engine tells of the same program."""
    from tests.engine.world import Thing

    made = Embedded(tmp_path).up(lambda: (Thing("first", colour="red"), None)[1]).steps
    assert made[-1] == Step(operation=Operation.CREATE, urn=made[-1].urn, type=TOKEN, name="first")
    story = Story(lambda _: None)
    story.hear(event("resOutputsEvent", "create", "first"))
    assert story.steps == [made[-1]]


# ---------------------------------------------------------------------------------------------------- the program's connection


def test_a_port_that_was_refused_is_not_refused_to_the_cli_that_has_it_now() -> None:
    def call(channel: grpc.Channel) -> None:
        channel.unary_unary("/any/Call")(b"", timeout=10)

    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("any", {"Call": handler}),))
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{kept.getsockname()[1]}"
        with connected(address) as dead, connected(address) as living:
            with pytest.raises(grpc.RpcError):
                call(dead)
            server.add_insecure_port(address)
            server.start()
            call(living)
    server.stop(grace=None).wait()
