"""F2 and F3: bombs fail fast, and a variable carries no secret and no structure into a spec."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from crowdstack.errors import SpecError
from crowdstack.spec.load import MAX_BYTES, Variables, load
from tests.spec.builders import problems, spec

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n"
    for n in range(1, 9)
)
BOMBS = {
    "laughs": LAUGHS,
    "deep flow": "a: " + "[" * 500_000,
    "deep mapping": "{a: " * 200_000,
    "deep block": "".join(" " * n + "a:\n" for n in range(1000)),
    "dashes": "- " * 400_000,
    "many values": "a: [" + "1," * 400_000 + "]",
    "many keys": "".join(f"k{n}: 1\n" for n in range(120_000))[: MAX_BYTES - 1],
    "large": "a: " + "x" * MAX_BYTES,
    "long number": "a: " + "9" * 900_000,
    "itself": "a: &a [*a]",
    "deep alias": "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60)),
    "anchors": "".join(f"- &a{n} x\n" for n in range(90_000))[: MAX_BYTES - 1] + "- [" + "*a1," * 20_000 + "]",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_fail_fast(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(BOMBS[bomb])

    def seconds() -> float:
        began = time.process_time()
        with pytest.raises(SpecError):
            load(path)
        return time.process_time() - began

    # Processor time: others work on this machine too. What it costs to walk an expanded bomb is minutes.
    assert any(seconds() < 2 for _ in range(3))


def test_a_bomb_costs_little_memory_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(LAUGHS)
    program = (
        "import resource, sys; from crowdstack.cli.main import run\n"
        "import crowdstack.spec; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "code = run(['validate', sys.argv[1]])\n"
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "task.yaml")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    code, grown_kib = done.stdout.split()
    assert code == "2"
    assert int(grown_kib) < 100 * 1024


NAMES = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "PROLIFIC_TOKEN",
    "GITHUB_TOKEN",
    "client_secret",
    "DB_PASSWORD",
    "API_KEY",
    "aws_profile",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_cannot_read_a_credential(name: str, tmp_path: Path) -> None:
    environ = {name: "CANARY", f"CROWDSTACK_VAR_{name}": "CANARY", "CROWDSTACK_ALLOW_VARS": f"{name}, HOME"}
    with pytest.raises(SpecError) as raised:
        spec(tmp_path, ("Which bird is it?", f"${{{name}}}"), environ=environ)
    assert "looks like a credential" in problems(raised)[0]
    assert "CANARY" not in str(raised.value)


def test_only_what_the_operator_allows_can_be_read(tmp_path: Path) -> None:
    title = ("Which bird is it?", "'${PLACE}'")
    assert spec(tmp_path, title, environ={"CROWDSTACK_VAR_PLACE": "Delft"}).task.title == "Delft"
    assert spec(tmp_path, title, environ={"PLACE": "Bonn", "CROWDSTACK_ALLOW_VARS": "X, PLACE"}).task.title == "Bonn"
    for environ in ({"PLACE": "Bonn"}, {"PLACE": "Bonn", "CROWDSTACK_ALLOW_VARS": "PLACES,PLAC"}, {}):
        with pytest.raises(SpecError, match="has no value"):
            spec(tmp_path, title, environ=environ)


@pytest.mark.parametrize(
    "value",
    ["a\nreward: 9.00 USD", "{x: 1}", "[1]", "*a", "!!python/name:os.system", "# no", "a: b", "'\"", "${PLACE}"],
)
def test_a_value_with_a_newline_stays_a_scalar(value: str, tmp_path: Path) -> None:
    for written in ("${PLACE}", "'${PLACE}'", '"${PLACE}"'):
        found = spec(tmp_path, ("Which bird is it?", written), environ={"CROWDSTACK_VAR_PLACE": value})
        assert found.task.title == value
        assert str(found.task.reward) == "0.00 USD"


def test_a_value_that_is_no_text_is_refused() -> None:
    assert Variables({"CROWDSTACK_VAR_X": "a"}).fill("${X}") == "a"
    from crowdstack.spec.load import parse

    with pytest.raises(SpecError, match="surrogate"):
        parse("a: ${X}", "f", variables=Variables({"CROWDSTACK_VAR_X": "\udcff"}))


def test_variables_never_print_the_environment() -> None:
    assert "CANARY" not in repr(Variables({"CROWDSTACK_VAR_X": "CANARY"}))
