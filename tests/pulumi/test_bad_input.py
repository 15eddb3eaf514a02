"""What can be wrong around the real engine: each is one clear message with the right exit code, and the state is intact."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from crowdstack.engine.automation.cli import check_version, find_cli, install
from crowdstack.engine.automation.engine import Place
from crowdstack.errors import Busy, CredentialsMissing, CrowdstackError, LockHeld, Refused, StateMismatch
from crowdstack.folder import private_folder
from tests.engine.world import Thing, told
from tests.pulumi.tools import script
from tests.pulumi.world import RealWorld

pytestmark = [pytest.mark.pulumi, pytest.mark.timeout(180)]


def birds() -> None:
    Thing("first", colour="red")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack with one thing, made once."""
    room = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        real = prepared(room, patch)
        real.up(birds)
        yield real.root


def prepared(room: Path, patch: pytest.MonkeyPatch) -> RealWorld:
    from tests.pulumi.tools import pulumi_cli

    patch.setenv("PATH", f"{pulumi_cli().parent}{os.pathsep}{os.environ['PATH']}")
    patch.setenv("PULUMI_HOME", str(private_folder(room / "pulumi-home")))
    return RealWorld(room / "world")


@pytest.fixture
def real(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealWorld:
    """A copy of it."""
    real = prepared(tmp_path, monkeypatch)
    for part in ("backend", "stack", "things", "state.key", "state.passphrase"):
        there = once / part
        if there.is_dir():
            shutil.copytree(there, real.root / part, dirs_exist_ok=True)
        else:
            shutil.copy2(there, real.root / part)
    return real


def cli_missing(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", "/usr/bin:/bin")
    patch.setenv("HOME", str(real.root))


def cli_too_old(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    script(real.root / "old" / "pulumi", "print('v3.100.0')")
    patch.setenv("PATH", f"{real.root / 'old'}:/usr/bin:/bin")


def cli_is_something_else(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    script(real.root / "old" / "pulumi", "print('usage: pulumi FILE')")
    patch.setenv("PATH", f"{real.root / 'old'}:/usr/bin:/bin")


def wrong_passphrase(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    real.place.passphrase.write_text("another")


def passphrase_gone(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    real.place.passphrase.unlink()


def corrupt(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    real.state_file.write_bytes(real.state_file.read_bytes()[:-40])


def newer(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    real.state_file.write_text('{"version": 9, "checkpoint": {}}')


def foreign(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    real.state_file.write_text(real.state_file.read_text().replace("urn:pulumi:shop::paint::", "urn:pulumi:shop::x::"))


def older(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    before = real.state_file.read_bytes()
    real.up(lambda: (Thing("first", colour="blue"), None)[1])
    real.state_file.write_bytes(before)


def plugin_missing(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(real.root / "bin")


def backend_unreachable(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", "a")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # free again, and nobody listens
    url = f"s3://bucket?region=eu-west-1&endpoint=http://127.0.0.1:{port}&s3ForcePathStyle=true"
    real.place = Place(backend=url, passphrase=real.place.passphrase)


def no_token(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    real.place = Place(backend="https://127.0.0.1:9", passphrase=real.place.passphrase)


def locked(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    """By this very process, which lives."""
    real.lock(pid=os.getpid(), hostname=socket.gethostname(), timestamp=_at(timedelta()))


def locked_elsewhere(real: RealWorld, patch: pytest.MonkeyPatch) -> None:
    """Nobody here can tell whether that one lives."""
    real.lock(pid=1, hostname="another-machine", timestamp=_at(timedelta(days=-9)))


def _at(ago: timedelta) -> str:
    return (datetime.now(timezone.utc) + ago).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


CASES: dict[Callable[[RealWorld, pytest.MonkeyPatch], None], tuple[type[CrowdstackError], int, str]] = {
    cli_missing: (Refused, 4, "crowdstack engine install"),
    cli_too_old: (Refused, 4, "3.192.0 or newer"),
    cli_is_something_else: (Refused, 4, "no Pulumi CLI"),
    wrong_passphrase: (StateMismatch, 10, "state.passphrase"),
    passphrase_gone: (StateMismatch, 10, "from a backup"),
    corrupt: (StateMismatch, 10, ".bak"),
    newer: (StateMismatch, 10, "version 9"),
    foreign: (StateMismatch, 10, "another stack"),
    older: (StateMismatch, 10, "older copy"),
    plugin_missing: (Refused, 4, "with pip"),
    backend_unreachable: (Busy, 4, "cannot be reached"),
    no_token: (CredentialsMissing, 3, "credentials"),
    locked: (LockHeld, 9, f"process {os.getpid()}"),
    locked_elsewhere: (LockHeld, 9, "pulumi cancel"),
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda case: case.__name__)
def test_each_fault_is_one_clear_message_and_the_state_is_intact(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[RealWorld, pytest.MonkeyPatch], None]
) -> None:
    kind, code, says = CASES[spoil]
    spoil(real, monkeypatch)
    before = {path: path.read_bytes() for path in real.state_file.parent.iterdir()}
    with pytest.raises(CrowdstackError) as told_:
        real.up(lambda: (Thing("second", colour="blue"), None)[1])
    fault = told_.value
    assert (type(fault), fault.exit_code) == (kind, code), fault
    assert says in str(fault)
    assert "Traceback" not in str(fault)
    assert {path: path.read_bytes() for path in real.state_file.parent.iterdir()} == before
    assert real.things() == ["first"]


def test_a_lock_whose_owner_has_died_is_cleared(real: RealWorld) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        pass
    lock = real.lock(pid=gone.pid, hostname=socket.gethostname(), timestamp=_at(timedelta()))
    assert told(real.up(birds)) == []
    assert not lock.exists()


def test_a_lock_whose_owners_pid_is_somebody_elses_by_now_is_cleared(real: RealWorld) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        lock = real.lock(pid=stranger.pid, hostname=socket.gethostname(), timestamp=_at(timedelta(hours=-1)))
        assert told(real.up(birds)) == []
        assert not lock.exists()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_outputs_are_told_without_the_cli_until_the_state_changes(
    real: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.engine.outputs()
    with monkeypatch.context() as without:
        cli_missing(real, without)
        assert real.engine.outputs() == {}
    state = json.loads(real.state_file.read_bytes())
    stack = next(found for found in state["checkpoint"]["latest"]["resources"] if found["type"].endswith(":Stack"))
    stack["outputs"] = {"size": 4}
    real.state_file.write_text(json.dumps(state))  # as `pulumi up` by hand would
    assert real.engine.outputs() == {"size": 4}


# ---------------------------------------------------------------------------------------------------- the CLI


def test_the_newest_installed_cli_is_found_when_none_is_on_path(tmp_path: Path) -> None:
    for version in ("3.192.0", "3.200.1", "3.99.0"):
        script(tmp_path / ".pulumi" / "versions" / version / "bin" / "pulumi", f"print('v{version}')")
    found = find_cli({"PATH": "/nowhere", "HOME": str(tmp_path)})
    assert check_version(found) == "v3.200.1"


def test_installing_without_a_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(Refused) as fault:
        install()
    assert "network" in str(fault.value)
