"""One tree of errors. Every message answers three questions: what, where, what now.

Raised everywhere; turned into text and an exit code by `cli` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class CrowdstackError(Exception):
    """What went wrong, where, why and what to do now. `exit_code` is a stable contract (docs/cli.md)."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.hint:
            lines.append(f"  try: {self.hint}")
        return "\n".join(lines)


class UsageError(CrowdstackError):
    """The command cannot be understood as it was given."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault of a spec or its data: place, path inside the document, what is wrong, what would be right."""

    where: str  # "birds.yaml:14:12"
    path: str  # "target.repeats"; "" for the whole document
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        line = ": ".join(part for part in (self.where, self.path, self.message) if part)
        return f"{line}\n  try: {self.hint}" if self.hint else line


class SpecError(CrowdstackError):
    """A spec (or a file it names) is not valid; all faults found are in `problems`, in document order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems
        first = problems[0]
        super().__init__(first.message, where=first.where, hint=first.hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class CredentialsMissing(CrowdstackError):
    """Nobody told who the operator is at a provider or a cloud."""

    exit_code = 3


class CredentialsRefused(CredentialsMissing):
    """The outside world does not take the credentials, or they give no right to this; nothing was done."""


class Refused(CrowdstackError):
    """The outside world (provider, engine, operating system) says no for good: a person must act."""

    exit_code = 4


class Busy(CrowdstackError):
    """The outside world cannot answer now: try again at the next tick, or after `retry_s` where it said so."""

    exit_code = 4

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
        retry_s: float | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.retry_s = retry_s


class Unclear(Busy):
    """It is not known whether a request had its effect: look before it is sent again."""


class NotYet(Busy):
    """This one thing cannot be done yet, for a reason of its own; everything else can."""


class StepFailed(CrowdstackError):
    """A step of the engine failed; the state holds everything done before it."""

    exit_code = 4


class OverBudget(CrowdstackError):
    """An action would let the run cost more than its budget; nothing was recorded or sent."""

    exit_code = 5


class PolicyRefused(CrowdstackError):
    exit_code = 5


class NotFound(CrowdstackError):
    """No such spec, stack, run or unit."""

    exit_code = 6


class Cancelled(CrowdstackError):
    exit_code = 8


class LockHeld(CrowdstackError):
    """Somebody alive holds the lock; the message says who."""

    exit_code = 9


class TimedOut(CrowdstackError):
    exit_code = 9


class StateMismatch(CrowdstackError):
    """State, store or inbox is not what was expected (drift, an older copy, a stale plan)."""

    exit_code = 10


class StoreMoved(StateMismatch):
    """The store's file was taken away while it was open: whoever has it open must end."""


class Gap(StateMismatch):
    """An event came out of order: resume from the cursor."""


class InboxRegressed(StateMismatch):
    """The server's inbox knows less than the store, or something else: it was lost, cut or restored."""

    def __init__(self, what: str, *, have: int, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.have = have
