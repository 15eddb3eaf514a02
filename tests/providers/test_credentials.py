"""Where tokens are kept, who may read them, and which one is taken."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import CredentialsMissing, LockHeld, Refused, UsageError
from crowdstack.providers.credentials import Credentials, Safe, of_operator, system_keyring
from crowdstack.tokens import Secret

TOKEN = "canary-Zx81-this-is-the-token"


class Ring:
    """A keyring that works, unless it is locked."""

    def __init__(self, *, locked: bool = False) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = locked

    def _open(self) -> None:
        if self.locked:
            raise RuntimeError(f"locked, says something that quotes {TOKEN}")

    def get_password(self, service: str, username: str) -> str | None:
        self._open()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._open()
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._open()
        del self.kept[service, username]


def a_safe(tmp_path: Path, ring: Ring | None = None, **environment: str) -> Safe:
    return Safe({"XDG_CONFIG_HOME": str(tmp_path), **environment}, keyring=lambda: ring)


def found(account: str = "default", token: str = TOKEN, **changes: Any) -> Credentials:
    given: dict[str, Any] = {
        "provider": "prolific",
        "account": account,
        "origin": "https://api.prolific.com",
        "kept": "file",
        "who": "ann@example.org",
        "workspace": "60a1",
        "workspace_name": "Lab",
        "checked_at": "2026-11-02T09:00:00Z",
    }
    return Credentials(**{**given, **changes}, token=Secret(token.encode()))


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    safe = a_safe(tmp_path)
    told = safe.register(found())
    back = a_safe(tmp_path).find("prolific")
    assert back == found()
    assert back.token.decode() == TOKEN
    assert (told.kept, told.workspace_name) == ("file", "Lab")
    assert stat.S_IMODE(safe.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(safe.path.parent.stat().st_mode) == 0o700


def test_without_xdg_it_is_in_the_home_folder(tmp_path: Path) -> None:
    assert Safe({"HOME": str(tmp_path)}).path == tmp_path / ".config" / "crowdstack" / "credentials.json"


def test_several_accounts_and_the_default_one(tmp_path: Path) -> None:
    safe = a_safe(tmp_path)
    safe.register(found("lab", "token-of-the-lab"))
    assert safe.find("prolific").account == "lab"  # the only one there is
    safe.register(found(token="token-by-default"))
    assert safe.find("prolific").token.decode() == "token-by-default"
    assert safe.find("prolific", "lab").token.decode() == "token-of-the-lab"
    safe.register(found("lab", "another-token"))
    assert safe.find("prolific", "lab").token.decode() == "another-token"
    assert [one.account for one in safe.accounts()] == ["default", "lab"]


def test_who_is_not_there_is_told_with_how_to_register(tmp_path: Path) -> None:
    safe = a_safe(tmp_path)
    with pytest.raises(CredentialsMissing, match="crowdstack register prolific"):
        safe.find("prolific")
    safe.register(found("a"))
    safe.register(found("b"))
    with pytest.raises(CredentialsMissing, match="registered: a, b"):
        safe.find("prolific")  # which of them?
    with pytest.raises(CredentialsMissing, match="--account c"):
        safe.find("prolific", "c")


def test_the_environment_goes_first_unless_an_account_is_named(tmp_path: Path) -> None:
    safe = a_safe(tmp_path, CROWDSTACK_PROLIFIC_TOKEN=" token-of-the-environment\n")
    safe.register(found())
    taken = safe.find("prolific")
    assert (taken.token.decode(), taken.kept) == ("token-of-the-environment", "environment")
    assert taken.origin == "https://api.prolific.com"
    assert safe.find("prolific", "default").token.decode() == TOKEN
    assert [one.kept for one in safe.accounts()] == ["environment", "file"]


def test_a_token_stays_with_the_origin_it_was_registered_for(tmp_path: Path) -> None:
    a_safe(tmp_path).register(found())
    moved = a_safe(tmp_path, CROWDSTACK_PROLIFIC_URL="http://127.0.0.1:9")
    assert moved.find("prolific").origin == "https://api.prolific.com"
    assert moved.origin("prolific") == "http://127.0.0.1:9"
    with pytest.raises(UsageError, match="https only"):
        a_safe(tmp_path, CROWDSTACK_PROLIFIC_URL="http://10.0.0.1").origin("prolific")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    safe = a_safe(tmp_path)
    safe.register(found())
    safe.path.chmod(mode)
    for act in (lambda: safe.find("prolific"), safe.accounts, lambda: safe.register(found("b"))):
        with pytest.raises(Refused, match=f"chmod 600 {safe.path}"):
            act()
    assert stat.S_IMODE(safe.path.stat().st_mode) == mode


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    safe = a_safe(tmp_path)
    safe.register(found())
    elsewhere = safe.path.rename(tmp_path / "elsewhere")
    safe.path.symlink_to(elsewhere)
    with pytest.raises(Refused, match="is a link"):
        safe.find("prolific")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"accounts": 3}', '{"accounts": [{}]}', '{"accounts": [{"token": "canary"}]}', "\xff"]
)
def test_a_file_that_cannot_be_read_is_not_quoted(tmp_path: Path, text: str) -> None:
    safe = a_safe(tmp_path)
    safe.register(found())
    safe.path.write_text(text)
    with pytest.raises(Refused, match="cannot be read") as told:
        safe.find("prolific")
    assert "canary" not in str(told.value)


def test_forgetting(tmp_path: Path) -> None:
    safe = a_safe(tmp_path)
    with pytest.raises(CredentialsMissing):
        safe.forget("prolific")
    safe.register(found())
    safe.register(found("lab"))
    safe.forget("prolific", "lab")
    assert [one.account for one in safe.accounts()] == ["default"]
    with pytest.raises(CredentialsMissing):
        safe.forget("prolific", "lab")
    safe.forget("prolific")
    assert TOKEN not in safe.path.read_text()


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a b", "-a", "x" * 64, "a\n", "ä"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name of an account"):
        a_safe(tmp_path).register(found(name))


def test_two_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def register(number: int) -> None:
        while True:
            try:
                a_safe(tmp_path).register(found(f"a{number}"))
                return
            except LockHeld:
                continue

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(a_safe(tmp_path).accounts()) == 8


# ---------------------------------------------------------------------------------------------------- keyring


def test_a_keyring_has_the_token_and_the_file_has_not(tmp_path: Path) -> None:
    ring = Ring()
    safe = a_safe(tmp_path, ring)
    assert safe.register(found()).kept == "keyring"
    assert TOKEN not in safe.path.read_text()
    assert safe.find("prolific").token.decode() == TOKEN
    safe.forget("prolific")
    assert ring.kept == {}


def test_a_keyring_that_is_locked_gives_way_to_the_file(tmp_path: Path) -> None:
    assert a_safe(tmp_path, Ring(locked=True)).register(found()).kept == "file"
    assert a_safe(tmp_path).find("prolific").token.decode() == TOKEN


@pytest.mark.parametrize("later", [None, Ring(), Ring(locked=True)], ids=["gone", "empty", "locked"])
def test_a_keyring_that_does_not_give_it_back_is_told(tmp_path: Path, later: Ring | None) -> None:
    a_safe(tmp_path, Ring()).register(found())
    with pytest.raises(CredentialsMissing, match="keyring") as told:
        a_safe(tmp_path, later).find("prolific")
    assert TOKEN not in str(told.value)
    assert "crowdstack register prolific --account default" in str(told.value)


def test_editing_the_index_does_not_move_a_token_out_of_the_keyring(tmp_path: Path) -> None:
    safe = a_safe(tmp_path, Ring())
    safe.register(found())
    index = json.loads(safe.path.read_text())
    index["accounts"][0]["origin"] = "https://evil.example"
    safe.path.write_text(json.dumps(index))
    with pytest.raises(CredentialsMissing, match="no token for this account"):
        safe.find("prolific")


def test_a_token_that_the_keyring_does_not_let_go_is_still_listed(tmp_path: Path) -> None:
    ring = Ring()
    safe = a_safe(tmp_path, ring)
    safe.register(found())
    ring.locked = True
    with pytest.raises(Refused, match="delete the entry crowdstack, prolific/default"):
        safe.forget("prolific")
    assert len(safe.accounts()) == 1


def test_a_keyring_that_is_no_safe_place_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package answers with a backend of priority 0 where nothing safe is there."""
    for priority, used in ((0, False), (0.5, False), (1, True), (5, True)):
        module = tmp_path / "keyring.py"
        module.write_text(f"class _Backend:\n    priority = {priority}\ndef get_keyring():\n    return _Backend\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(__import__("sys").modules, "keyring", raising=False)
        assert (system_keyring() is not None) is used
        os.unlink(module)
        for cached in tmp_path.glob("__pycache__/keyring*"):
            cached.unlink()
    monkeypatch.delitem(__import__("sys").modules, "keyring", raising=False)


def test_a_reconciler_is_given_what_finds_the_same_account_and_nothing_else() -> None:
    ours = {
        "CROWDSTACK_PROLIFIC_TOKEN": TOKEN,
        "CROWDSTACK_PROLIFIC_URL": "http://127.0.0.1:1",
        "XDG_CONFIG_HOME": "/x",
    }
    assert of_operator({**ours, "AWS_SECRET_ACCESS_KEY": "s3cret", "HOME": "/h"}) == ours
