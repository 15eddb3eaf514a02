"""The state file: Pulumi's shape, secrets, age, key, what a full disk leaves."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pulumi
import pytest

from crowdstack.engine.embedded.checkpoint import Checkpoint
from crowdstack.engine.embedded.state import Resource, State
from crowdstack.engine.secrets import Vault
from crowdstack.engine.values import SecretValue
from crowdstack.errors import Refused, StateMismatch, StepFailed
from tests.engine.world import Thing, World, told


def program() -> None:
    first = Thing("first", colour="red", parts={"hidden": pulumi.Output.secret("canary-in"), "open": [1, None]})
    pulumi.export("password", first.password)


def a_state(secret: str = "hush") -> State:
    urn = "urn:pulumi:s::p::pulumi:pulumi:Stack::p-s"
    outputs = {"open": 1, "deep": {"in": [SecretValue({"word": secret, "more": SecretValue(secret)})]}}
    return State(resources=(Resource(urn=urn, type="pulumi:pulumi:Stack", custom=False, outputs=outputs),))


def checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint(folder, Vault(folder.parent / "state.key"))


def test_what_was_saved_is_loaded_nested_secrets_too(tmp_path: Path) -> None:
    checkpoint(tmp_path / "s").save(a_state())
    assert checkpoint(tmp_path / "s").load() == a_state()


def test_no_secret_is_in_clear_in_any_file(world: World) -> None:
    world.up(program)
    password = str(world.engine.outputs()["password"])  # type: ignore[index]
    written = b"".join(path.read_bytes() for path in world.stack.iterdir())
    assert password.encode() not in written
    assert b"canary" not in written
    assert b'"open"' in written


def test_every_file_is_private_whatever_the_umask(world: World) -> None:
    before = os.umask(0)
    try:
        world.up(program)
    finally:
        os.umask(before)
    for path in (world.stack, *world.stack.iterdir(), world.root / "state.key"):
        assert path.stat().st_mode & 0o077 == 0, path


# As `pulumi stack export` documents it (apitype.UntypedDeployment, DeploymentV3, ResourceV3, OperationV2).
RESOURCE_FIELDS = {
    "urn": str,
    "custom": bool,
    "delete": bool,
    "id": str,
    "type": str,
    "inputs": dict,
    "outputs": dict,
    "parent": str,
    "dependencies": list,
    "provider": str,
    "propertyDependencies": dict,
}


def test_the_state_has_the_shape_of_pulumis_deployment_3(world: World) -> None:
    world.up(program)
    state = world.state()
    assert state["version"] == 3
    deployment = state["deployment"]
    assert set(deployment) == {"manifest", "secrets_providers", "resources", "pending_operations", "metadata"}
    assert set(deployment["manifest"]) == {"time", "magic", "version"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", deployment["manifest"]["time"])
    seen: set[str] = set()
    for found in deployment["resources"]:
        assert {name: type(value) for name, value in found.items()}.items() <= RESOURCE_FIELDS.items()
        assert {"urn", "custom", "type"} <= set(found)
        needs = {*found.get("dependencies", ()), *([found["parent"]] if "parent" in found else ())}
        if "provider" in found:
            urn, _, provider_id = found["provider"].rpartition("::")
            needs.add(urn)
            assert {"urn": urn, "id": provider_id}.items() <= next(
                r for r in deployment["resources"] if r["urn"] == urn
            ).items()
        assert needs <= seen, "each stands after all it depends on"
        seen.add(found["urn"])
    thing = deployment["resources"][-1]
    assert thing["outputs"]["password"]["4dabf18193072939515e22adb298388d"] == "1b47061264138c4ac30d75fd1eb44270"
    assert set(thing["outputs"]["password"]) == {"4dabf18193072939515e22adb298388d", "ciphertext"}


def test_the_previous_state_is_kept(world: World) -> None:
    world.up(program)
    before = world.state()
    world.up(lambda: None)
    backup = json.loads((world.stack / "state.json.bak").read_bytes())
    assert backup["crowdstack"]["serial"] == world.state()["crowdstack"]["serial"] - 1
    assert backup["crowdstack"]["lineage"] == before["crowdstack"]["lineage"]


def test_an_old_state_file_is_noticed(world: World) -> None:
    world.up(program)
    old = world.state_file.read_bytes()
    world.up(lambda: None)
    world.state_file.write_bytes(old)
    for verb in (lambda: world.preview(program), lambda: world.up(program), world.engine.destroy, world.engine.outputs):
        with pytest.raises(StateMismatch, match="an older copy"):
            verb()
    (world.stack / "state.serial").unlink()  # what the hint says
    assert told(world.up(program)) == ["refresh first", "create first"]


def test_reading_beside_a_command_that_writes_always_finds_a_state(tmp_path: Path) -> None:
    writer, over, read = checkpoint(tmp_path / "s"), threading.Event(), 0
    writer.save(a_state("0"))

    def write() -> None:
        for number in range(1, 150):
            writer.save(a_state(str(number)))
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not over.is_set():
        assert checkpoint(tmp_path / "s").load().resources
        read += 1
    thread.join()
    assert read > 10


def test_another_stacks_state_is_noticed(tmp_path: Path) -> None:
    left, right = World(tmp_path / "left"), World(tmp_path / "right")
    left.up(program)
    right.up(program)
    right.state_file.write_bytes(left.state_file.read_bytes())
    with pytest.raises(StateMismatch, match="another stack's"):
        right.engine.outputs()


def test_a_broken_state_file_is_told_with_the_way_back(world: World) -> None:
    world.up(program)
    whole = world.state_file.read_bytes()
    world.state_file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateMismatch, match="cannot be read") as broken:
        world.up(program)
    assert "state.json.bak" in str(broken.value.hint)
    assert world.state_file.read_bytes() == whole[: len(whole) // 2]


def test_an_altered_secret_is_noticed(world: World) -> None:
    world.up(program)
    state = world.state()
    sealed = state["deployment"]["resources"][-1]["outputs"]["password"]
    version, nonce, body = sealed["ciphertext"].split(":")
    sealed["ciphertext"] = f"{version}:{nonce}:{'B' if body[0] != 'B' else 'C'}{body[1:]}"
    world.state_file.write_text(json.dumps(state))
    with pytest.raises(StateMismatch, match="altered"):
        world.engine.outputs()


def test_another_key_and_no_key_are_noticed(world: World) -> None:
    world.up(program)
    key = world.root / "state.key"
    key.write_bytes(bytes(32))
    with pytest.raises(StateMismatch, match="another key"):
        World(world.root).engine.outputs()
    key.unlink()
    with pytest.raises(StateMismatch, match="is gone"):
        World(world.root).engine.outputs()
    assert not key.exists()


def test_a_key_that_others_can_read_is_refused(world: World) -> None:
    world.up(program)
    (world.root / "state.key").chmod(0o644)
    with pytest.raises(Refused, match="others can read"):
        World(world.root).engine.outputs()


@contextmanager
def no_room(beyond: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond so many bytes (EFBIG, as a full disk refuses with ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (beyond, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_state_that_cannot_be_written_stops_before_the_next_step(world: World) -> None:
    world.up(program)
    old = world.state_file.read_bytes()

    def more() -> None:
        program()
        Thing("second", colour="blue")

    with no_room(beyond=len(old) // 2), pytest.raises(StepFailed, match="could not be written") as failed:
        world.up(more)
    assert failed.value.why == os.strerror(errno.EFBIG)
    assert world.state_file.read_bytes() == old
    assert list(world.things()) == ["first"], "nothing is made that could not be written down first"
    assert [path.name for path in world.stack.iterdir() if path.name.startswith(".")] == []
    assert told(world.up(more)) == ["create second"]
