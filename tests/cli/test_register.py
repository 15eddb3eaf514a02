"""`crowdstack register`: the token comes by prompt or stdin, is checked, is kept, and is shown nowhere."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crowdstack.cli.main import run
from tests.cli.conftest import Call, Said
from tests.cli.terminal import Terminal
from tests.providers.prolific import service as s
from tests.providers.prolific.service import Service, a_service, an_error

Register = Callable[..., Said]


@pytest.fixture(autouse=True)
def own_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No account, keyring or file of whoever runs the tests is touched."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("CROWDSTACK_PROLIFIC_TOKEN", raising=False)
    monkeypatch.delenv("CROWDSTACK_PROLIFIC_URL", raising=False)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with a_service() as it:
        monkeypatch.setenv("CROWDSTACK_PROLIFIC_URL", it.origin)
        yield it


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Register:
    """`crowdstack register prolific <arguments> < token`."""

    def registered(*arguments: str, token: str = f"{s.TOKEN}\n") -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(token))
        code = run(("register", "prolific", *arguments))
        said = capsys.readouterr()
        assert s.TOKEN not in said.out + said.err
        return Said(code, said.out, said.err)

    return registered


def an_account(service: Service, *titles: str, available: int = 1250) -> None:
    service.says("GET /users/me/", {"id": "1", "email": "ann@example.org", "currency_code": "GBP"})
    rows = [{"id": f"60a1{number}", "title": title} for number, title in enumerate(titles)]
    service.says("GET /workspaces/", {"results": rows})
    for row in rows:
        balance = {"currency_code": "GBP", "total_balance": 5000, "available_balance": available}
        service.says(f"GET /workspaces/{row['id']}/balance/", balance)


def kept(tmp_path: Path) -> list[dict[str, str]]:
    path = tmp_path / "crowdstack" / "credentials.json"
    return list(json.loads(path.read_text())["accounts"]) if path.exists() else []


def test_a_token_is_checked_and_kept_with_its_origin_and_workspace(
    service: Service, register: Register, tmp_path: Path
) -> None:
    an_account(service, "Lab")
    said = register()
    assert said.code == 0, said.err
    assert "registered ann@example.org at prolific as account default" in said.out
    assert "workspace Lab: 12.50 GBP of 50.00 GBP available" in said.out
    (row,) = kept(tmp_path)
    assert (row["token"], row["origin"], row["workspace"], row["who"]) == (
        s.TOKEN, service.origin, "60a10", "ann@example.org",
    )  # fmt: skip


def test_of_several_workspaces_none_is_chosen_until_one_is_named(
    service: Service, register: Register, tmp_path: Path
) -> None:
    an_account(service, "Lab", "Birds")
    assert "workspaces: Lab, Birds" in register().out
    assert kept(tmp_path)[0]["workspace"] is None
    assert "workspace Birds:" in register("--workspace", "Birds").out
    assert "workspace Lab:" in register("--workspace", "60a10").out
    assert [row["workspace"] for row in kept(tmp_path)] == ["60a10"]


def test_a_workspace_that_is_not_there_is_made_only_when_asked(
    service: Service, register: Register, tmp_path: Path
) -> None:
    an_account(service, "Lab")
    said = register("--workspace", "New")
    assert (said.code, kept(tmp_path)) == (6, [])
    assert "the account has no workspace New" in said.err
    service.says("POST /workspaces/", {"id": "60a19", "title": "New"}, status=201)
    balance = {"currency_code": "GBP", "total_balance": 0, "available_balance": 0}
    service.says("GET /workspaces/60a19/balance/", balance)
    said = register("--workspace", "New", "--create")
    assert "made workspace New: 0.00 GBP of 0.00 GBP available" in said.out
    assert "put money into the workspace" in said.out
    assert service.heard[-2].body == {"title": "New", "currency_code": "GBP"}
    service.heard.clear()
    assert "workspace Lab" in register("--workspace", "Lab", "--create").out
    assert "POST /workspaces/" not in service.lines()


@pytest.mark.parametrize(("status", "code"), [(401, 3), (403, 3), (500, 4), (400, 4)])
def test_a_token_that_is_not_accepted_is_not_kept(
    service: Service, register: Register, tmp_path: Path, status: int, code: int
) -> None:
    for _ in range(3):
        service.says("GET /users/me/", an_error("Invalid token.", status=status), status=status)
    said = register()
    assert (said.code, kept(tmp_path), said.out) == (code, [], "")
    assert "Invalid token." in said.err


@pytest.mark.parametrize("token", ["", "\n", "short\n", "two words in it\n"])
def test_what_is_no_token_is_not_sent(service: Service, register: Register, tmp_path: Path, token: str) -> None:
    said = register(token=token)
    assert said.code in (2, 3)
    assert (service.heard, kept(tmp_path)) == ([], [])


def test_a_name_that_is_none_is_told_before_anything_is_asked(service: Service, register: Register) -> None:
    assert register("--account", "a/b").code == 2
    assert register("--create").code == 2
    assert service.heard == []


@pytest.mark.parametrize("url", ["http://10.0.0.1", "ftp://x", "https://x.example/path"])
def test_a_token_goes_to_https_or_to_this_machine(
    register: Register, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    monkeypatch.setenv("CROWDSTACK_PROLIFIC_URL", url)
    assert register().code == 2
    assert kept(tmp_path) == []


def test_accounts_are_listed_and_forgotten(service: Service, register: Register, call: Call, tmp_path: Path) -> None:
    assert call("register", "--list").out == "nothing is registered\n"
    assert call("register", "--list", "-o", "json").out.strip() == "[]"
    an_account(service, "Lab")
    register()
    register("--account", "lab")
    rows = json.loads(call("register", "--list", "-o", "json").out)
    assert [(row["account"], row["who"], row["kept"]) for row in rows] == [
        ("default", "ann@example.org", "file"),
        ("lab", "ann@example.org", "file"),
    ]
    assert s.TOKEN not in call("register", "--list").out
    assert call("register", "prolific", "--account", "lab", "--forget").code == 0
    assert [row["account"] for row in kept(tmp_path)] == ["default"]
    assert call("register", "prolific", "--account", "lab", "--forget").code == 3


@pytest.mark.parametrize(
    "arguments", [(), ("--forget",), ("mturkish",), ("--list", "--forget"), ("--list", "--account", "a")]
)
def test_what_is_not_meant_is_a_usage_error(call: Call, arguments: tuple[str, ...]) -> None:
    assert call("register", *arguments).code == 2


def test_as_json(service: Service, register: Register) -> None:
    an_account(service, "Lab")
    told = json.loads(register("-o", "json").out)
    assert (told["workspace"], told["available"], told["workspaces"]) == ("Lab", "12.50 GBP", ["Lab"])


def test_text_of_the_provider_does_not_act_on_the_terminal(service: Service, register: Register) -> None:
    an_account(service, "Lab\x1b[2J\nerror: x")
    said = register()
    assert "\x1b" not in said.out
    assert "workspace Lab[2J error: x:" in said.out


def test_at_a_terminal_the_token_is_not_echoed(service: Service, tmp_path: Path) -> None:
    an_account(service, "Lab")
    terminal = Terminal("-m", "crowdstack", "register", "prolific")
    try:
        terminal.until("API token")
        terminal.type(s.TOKEN.encode() + b"\n")
        terminal.until("registered ann@example.org")
        assert terminal.ended() == 0
        assert s.TOKEN not in terminal.seen
    finally:
        terminal.close()
    assert kept(tmp_path)[0]["token"] == s.TOKEN


def test_no_argument_takes_a_token(call: Call) -> None:
    said = call("register", "prolific", "--token", s.TOKEN)
    assert said.code == 2
    assert "API token" in call("register", "--help").out
    assert os.environ.get("CROWDSTACK_PROLIFIC_TOKEN") is None
