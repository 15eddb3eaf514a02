"""What the CLI complains of -> one clear error. Text in, error out; its exit code is never looked at.

The words are those of the CLI's releases since MINIMUM; what is not known here is told as it was said.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from datetime import datetime, timezone

from crowdstack import process
from crowdstack.engine import targets
from crowdstack.errors import Busy, CredentialsMissing, CrowdstackError, LockHeld, Refused, StateMismatch, StepFailed

_LOCKED = re.compile(r"created by (?P<user>\S+)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<at>\S+)")
_SLACK_S = 1.0  # the time is told in whole seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds a stack's lock, as the lock itself says."""

    user: str
    host: str
    pid: int
    at: datetime

    def __str__(self) -> str:
        return f"{self.user} on {self.host}, process {self.pid}, since {self.at:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def dead(self) -> bool:
        """Whether it is certain that the owner has ended: it was of this machine, and its pid is free or somebody else's."""
        if self.host != socket.gethostname():
            return False
        if process.identify(self.pid) is None:
            return True
        started = process.started_at(self.pid)
        return process.name(self.pid) != "pulumi" and started is not None and started > self.at.timestamp() + _SLACK_S


def owners(told: str) -> list[Owner]:
    """Who holds the stack's locks, when that is what the CLI complains of."""
    return [
        Owner(
            user=found["user"],
            host=found["host"],
            pid=int(found["pid"]),
            at=datetime.fromisoformat(found["at"].replace("Z", "+00:00")).astimezone(timezone.utc),
        )
        for found in _LOCKED.finditer(told)
    ]


def about_targets(urn: str, told: str) -> StepFailed | None:
    """What it complains of a target, in the words of both engines; None when it is something else."""
    if found := re.search(r"Target '(urn:.+?)' could not be found", told):
        return targets.unknown(found[1])
    if found := re.search(r"depends on '(urn:.+?)' which (?:was )+not specified in --target", told):
        return targets.missing(urn, [found[1]])
    if "will be destroyed but was not specified in --target" in told:
        return targets.left_behind(urn)
    return None


def error_of(told: str, *, backend: str, passphrase: str) -> CrowdstackError:
    """The error that a person should read. `backend`: its URL; `passphrase`: the file that holds it."""
    why = _first_line(told)
    if held := owners(told):
        return LockHeld(
            "another command is changing this stack",
            where=backend,
            why=f"held by {held[0]}",
            hint="wait until it has ended, or end it; if it is gone for good: `pulumi cancel`",
        )
    if "Another update is currently in progress" in told:
        return LockHeld(
            "another command is changing this stack", where=backend, why=why, hint="wait until it has ended"
        )
    if "incorrect passphrase" in told:
        return StateMismatch(
            "the passphrase does not open the secrets of this stack",
            where=passphrase,
            hint="put back the file that belongs to this state",
        )
    if re.search("passphrase must be set|unable to read PULUMI_CONFIG_PASSPHRASE_FILE", told):
        return StateMismatch(
            "the passphrase of this stack is gone, its secrets cannot be read",
            where=passphrase,
            hint="put the file back from a backup",
        )
    if re.search(
        "ACCESS_TOKEN must be set|NoCredentialProviders|AccessDenied|InvalidAccessKeyId|Unauthorized|Forbidden", told
    ):
        return CredentialsMissing("the backend of this stack wants credentials", where=backend, why=why)
    if re.search("unable to open bucket|RequestError|dial tcp|no such host|connection refused|i/o timeout", told):
        return Busy(
            "the backend of this stack cannot be reached",
            where=backend,
            why=why,
            hint="look at its address (--state URL) and at the network; nothing was changed",
        )
    if re.search("failed to load checkpoint|could not deserialize|unsupported checkpoint|unmarshal", told):
        return StateMismatch(
            "the state of this stack cannot be read",
            where=backend,
            why=why,
            hint="put back the copy beside it (.bak), or one of `crowdstack state export`",
        )
    if "no resource plugin" in told:
        return Refused(
            "a plugin is missing",
            where=backend,
            why=why,
            hint="install crowdstack again with pip, or the plugin it names",
        )
    return StepFailed("the Pulumi CLI failed", where=backend, why=why)


def _first_line(told: str) -> str:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return lines[0].removeprefix("error: ") if lines else "it said nothing"
