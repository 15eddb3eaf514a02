"""The states of studies and submissions and every move between them that exists. Nothing else moves anything."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class StudyStatus(str, Enum):
    UNPUBLISHED = "UNPUBLISHED"
    SCHEDULED = "SCHEDULED"
    PUBLISHING = "PUBLISHING"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    AWAITING_REVIEW = "AWAITING REVIEW"
    COMPLETED = "COMPLETED"


class SubmissionStatus(str, Enum):
    RESERVED = "RESERVED"
    ACTIVE = "ACTIVE"
    TIMED_OUT = "TIMED-OUT"
    RETURNED = "RETURNED"
    AWAITING_REVIEW = "AWAITING REVIEW"
    APPROVED = "APPROVED"
    PARTIALLY_APPROVED = "PARTIALLY APPROVED"
    REJECTED = "REJECTED"
    SCREENED_OUT = "SCREENED OUT"


_S, _P = StudyStatus, SubmissionStatus

DRAFTS = frozenset({_S.UNPUBLISHED, _S.SCHEDULED})

# Whether a partial approval holds its place is not documented: held, as the place was paid for.
HOLDING = frozenset({_P.RESERVED, _P.ACTIVE, _P.AWAITING_REVIEW, _P.APPROVED, _P.PARTIALLY_APPROVED})
PENDING = frozenset({_P.RESERVED, _P.ACTIVE, _P.AWAITING_REVIEW})  # may still be charged
CHARGED_IN_PLACE = frozenset({_P.APPROVED, _P.PARTIALLY_APPROVED})
DONE_IN_PLACE = frozenset({_P.AWAITING_REVIEW, *CHARGED_IN_PLACE})


class Move(NamedTuple):
    """`start` None: it begins here. Causes in capitals are actions of the API, the others happen."""

    kind: str  # study | submission
    start: str | None
    cause: str
    end: str


def _moves(
    kind: str, rows: list[tuple[StudyStatus | SubmissionStatus | None, str, StudyStatus | SubmissionStatus]]
) -> list[Move]:
    return [Move(kind, start.value if start else None, cause, end.value) for start, cause, end in rows]


TRANSITIONS: list[Move] = [
    *_moves(
        "study",
        [
            (None, "create", _S.UNPUBLISHED),
            (_S.UNPUBLISHED, "PUBLISH", _S.PUBLISHING),
            (_S.UNPUBLISHED, "SCHEDULE_PUBLISH", _S.SCHEDULED),
            (_S.SCHEDULED, "CANCEL_PUBLISH", _S.UNPUBLISHED),
            (_S.SCHEDULED, "due", _S.PUBLISHING),
            (_S.SCHEDULED, "no funds", _S.UNPUBLISHED),
            (_S.PUBLISHING, "published", _S.ACTIVE),
            (_S.ACTIVE, "PAUSE", _S.PAUSED),
            (_S.ACTIVE, "slots used", _S.PAUSED),
            (_S.PAUSED, "START", _S.ACTIVE),
            (_S.ACTIVE, "STOP", _S.COMPLETED),
            (_S.ACTIVE, "STOP", _S.AWAITING_REVIEW),
            (_S.PAUSED, "STOP", _S.COMPLETED),
            (_S.PAUSED, "STOP", _S.AWAITING_REVIEW),
            (_S.ACTIVE, "full", _S.AWAITING_REVIEW),
            (_S.PAUSED, "full", _S.AWAITING_REVIEW),
            (_S.AWAITING_REVIEW, "reviewed", _S.COMPLETED),
            (_S.AWAITING_REVIEW, "place freed", _S.PAUSED),
            (_S.AWAITING_REVIEW, "place freed", _S.ACTIVE),
            (_S.AWAITING_REVIEW, "places raised", _S.ACTIVE),
            (_S.COMPLETED, "places raised", _S.ACTIVE),
        ],
    ),
    *_moves(
        "submission",
        [
            (None, "reserve", _P.RESERVED),
            (_P.RESERVED, "start", _P.ACTIVE),
            (_P.RESERVED, "lapse", _P.RETURNED),
            (_P.RESERVED, "return", _P.RETURNED),
            (_P.ACTIVE, "return", _P.RETURNED),
            (_P.ACTIVE, "time out", _P.TIMED_OUT),
            (_P.ACTIVE, "complete", _P.AWAITING_REVIEW),
            (_P.ACTIVE, "complete", _P.APPROVED),
            (_P.ACTIVE, "complete", _P.SCREENED_OUT),
            (_P.ACTIVE, "COMPLETE", _P.AWAITING_REVIEW),
            (_P.ACTIVE, "COMPLETE", _P.APPROVED),
            (_P.ACTIVE, "COMPLETE", _P.SCREENED_OUT),
            (_P.ACTIVE, "COMPLETE", _P.PARTIALLY_APPROVED),
            (_P.TIMED_OUT, "complete late", _P.AWAITING_REVIEW),
            (_P.AWAITING_REVIEW, "APPROVE", _P.APPROVED),
            (_P.AWAITING_REVIEW, "21 days", _P.APPROVED),
            (_P.AWAITING_REVIEW, "REJECT", _P.REJECTED),
            (_P.AWAITING_REVIEW, "return", _P.RETURNED),
        ],
    ),
]  # fmt: skip
