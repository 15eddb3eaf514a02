"""A stack's state moves: to Pulumi's own CLI and back, from one engine to the other, and nothing of it is made again."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crowdstack.engine import state_file
from crowdstack.engine.chosen import ChosenEngine
from crowdstack.engine.deployments import outputs
from crowdstack.engine.passphrase import Passphrase
from crowdstack.engine.stack_state import StackState
from crowdstack.engine.types import crowdstack_plugin
from crowdstack.errors import NotFound, StateMismatch
from crowdstack.folder import Folder, private_folder
from tests.engine.runs import Site, servers
from tests.engine.world import World
from tests.pulumi.test_automation import things
from tests.pulumi.tools import pulumi_cli
from tests.pulumi.world import RealWorld
from tests.stories.stage import Stage, bots_project, stage, wait_until

pytestmark = pytest.mark.timeout(300)


# ---------------------------------------------------------------------------------------------------- the file


def test_a_passphrase_opens_what_it_sealed_and_no_other_does() -> None:
    one = Passphrase.new("sesame")
    assert Passphrase.of("sesame", one.salt, where="here").open(one.seal("gold")) == "gold"
    with pytest.raises(StateMismatch):
        Passphrase.of("open", one.salt, where="here")
    with pytest.raises(StateMismatch):
        Passphrase.of("sesame", "v1:x", where="here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Folder]]:
    """The exported state of a real run's stack."""
    site = Site(tmp_path_factory.mktemp("site"))
    try:
        site.up()
        data = state_file.write(site.engine.export() or {}, site.folder.passphrase)
        yield json.loads(data), site.folder
    finally:
        site.engine.destroy()


def spoiled(document: dict[str, Any], case: str) -> bytes:
    copy = json.loads(json.dumps(document))
    resources = copy["deployment"]["resources"]
    server = next(found for found in resources if found["type"].endswith("TaskServer"))
    provider = next(found for found in resources if "providers" in found["type"])
    match case:
        case "not JSON":
            return b"{"
        case "not a state":
            return b"[]"
        case "newer version":
            copy["version"] = 4
        case "a download URL":
            provider["inputs"] = {"pluginDownloadURL": "https://example.org/plugin"}
        case "a download URL inside":
            server["inputs"]["files"]["x"] = {"pluginDownloadURL": "https://example.org/plugin"}
        case "another project":
            server["urn"] = server["urn"].replace("::crowdstack::", "::other::")
        case "a path":
            server["inputs"]["command"] = "/bin/sh"
        case "a run outside":
            server["inputs"]["run"] = "../../etc"
        case "an unknown type":
            server["type"] = "crowdstack:index:Shell"
        case "another passphrase":
            copy["deployment"]["secrets_providers"]["state"]["salt"] = Passphrase.new("other").salt
        case "another keeper":
            copy["deployment"]["secrets_providers"] = {"type": "service", "state": {}}
        case "an altered secret":
            for secret in _secrets(copy):
                secret["ciphertext"] = secret["ciphertext"][:-8] + "AAAAAAA="
    return json.dumps(copy).encode()


def _secrets(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if "ciphertext" in part:
            yield part
        for value in part.values():
            yield from _secrets(value)
    elif isinstance(part, list):
        for value in part:
            yield from _secrets(value)


CASES = (
    "not JSON",
    "not a state",
    "newer version",
    "a download URL",
    "a download URL inside",
    "another project",
    "a path",
    "a run outside",
    "an unknown type",
    "another passphrase",
    "another keeper",
    "an altered secret",
)


@pytest.mark.parametrize("case", ["as it was", *CASES])
def test_what_is_imported_is_checked_first(made: tuple[dict[str, Any], Folder], case: str) -> None:
    document, folder = made
    plugin = crowdstack_plugin(folder, launcher=None)  # type: ignore[arg-type]

    def check() -> Any:
        found = state_file.read(spoiled(document, case), folder.passphrase, where="state.json")
        state_file.check_importable(found, plugin, project="crowdstack", stack="birds", where="state.json")
        return found

    if case == "as it was":
        assert outputs(check())["run"] == "birds-1"  # type: ignore[index]
        return
    with pytest.raises(StateMismatch) as fault:
        check()
    assert fault.value.exit_code == 10


def test_no_key_is_in_clear_in_an_exported_state(made: tuple[dict[str, Any], Folder]) -> None:
    document, folder = made
    keys = outputs(state_file.read(json.dumps(document).encode(), folder.passphrase, where=""))["keys"]  # type: ignore[index]
    assert not [key for key in keys.values() if key in json.dumps(document)]


# ---------------------------------------------------------------------------------------------------- the verbs


@pytest.fixture
def verbs(tmp_path: Path) -> Iterator[tuple[StackState, Site]]:
    """The state of a run's stack, on the embedded engine."""
    site = Site(tmp_path)
    site.up()
    try:
        chosen = ChosenEngine(site.stack, wish=None, bound=lambda: True, open_=lambda choice: site.engine)
        state = StackState(
            chosen=chosen,
            open_=lambda choice: site.engine,
            plugin=crowdstack_plugin(site.folder, site.launcher),
            project="crowdstack",
            stack="birds",
            passphrase=site.folder.passphrase,
            backups=tmp_path / "backups",
        )
        yield state, site
    finally:
        site.launcher.stop("birds-1")


def test_a_state_is_listed_and_shown_without_its_secrets(verbs: tuple[StackState, Site]) -> None:
    state, site = verbs
    assert [found["urn"].split("::")[-1] for found in state.resources()] == [
        "crowdstack-birds",
        "birds",
        "default",
        "birds-keys",
        "birds-bundle",
        "birds-server",
    ]
    shown = json.dumps([state.resource("birds-keys"), state.resource("birds-server"), state.resources()])
    keys = (site.engine.outputs() or {})["keys"].values()
    assert not [key for key in keys if key in shown]
    with pytest.raises(NotFound, match="birds-kyes"):
        state.resource("birds-kyes")


def test_what_others_need_is_not_forgotten_and_what_is_forgotten_is_left_alone(verbs: tuple[StackState, Site]) -> None:
    state, site = verbs
    with pytest.raises(StateMismatch) as fault:
        state.forget("birds-keys")
    assert "birds-server" in str(fault.value)
    running = servers(site)
    state.forget("birds-server")
    assert "birds-server" not in json.dumps(state.resources())
    assert servers(site) == running
    (backup,) = state.backups.iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600
    state.import_(backup.read_bytes(), where="backup", wish=None, allowed=lambda run: None)
    assert {step.operation.value for step in site.engine.preview(site.program(site.inputs())).steps} == {"same"}


def test_the_state_of_another_run_is_not_imported(verbs: tuple[StackState, Site]) -> None:
    state, site = verbs
    data, before = state.export(), (site.stack / "state.json").read_bytes()
    with pytest.raises(StateMismatch, match="another run"):
        state.import_(data, where="state.json", wish=None, allowed=lambda run: f"{run} is over")
    assert (site.stack / "state.json").read_bytes() == before


# ---------------------------------------------------------------------------------------------------- between engines


@pytest.mark.pulumi
def test_a_state_goes_to_the_real_engine_and_back_and_nothing_changes(real: RealWorld, tmp_path: Path) -> None:
    embedded = World(tmp_path / "embedded")
    embedded.kind.folder = real.kind.folder  # the same things in the world
    embedded.up(things())
    before = embedded.engine.outputs()
    real.engine.replace_state(embedded.engine.export() or {})
    assert real.engine.outputs() == before
    assert {step.operation.value for step in real.preview(things()).steps} == {"same"}
    embedded.engine.remove()
    assert embedded.engine.outputs() is None
    real.up(things("yellow"))
    embedded.engine.replace_state(real.engine.export() or {})
    assert {step.operation.value for step in embedded.preview(things("yellow")).steps} == {"same"}
    assert embedded.engine.outputs() == real.engine.outputs()
    assert real.things() == ["box-thing", "first", "second"]


@pytest.mark.pulumi
def test_pulumis_own_cli_opens_our_secrets_and_we_open_its(made: tuple[dict[str, Any], Folder], tmp_path: Path) -> None:
    document, folder = made
    (tmp_path / "Pulumi.yaml").write_text("name: crowdstack\nruntime: python\n")
    (tmp_path / "state.json").write_text(json.dumps(document))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PULUMI_BACKEND_URL": private_folder(tmp_path / "backend").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder.passphrase),
    }

    def pulumi(*arguments: str) -> bytes:
        done = subprocess.run(
            [pulumi_cli(), "--non-interactive", "stack", *arguments, "--stack", "birds"],
            cwd=tmp_path, env=environment, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    subprocess.run(
        [pulumi_cli(), "stack", "init", "birds"], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    pulumi("import", "--file", "state.json")
    told = json.loads(pulumi("output", "--json", "--show-secrets"))
    ours = outputs(state_file.read(json.dumps(document).encode(), folder.passphrase, where=""))
    assert told == ours
    assert outputs(state_file.read(pulumi("export"), folder.passphrase, where="")) == ours
    assert outputs(state_file.read(pulumi("export", "--show-secrets"), folder.passphrase, where="")) == ours


@pytest.mark.pulumi
@pytest.mark.story
def test_a_live_run_moves_to_the_other_engine_and_back_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{pulumi_cli().parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_HOME", str(private_folder(tmp_path / "pulumi-home")))
    bots_project(tmp_path, items=2, repeats=1, workers=2)
    spec = tmp_path / "task.yaml"
    spec.write_text(spec.read_text().replace("{type: bots, workers: 2, seed: 3}", "{type: human, people: 1}"))
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes", "--detach")
        server = here.pids("server")
        for engine in ("pulumi", "embedded"):
            here.run("state", "export", "-o", "state.json")
            listed = here.run("state", "ls")
            told = here.run("--engine", engine, "state", "import", "state.json", "--yes")
            assert f"the engine {engine}" in told
            assert here.run("state", "ls") == listed
            here.run("preview", "task.yaml")
            assert here.run("preview", "task.yaml", "-o", "json").count('"urn"') == 0, "the stack would change"
            assert here.pids("server") == server
        refused = here.run("--engine", "pulumi", "preview", "task.yaml", expect=(4,))
        assert refused == ""
        assert len(list((here.state / "backups").glob("bots-state-*.json"))) == 2
        assert "[secret]" in here.run("state", "show", "bots-keys")
        here.run("destroy", "--yes", "--now")
        wait_until(lambda: not here.pids(), within_s=20, what="every process to end")
        here.run("--engine", "pulumi", "state", "import", "state.json", "--yes", expect=(10,))
    assert isinstance(here, Stage)
