"""The edge of the program: finding commands, exit codes, what an error looks like, what is imported."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crowdstack import errors
from crowdstack.cli.main import ALIASES, EXIT_CODES, HOMES, cli
from tests.cli.conftest import Call
from tests.cli.world import World

HEAVY = ("pydantic", "pulumi", "rich", "tornado", "peewee", "yaml", "requests", "jsonschema", "cryptography")


class Broken(World):
    def __init__(self, fault: BaseException) -> None:
        super().__init__()
        self._fault = fault

    def open(self, **given: Any) -> Any:
        raise self._fault


def every_error() -> list[type[errors.CrowdstackError]]:
    found, left = [], [errors.CrowdstackError]
    while left:
        kind = left.pop()
        found.append(kind)
        left += kind.__subclasses__()
    return found


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys; from crowdstack.cli.main import run; assert run(['--help']) == 0; "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("name", [name for name in HOMES if name != "reconcile"])
def test_every_command_shows_an_example(call: Call, name: str) -> None:
    said = call(name, "--help")
    assert said.code == 0
    assert f"  crowdstack {name}" in said.out.partition("Example:")[2]


def test_help_lists_every_command_but_the_hidden_one(call: Call) -> None:
    listed = [line.split()[0] for line in call("--help").out.partition("Commands:")[2].splitlines() if line.strip()]
    assert sorted(listed) == sorted(set(HOMES) - {"reconcile"})


def test_aliases_name_commands() -> None:
    assert set(ALIASES.values()) <= set(HOMES)
    assert not set(ALIASES) & set(HOMES)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_an_error_of_ours_ends_with_its_documented_exit_code_and_no_traceback(
    call: Call, kind: type[errors.CrowdstackError]
) -> None:
    fault: errors.CrowdstackError
    if kind is errors.SpecError:
        fault = errors.SpecError([errors.Problem(where="a.yaml:1:1", path="x", message="it is wrong")])
    elif kind is errors.InboxRegressed:
        fault = errors.InboxRegressed("it is wrong", have=3)
    else:
        fault = kind("it is wrong", why="because", hint="do this")
    said = call("status", world=Broken(fault))
    assert said.code == kind.exit_code
    assert said.code in EXIT_CODES
    assert "it is wrong" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_bug_ends_with_255_and_says_how_to_see_more(call: Call) -> None:
    said = call("status", world=Broken(ZeroDivisionError("division by zero")))
    assert said.code == 255
    assert "ZeroDivisionError: division by zero" in said.err
    assert "--debug" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/root/birds"), "Permission denied"),
        (OSError(errno.EXDEV, "Invalid cross-device link", "/tmp/.birds.1", None, "/root/birds"), "cross-device"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EMFILE, "Too many open files", b"/root/birds"), "Too many open files"),
    ],
)
def test_what_the_operating_system_refuses_is_no_bug(call: Call, fault: OSError, reason: str) -> None:
    said = call("status", world=Broken(fault))
    assert said.code == 4
    assert reason in said.err
    assert "bug" not in said.err
    assert "  try: " in said.err
    assert ("/root/birds" in said.err) is (fault.filename is not None)


@pytest.mark.parametrize("fault", [OSError(errno.EBADF, "Bad file descriptor"), TimeoutError(), OSError("no errno")])
def test_a_fault_of_the_system_that_only_we_can_cause_stays_a_bug(call: Call, fault: OSError) -> None:
    assert call("status", world=Broken(fault)).code == 255


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that takes nothing from anybody")
@pytest.mark.parametrize("arguments", [["--state", "/proc/x", "up", "birds/task.yaml", "--yes"], ["new", "/proc/zz"]])
def test_a_folder_that_takes_nothing_is_named(
    call: Call, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("new", "birds").code == 0
    said = call(*arguments)
    assert said.code == 4
    assert "error: /proc/" in said.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full_is_no_bug() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "crowdstack", "explain"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback_without_values_of_variables(call: Call) -> None:
    canary = "canary-of-a-secret"

    class Leaky(World):
        def open(self, **given: Any) -> Any:
            secret = canary[::-1]
            raise ZeroDivisionError(len(secret))

    said = call("--debug", "status", world=Leaky())
    assert said.code == 255
    assert "Traceback" in said.err
    assert canary[::-1] not in said.err


def test_ctrl_c_before_anything_was_done_is_8(call: Call) -> None:
    assert call("status", world=Broken(KeyboardInterrupt())).code == 8


@pytest.mark.parametrize(
    "arguments", [["status", "--nope"], ["up", "--max-cost", "much"], ["up", "--timeout", "soon"], ["-C"]]
)
def test_what_click_refuses_is_a_usage_error_with_a_hint(call: Call, arguments: list[str]) -> None:
    said = call(*arguments, world=World())
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert "--help" in said.err


@pytest.mark.parametrize("arguments", [[], ["units"]])
def test_no_command_shows_the_help_as_it_is(call: Call, arguments: list[str]) -> None:
    said = call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Usage: crowdstack")
    assert "error:" not in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["status"], 6, "crowdstack up"),
        (["-s", "birds", "status"], 6, "crowdstack up"),
        (["export", "task.yaml"], 6, "crowdstack up SPEC"),
        (["units", "ls", "--spec", "task.yaml"], 6, "crowdstack up SPEC"),
        (["preview", "tsk.yaml"], 6, 'did you mean "task.yaml"?'),
        (["status", "tsk.yaml"], 6, 'did you mean "task.yaml"?'),
        (["doctor", "tsk.yaml"], 6, "there is no spec tsk.yaml"),
        (["logs", "serv"], 2, "crowdstack logs server"),
        (["logs", "task.yaml", "servr"], 2, "crowdstack logs task.yaml server"),
        (["restore", "--yes"], 6, "name the spec, or its folder with -C"),
        (["status", "task.yaml"], 0, "`crowdstack up` begins one"),
        (["destroy"], 6, "crowdstack up"),
        (["destroy", "task.yaml"], 0, "nothing is up"),
    ],
)
def test_a_newcomer_is_told_what_now(
    call: Call, arguments: list[str], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that `new` wrote and where nothing was ever up."""
    monkeypatch.chdir(tmp_path)
    assert call("new", "birds").code == 0
    monkeypatch.chdir("birds")
    said = call(*arguments)
    assert said.code == code
    assert told in said.err + said.out
    assert not Path(".crowdstack").exists(), "looking made something"


def test_an_unknown_command_names_the_nearest(call: Call) -> None:
    said = call("previw")
    assert said.code == 2
    assert "crowdstack preview" in said.err


def test_a_reader_that_goes_away_is_no_noise(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "crowdstack", "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("off", [["--no-color"], []])
def test_colour_only_on_a_terminal(call: Call, off: list[str]) -> None:
    assert "\x1b" not in call(*off, "preview", world=World()).out


def test_minus_C_works_in_that_folder(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())  # put back afterwards
    assert call("-C", str(tmp_path), "status", world=World(state="paused")).code == 0
    assert Path.cwd() == tmp_path


def test_the_command_tree_is_one_group() -> None:
    assert {name: cli.get_command(cli.make_context("crowdstack", ["status"]), name).name for name in ALIASES} == ALIASES  # type: ignore[union-attr]


def test_what_a_command_writes_is_private_whatever_the_umask(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crowdstack", "-C", str(tmp_path), "new", "birds"]
    subprocess.run(command, umask=0, capture_output=True, check=True)
    assert (tmp_path / "birds" / "task.yaml").exists()
    assert [path for path in tmp_path.rglob("*") if path.stat().st_mode & 0o077] == []


def test_a_terminal_without_utf_8_gets_escapes_and_no_crash(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crowdstack", "status", "\u4e2d.yaml"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"}, cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 6
    assert b"\\u4e2d.yaml" in done.stderr
