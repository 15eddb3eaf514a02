"""The plugin's process, spoken to as Pulumi's engine does: its schema, what it checks and compares, whose it is, when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import pytest
from pulumi.runtime.proto import provider_pb2 as wire
from pulumi.runtime.proto import provider_pb2_grpc

from crowdstack import process
from crowdstack.engine.embedded.monitor import from_struct, to_struct
from crowdstack.engine.peer import is_ours, owner
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.plugin_process import state_folder
from crowdstack.engine.plugin_server import PluginServer
from crowdstack.engine.schema import package_schema
from crowdstack.engine.types import BUNDLE, KEYS, TASK_SERVER, crowdstack_plugin
from crowdstack.engine.values import UNKNOWN, SecretValue
from crowdstack.errors import CrowdstackError
from crowdstack.folder import Folder, private_folder
from crowdstack.wire.stack import SPEC, STATE_VARIABLE
from tests.engine.runs import Site
from tests.engine.world import ThingType
from tests.pulumi.tools import HERE, path_with, pulumi_cli, script
from tests.stories.stage import wait_until

OURS = Path(sys.executable).parent / "pulumi-resource-crowdstack"
THINGS = """
from pathlib import Path
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.plugin_process import serve
from tests.engine.world import ThingType

plugin = Plugin("crowdstack", [ThingType(Path({folder!r}), delete_first={delete_first}, broken={{"bad"}})])
serve(lambda _: plugin, package=plugin)
"""


@contextmanager
def started(executable: Path, **environment: str) -> Iterator[Any]:
    """The plugin's process and a stub to it."""
    child = subprocess.Popen(
        [executable, "127.0.0.1:1"],
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment},
    )
    try:
        assert child.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{int(child.stdout.readline())}") as channel:
            stub = provider_pb2_grpc.ResourceProviderStub(channel)
            stub.Handshake(wire.ProviderHandshakeRequest(engine_address="127.0.0.1:1"))
            yield stub
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) == 0
        assert child.stdout is not None
        child.stdout.close()


@pytest.fixture
def things(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(*, delete_first: bool = False) -> Any:
            folder = str(private_folder(tmp_path / "things"))
            code = THINGS.format(folder=folder, delete_first=delete_first)
            stub = stack.enter_context(started(script(tmp_path / "plugin", code)))
            stub.Configure(wire.ConfigureRequest())
            return stub

        yield start


def urn(name: str, token: str = "crowdstack:index:Thing") -> str:
    return f"urn:pulumi:shop::paint::crowdstack:test:Box${token}::{name}"


def create(stub: Any, *, preview: bool = False, **inputs: Any) -> wire.CreateResponse:
    return stub.Create(wire.CreateRequest(urn=urn("first"), properties=to_struct(inputs), preview=preview))


# ---------------------------------------------------------------------------------------------------- schema


def test_the_schema_is_a_package_schema(tmp_path: Path) -> None:
    # Pulumi's own, as of its version in cli/go.mod. Its patterns name groups as Go does.
    metaschema = json.loads((HERE / "metaschema.json").read_text().replace("(?<", "(?P<"))
    schema = package_schema(crowdstack_plugin(Folder(tmp_path), launcher=None), "0.1.0")  # type: ignore[arg-type]
    validator = jsonschema.Draft202012Validator(metaschema)
    assert [fault.message for fault in validator.iter_errors(schema)] == []
    broken = {**schema, "resources": {"Thing": {"requiredInputs": "all"}}}
    assert list(validator.iter_errors(broken)), "the metaschema finds nothing wrong with anything"


@pytest.mark.pulumi
def test_pulumi_reads_every_property_from_the_plugin() -> None:
    done = subprocess.run(
        [pulumi_cli(), "package", "get-schema", "crowdstack"],
        env={"PATH": path_with(OURS.parent), "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["resources"]
    assert sorted(found) == [BUNDLE, KEYS, TASK_SERVER]
    assert found[KEYS]["properties"]["root"]["secret"]
    assert found[KEYS]["inputProperties"]["run"]["replaceOnChanges"]
    assert found[TASK_SERVER]["inputProperties"]["keys"]["secret"]
    assert sorted(found[TASK_SERVER]["properties"]) == ["config", "origin", "port", "process"]
    assert "publicUrl" not in found[TASK_SERVER]["requiredInputs"]


def test_what_a_type_makes_is_what_its_schema_says(tmp_path: Path) -> None:
    site = Site(tmp_path)
    try:
        site.up()
        made = {found.type: found.outputs for found in site.engine._checkpoint().load().resources if found.id}
        for kind in crowdstack_plugin(site.folder, site.launcher).types:
            assert sorted(made[kind.token]) == sorted(kind.outputs)
    finally:
        site.engine.destroy()


# ---------------------------------------------------------------------------------------------------- resources


def test_a_wrong_input_is_told_by_its_name(things: Any) -> None:
    news = to_struct({"colour": 7, "size": "large", "shape": UNKNOWN})
    told = things().Check(wire.CheckRequest(urn=urn("first"), news=news))
    assert {failure.property: failure.reason.split(" (")[0] for failure in told.failures} == {
        "colour": "is int, must be str",
        "size": "crowdstack:index:Thing has no such property",
    }


@pytest.mark.parametrize("delete_first", [True, False])
def test_each_change_is_told_by_its_name_and_kind(things: Any, delete_first: bool) -> None:
    old, new = {"colour": "red", "shape": "round"}, {"colour": "blue", "shape": "square", "parts": {}}
    told = things(delete_first=delete_first).Diff(
        wire.DiffRequest(urn=urn("first"), id="1", old_inputs=to_struct(old), news=to_struct(new))
    )
    kinds = wire.PropertyDiff.Kind
    assert {name: kinds.Name(found.kind) for name, found in told.detailedDiff.items()} == {
        "colour": "UPDATE",
        "shape": "UPDATE_REPLACE",
        "parts": "ADD",
    }
    assert (list(told.replaces), told.deleteBeforeReplace) == (["shape"], delete_first)


def test_a_secret_that_stays_the_same_is_no_change(things: Any) -> None:
    same = to_struct({"colour": SecretValue("red")})
    told = things().Diff(wire.DiffRequest(urn=urn("first"), id="1", old_inputs=same, news=to_struct({"colour": "red"})))
    assert told.changes == wire.DiffResponse.DIFF_NONE


def test_a_previewed_create_makes_nothing_and_knows_what_it_cannot_know(things: Any, tmp_path: Path) -> None:
    made = create(things(), preview=True, colour="red")
    assert made.id == ""
    assert from_struct(made.properties)["size"] is UNKNOWN
    assert list((tmp_path / "things").iterdir()) == []


def test_the_same_urn_twice_is_one_thing_and_secrets_stay_secret(things: Any, tmp_path: Path) -> None:
    stub = things()
    once, twice = create(stub, colour=SecretValue("red")), create(stub, colour=SecretValue("red"))
    assert once == twice
    assert len(list((tmp_path / "things").iterdir())) == 1
    properties = from_struct(once.properties)
    assert isinstance(properties["password"], SecretValue)
    assert isinstance(properties["colour"], SecretValue)
    assert properties["size"] == 3


def test_read_tells_what_is_there_and_what_is_gone(things: Any, tmp_path: Path) -> None:
    stub = things()
    made = create(stub, colour="red")
    asked = wire.ReadRequest(id=made.id, urn=urn("first"))  # an import: nothing but the id
    assert from_struct(stub.Read(asked).inputs) == {"colour": "red"}
    next((tmp_path / "things").iterdir()).unlink()
    assert stub.Read(asked).id == ""


def test_a_fault_is_told_without_a_traceback(things: Any) -> None:
    with pytest.raises(grpc.RpcError) as fault:
        create(things(), colour="bad")
    assert fault.value.details() == "no bad paint left\n  try: buy some"


# ---------------------------------------------------------------------------------------------------- whose it is


def test_the_plugin_acts_only_in_a_private_folder_of_ours(tmp_path: Path) -> None:
    ours = private_folder(tmp_path / "ours" / ".crowdstack")
    assert state_folder({STATE_VARIABLE: str(ours)}, {}).root == ours
    assert state_folder({}, {SPEC: str(tmp_path / "ours" / "task.yaml")}).root == ours
    link, open_, file = tmp_path / "link", tmp_path / "open", tmp_path / "file"
    link.symlink_to(ours)
    open_.mkdir(mode=0o755)
    file.touch()
    anybodys = tmp_path / "anybodys"
    anybodys.mkdir()
    anybodys.chmod(0o777)
    assert state_folder({STATE_VARIABLE: str(tmp_path / "not yet")}, {}).root == tmp_path / "not yet"
    for wrong in (link, open_, file, tmp_path / "nowhere" / "at all", anybodys / "new"):
        with pytest.raises(CrowdstackError):
            state_folder({STATE_VARIABLE: str(wrong)}, {})
    with pytest.raises(CrowdstackError):
        state_folder({}, {})


def test_whoever_talks_to_the_port_cannot_choose_the_folder(tmp_path: Path) -> None:
    ours = private_folder(tmp_path / "ours")
    other = private_folder(tmp_path / "other" / ".crowdstack")
    with started(OURS, **{STATE_VARIABLE: str(ours)}) as stub:
        stub.Configure(wire.ConfigureRequest(args=to_struct({SPEC: str(other.parent / "task.yaml")})))
        files = {"/": {"blob": "0" * 64, "type": "text/html"}}
        with pytest.raises(grpc.RpcError) as fault:
            stub.Create(
                wire.CreateRequest(
                    urn=urn("bundle", BUNDLE), properties=to_struct({"digest": "0" * 64, "files": files})
                )
            )
        assert str(ours) in fault.value.details()


def test_another_user_of_this_machine_is_turned_away(tmp_path: Path) -> None:
    plugin = Plugin("crowdstack", [ThingType(private_folder(tmp_path / "things"))])

    class Context:
        """A call of somebody."""

        def peer(self) -> str:
            return "ipv4:127.0.0.1:4242"

        def abort(self, code: grpc.StatusCode, details: str) -> None:
            raise PermissionError(code.name)

    server = PluginServer(
        lambda _: plugin, package=plugin, version="0.1.0", settings=frozenset(), trusts=lambda peer: False
    )
    for verb in (server.Configure, server.Create, server.Read, server.Update, server.Delete, server.Diff, server.Check):
        with pytest.raises(PermissionError, match="PERMISSION_DENIED"):
            verb(None, Context())


def test_the_owner_of_a_connection_is_read_from_the_kernel() -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    rest = "01 00000000:00000000 00:00000000 00000000"
    old = f"{head}\n 0: 0100007F:1092 0100007F:9C41 {rest} 1001 0 1234\n 1: 0100007F:1092 0100007F:9C42 {rest} 1002 0 1234"
    mapped = f"{head}\n 0: 0000000000000000FFFF00000100007F:1093 0000000000000000FFFF00000100007F:9C41 {rest} 1003 0 1"
    assert owner(4242, 0x9C41, [old, mapped]) == 1001
    assert owner(4242, 0x9C42, [old, mapped]) == 1002, "the same port at both ends of another connection"
    assert owner(4243, 0x9C41, [old, mapped]) == 1003
    assert owner(4244, 0x9C41, [old, mapped]) is None
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        assert is_ours(f"ipv4:127.0.0.1:{ours.getsockname()[1]}", listener.getsockname()[1])
        if Path("/proc/net/tcp").exists():
            assert not is_ours(f"ipv4:127.0.0.1:{ours.getsockname()[1]}", 1)


@pytest.mark.parametrize("token", [KEYS, BUNDLE, TASK_SERVER])
def test_what_only_a_state_knows_is_not_imported_by_its_id(tmp_path: Path, token: str) -> None:
    with started(OURS, **{STATE_VARIABLE: str(private_folder(tmp_path / "state"))}) as stub:
        stub.Configure(wire.ConfigureRequest())
        with pytest.raises(grpc.RpcError) as fault:
            stub.Read(wire.ReadRequest(id="birds-1", urn=urn("x", token)))
        assert "cannot be imported" in fault.value.details()


def test_only_the_spec_is_a_setting_of_the_provider(tmp_path: Path) -> None:
    with started(OURS) as stub:
        news = to_struct({SPEC: "birds.yaml", "deployment": "{}"})
        checked = stub.CheckConfig(wire.CheckRequest(urn="urn:pulumi:s::p::pulumi:providers:crowdstack::d", news=news))
        assert from_struct(checked.inputs) == {SPEC: "birds.yaml"}


def test_the_plugin_ends_when_its_engine_is_killed(tmp_path: Path) -> None:
    engine = subprocess.Popen(
        ["sh", "-c", f'"{OURS}" 127.0.0.1:1 & echo $!; wait'], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert engine.stdout is not None
    plugin = process.identify(int(engine.stdout.readline()))
    assert plugin is not None
    engine.stdout.readline()  # its port: it serves
    assert process.alive(plugin)
    engine.kill()
    engine.wait()
    wait_until(lambda: not process.alive(plugin), within_s=5, what="the plugin to end")
    engine.stdout.close()


def test_started_by_hand_it_says_what_it_is() -> None:
    done = subprocess.run([OURS], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Pulumi starts it" in done.stderr
