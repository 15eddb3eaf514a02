"""A run's terms as a study at Prolific: what is sent to create it, and what our key looks like there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crowdstack.model import Money, StudyKey
from crowdstack.providers.prolific.draft import CodeAction, CompletionCode, StudyDraft

WORKER, SUBMISSION = "PROLIFIC_PID", "SESSION_ID"  # parameters of the page's address; SESSION_ID is the submission's id
_PLACEHOLDERS = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
_NO_WORK = "There was no work left for you."


def mark(key: StudyKey) -> str:
    """What `internal_name` and `metadata` say, which only the researcher sees and which stay editable."""
    return f"crowdstack:{key}"


def own_groups(key: StudyKey, end: str) -> tuple[str, ...]:
    """The name of a participant group of the task's own, and others should it be taken. The task's runs share it; a study's key
    is its run: <task>-<number>."""
    name = f"crowdstack:{key.rpartition('-')[0]}:{end}"
    return (name, *(f"{name}:{number}" for number in range(2, 6)))


def study_draft(
    settings: Mapping[str, Any],
    key: StudyKey,
    *,
    places: int,
    reward: Money,
    title: str,
    page: str,
    project: str | None,
    filters: Sequence[Mapping[str, Any]] = (),
) -> StudyDraft:
    """`settings`: the spec's provider (Desired.provider). `page`: the signed link that everybody is shown."""
    join = "&" if "?" in page else "?"
    return StudyDraft(
        name=settings.get("name") or title,
        internal_name=mark(key),
        metadata=mark(key),
        description=settings.get("description") or title,
        url=page + join + "&".join(f"{name}={{{{%{name}%}}}}" for name in _PLACEHOLDERS),
        project=project,
        places=places,
        reward=reward,
        minutes=settings["minutes"],
        most_minutes=settings.get("maximum_minutes"),
        codes=completion_codes(settings["codes"]),
        devices=tuple(settings.get("device") or ()),
        peripherals=tuple(settings.get("peripherals") or ()),
        filters=tuple(filters),
        naivety=settings.get("naivety"),
        most_per_participant=settings.get("max_submissions_per_participant"),
        most_at_once=settings.get("max_concurrent"),
        labels=tuple(settings.get("study_labels") or ()),
        content_warnings=tuple(settings.get("content_warnings") or ()),
        content_warning_details=settings.get("content_warning_details"),
    )


def completion_codes(codes: Mapping[str, str]) -> tuple[CompletionCode, ...]:
    """`done`: answers were given, and are reviewed here before they are paid. `nothing`: there was nothing to do."""
    return (
        CompletionCode(code=codes["done"], type="COMPLETED", actions=(CodeAction(name="MANUALLY_REVIEW"),)),
        CompletionCode(
            code=codes["nothing"],
            type="OTHER",
            actions=(CodeAction(name="REQUEST_RETURN", return_reason=_NO_WORK),),
        ),
    )


def rejection(reason: str) -> str:
    """A message of the length that is asked for (at least 100 characters)."""
    rest = "If you think that this is a mistake, please send us a message and we will look at your submission again."
    return f"We are sorry that we cannot accept your submission: {reason}. {rest}"
