"""Where a provider's token is kept: the environment, else the system's keyring, else a 0600 file. Called by `wiring`.

The index (`credentials.json` in the operator's configuration folder) says which accounts there are and where each token
is; a token stands in it only where there is no keyring. With a token goes the origin that it may be sent to (threats H3).
"""

from __future__ import annotations

import importlib
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from crowdstack.errors import CredentialsMissing, Refused, UsageError
from crowdstack.folder import open_private, private_folder, write_private
from crowdstack.lock import held
from crowdstack.providers.origins import PROLIFIC, checked_origin
from crowdstack.tokens import Secret

ORIGINS = {"prolific": PROLIFIC}
DEFAULT = "default"
ENVIRONMENT, KEYRING, FILE = "environment", "keyring", "file"
_SERVICE = "crowdstack"
_PLACES = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # index and keyring
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def of_operator(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a process of ours needs of the environment to find the same credentials: for the reconciler, and for no other."""
    named = [f"CROWDSTACK_{provider.upper()}_{part}" for provider in ORIGINS for part in ("TOKEN", "URL")]
    return {name: environment[name] for name in (*named, *_PLACES) if name in environment}


class Keyring(Protocol):
    """What the package `keyring` does for us."""

    def get_password(self, service: str, username: str) -> str | None: ...

    def set_password(self, service: str, username: str, password: str) -> None: ...

    def delete_password(self, service: str, username: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An account at a provider, without its token."""

    provider: str
    account: str
    origin: str  # the only place the token goes to
    kept: str  # environment | keyring | file
    who: str | None = None  # as the provider calls the operator
    workspace: str | None = None  # id of the one that was chosen
    workspace_name: str | None = None
    checked_at: str | None = None  # ISO 8601, UTC: when the provider last accepted the token


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials(Registered):
    token: Secret = field(repr=False)


def system_keyring() -> Keyring | None:
    """The system's keyring; None where the package is not installed (extra `keyring`) or has no safe place to use."""
    try:
        keyring: Any = importlib.import_module("keyring")
        return keyring if keyring.get_keyring().priority >= 1 else None
    except Exception:  # it asks D-Bus, the desktop and plugins of others: whatever ails them, the file does it too
        return None


class Safe:
    """The operator's credentials for all providers."""

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        keyring: Callable[[], Keyring | None] = system_keyring,
    ) -> None:
        self._environment = environment
        self._keyring = keyring
        base = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or Path.home()) / ".config")
        self.path = Path(base) / "crowdstack" / "credentials.json"

    def register(self, found: Credentials) -> Registered:
        """Keep it in the place of what was kept under this name; where it is kept now. On disk when this returns."""
        checked_name(found.account)
        private_folder(self.path.parent)
        with held(self.path.with_suffix(".lock")):
            others = [row for row in self._rows() if _key(row) != (found.provider, found.account)]
            ring = self._keyring()
            kept = KEYRING if ring is not None and self._told(ring, found) else FILE
            row = _row(replace(found, kept=kept))
            if kept == FILE:
                row["token"] = found.token.decode()
            self._write([*others, row])
        return _registered(row)

    def find(self, provider: str, account: str | None = None) -> Credentials:
        """Those of `account`; without a name the environment's, else the default account's, else the only one there is.
        CredentialsMissing says how to register."""
        if account is None and (said := self.in_environment(provider)) is not None:
            return said
        rows = [row for row in self._rows() if row["provider"] == provider]
        named = [row for row in rows if row["account"] == (account or DEFAULT)]
        if not named and account is None and len(rows) == 1:
            named = rows
        if not named:
            known = ", ".join(sorted(row["account"] for row in rows))
            raise CredentialsMissing(
                f"no account {account} at {provider}" if account else f"no account at {provider} was registered",
                why=f"registered: {known}" if known else None,
                hint=f"crowdstack register {provider}" + (f" --account {account}" if account else ""),
            )
        row = named[0]
        token = row.get("token") if row["kept"] == FILE else self._from_keyring(row)
        return Credentials(**asdict(_registered(row)), token=Secret(str(token).encode()))

    def in_environment(self, provider: str) -> Credentials | None:
        """Those that the environment names: CROWDSTACK_<PROVIDER>_TOKEN, and CROWDSTACK_<PROVIDER>_URL for its origin."""
        token = self._environment.get(f"CROWDSTACK_{provider.upper()}_TOKEN", "").strip()
        if not token:
            return None
        return Credentials(
            provider=provider,
            account=DEFAULT,
            origin=self.origin(provider),
            kept=ENVIRONMENT,
            token=Secret(token.encode()),
        )

    def origin(self, provider: str) -> str:
        """Where a token that is registered now belongs to: the provider's own, unless the environment names another."""
        return checked_origin(self._environment.get(f"CROWDSTACK_{provider.upper()}_URL") or ORIGINS[provider])

    def accounts(self) -> list[Registered]:
        """All of them, those of the environment first."""
        told = [found for provider in ORIGINS if (found := self.in_environment(provider)) is not None]
        return [
            *(_registered(asdict(found)) for found in told),
            *map(_registered, sorted(self._rows(), key=_key)),
        ]

    def forget(self, provider: str, account: str | None = None) -> Registered:
        """Take it away from wherever it is kept. CredentialsMissing when it is not there."""
        account = account or DEFAULT
        if self.path.exists():
            with held(self.path.with_suffix(".lock")):
                rows = self._rows()
                gone = [row for row in rows if _key(row) == (provider, account)]
                if gone:
                    self._drop(gone[0])
                    self._write([row for row in rows if row not in gone])
                    return _registered(gone[0])
        raise CredentialsMissing(f"no account {account} at {provider} is kept here", hint="crowdstack register --list")

    # -------------------------------------------------------------------------------------------- inside

    def _told(self, ring: Keyring, found: Credentials) -> bool:
        """Whether the keyring has it now, and gives it back."""
        secret = json.dumps({"origin": found.origin, "token": found.token.decode()})
        try:
            ring.set_password(_SERVICE, _username(asdict(found)), secret)
            return ring.get_password(_SERVICE, _username(asdict(found))) == secret
        except Exception:  # locked, no desktop, a plugin's own fault: the file does it too
            return False

    def _from_keyring(self, row: Mapping[str, Any]) -> str:
        """Its token. The keyring repeats the origin, so that nobody moves the token by editing the index."""
        where = f"{row['provider']} account {row['account']}"
        hint = f"unlock the keyring, or: crowdstack register {row['provider']} --account {row['account']}"
        ring = self._keyring()
        if ring is None:
            raise CredentialsMissing("there is no keyring here that could be read", where=where, hint=hint)
        try:
            kept = json.loads(ring.get_password(_SERVICE, _username(row)) or "null")
        except Exception as fault:  # as in _told
            raise CredentialsMissing(
                "the keyring gives nothing", where=where, why=type(fault).__name__, hint=hint
            ) from None
        if not isinstance(kept, dict) or kept.get("origin") != row["origin"] or not kept.get("token"):
            raise CredentialsMissing("the keyring has no token for this account", where=where, hint=hint)
        return str(kept["token"])

    def _drop(self, row: Mapping[str, Any]) -> None:
        ring = self._keyring() if row["kept"] == KEYRING else None
        try:
            if ring is not None and ring.get_password(_SERVICE, _username(row)) is not None:
                ring.delete_password(_SERVICE, _username(row))
        except Exception as fault:  # as in _told
            raise Refused(
                "the keyring does not let the token go",
                why=type(fault).__name__,
                hint=f"delete the entry {_SERVICE}, {_username(row)} in it, then the same command again",
            ) from None

    def _rows(self) -> list[dict[str, Any]]:
        try:
            fd = open_private(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return []
        with os.fdopen(fd, "rb") as file:
            there = os.fstat(fd)
            if there.st_mode & 0o077 or not stat.S_ISREG(there.st_mode):
                raise Refused("others may read the credentials", where=str(self.path), hint=f"chmod 600 {self.path}")
            if there.st_uid != os.getuid():
                raise Refused("the credentials belong to another user", where=str(self.path), hint="move the file away")
            raw = file.read()
        try:
            rows = json.loads(raw)["accounts"]
            for row in rows:
                _registered(row)
        except (ValueError, KeyError, TypeError):  # never with what is in it
            hint = "move it away and register again"
            raise Refused("the credentials cannot be read", where=str(self.path), hint=hint) from None
        return list(rows)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        write_private(self.path, json.dumps({"version": 1, "accounts": rows}, indent=1).encode() + b"\n")


def checked_name(account: str) -> str:
    """A name that an account may have."""
    if not _NAME.fullmatch(account):
        hint = "letters, digits, dots and hyphens, at most 63"
        raise UsageError(f"{account[:80]!r} is no name of an account", hint=hint)
    return account


def _registered(row: Mapping[str, Any]) -> Registered:
    return Registered(**{name: value for name, value in row.items() if name != "token"})


def _row(found: Credentials) -> dict[str, Any]:
    return {name: value for name, value in asdict(found).items() if name != "token"}


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row["provider"]), str(row["account"])


def _username(row: Mapping[str, Any]) -> str:
    return f"{row['provider']}/{row['account']}"
