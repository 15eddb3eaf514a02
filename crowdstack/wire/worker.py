"""Frames of the worker socket (docs/protocol.md). The server reads FROM_WORKER and writes TO_WORKER; a crowd the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crowdstack.wire.frames import Frames, Id, Payload

PROTOCOL = 1

# Close codes of the socket.
RESTART, FAULTS, TOO_LARGE, LINK_REFUSED, NO_HELLO = 1012, 1008, 1009, 4403, 4408


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First frame of a page: with the query parameters of its link, or with the session of an earlier welcome."""

    protocol: int
    bundle: str
    params: Mapping[str, str] | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """Asks for a unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Answers to an assignment. The same nonce and answers again get the same receipt."""

    assignment: Id
    nonce: Id
    answers: Payload
    signals: Payload | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Gives a unit back."""

    assignment: Id


FromWorker = Hello | Next | Submit | Return


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Units this worker has done, and how many there are to do at most in this visit and task (none: no limit)."""

    done: int
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    session: str
    worker: str
    visit: Id
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A unit to work on. `deadline` is for display; the server goes by its own clock."""

    assignment: Id
    unit: Id
    kind: str
    data: Payload
    deadline: str
    remaining_s: float
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing free now: ask again."""

    retry_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Nothing more for this worker. `reason`: visit, limit, target, returned, timeout, replaced, blocked, closed or ineligible.
    `completion`: `message`, and where there are such a `code` to hand in and the `url` where the visit is finished."""

    reason: str
    completion: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """The page is older than the bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answers are on disk."""

    assignment: Id
    nonce: Id
    receipt: int
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The answers do not fit the schema; the hold goes on."""

    assignment: Id
    errors: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    assignment: Id


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    code: str
    message: str
    assignment: Id | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Not now, nothing was kept: send the frame `of` again after `retry_s`."""

    of: str
    retry_s: float
    assignment: Id | None = None


ToWorker = Welcome | Assigned | Wait | Done | Reload | Accepted | Refused | Returned | Error | Busy

FROM_WORKER: Frames[FromWorker] = Frames({"hello": Hello, "next": Next, "submit": Submit, "return": Return})
TO_WORKER: Frames[ToWorker] = Frames(
    {
        "welcome": Welcome,
        "assigned": Assigned,
        "wait": Wait,
        "done": Done,
        "reload": Reload,
        "accepted": Accepted,
        "refused": Refused,
        "returned": Returned,
        "error": Error,
        "busy": Busy,
    }
)
