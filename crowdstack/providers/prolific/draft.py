"""A study as it is wanted -> the fields of the request that makes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crowdstack.errors import Refused
from crowdstack.model import Money
from crowdstack.providers.prolific.money import to_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeAction:
    """What Prolific does when a completion code is handed in: `name` and what that action asks for."""

    name: str  # AUTOMATICALLY_APPROVE, MANUALLY_REVIEW, REQUEST_RETURN, ADD_TO_PARTICIPANT_GROUP, ...
    group: str | None = None
    return_reason: str | None = None
    reward: Money | None = None  # FIXED_SCREEN_OUT_PAYMENT
    slots: int | None = None

    def fields(self, currency: str) -> dict[str, Any]:
        return _given(
            action=self.name,
            participant_group=self.group,
            return_reason=self.return_reason,
            fixed_screen_out_reward=None if self.reward is None else to_minor(self.reward, currency),
            slots=self.slots,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionCode:
    code: str | None  # None: participants finish without one; then it is the only one of theirs
    type: str
    actions: tuple[CodeAction, ...] = ()
    by_researcher: bool = False  # only such a code goes with `complete`

    def fields(self, currency: str) -> dict[str, Any]:
        return {
            "code": self.code,
            "code_type": self.type,
            "actions": [action.fields(currency) for action in self.actions],
            **({"actor": "researcher"} if self.by_researcher else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDraft:
    """Everything of a study that is fixed when it is published, and its first places."""

    name: str
    internal_name: str  # ours, and how the study is found again
    metadata: str | None = None  # the same, where nobody edits it
    description: str
    url: str | None  # None with `allocations`
    allocations: tuple[tuple[str, int], ...] = ()  # taskflow: address, places; together all the places
    project: str | None = None  # None: the project of the account that was made first
    places: int
    reward: Money
    minutes: int
    most_minutes: int | None = None
    codes: tuple[CompletionCode, ...] = ()
    devices: tuple[str, ...] = ()  # none: all
    peripherals: tuple[str, ...] = ()
    filters: tuple[Mapping[str, Any], ...] = ()
    filter_set: tuple[str, int] | None = None  # id, version; instead of `filters`
    naivety: float | None = None
    most_per_participant: int | None = None
    most_at_once: int | None = None
    auto_reject: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    content_warnings: tuple[str, ...] = ()
    content_warning_details: str | None = None
    signed_url: bool = False  # adds a token of Prolific's to the address

    def fields(self, currency: str) -> dict[str, Any]:
        """The body of the request. Refused where two fields say the same, or the reward is in another currency."""
        if self.filters and self.filter_set:
            raise Refused(
                "a study has filters or a filter set, not both", where=self.internal_name, hint="leave out one"
            )
        if (self.url is None) is not bool(self.allocations):
            raise Refused("a study has one address or several of a taskflow", where=self.internal_name, hint="give one")
        if self.allocations and sum(places for _, places in self.allocations) != self.places:
            raise Refused("the places of the addresses do not add up to those of the study", where=self.internal_name)
        config = _given(
            max_submissions_per_participant=self.most_per_participant,
            max_concurrent_submissions=self.most_at_once,
            auto_rejection_categories=list(self.auto_reject) or None,
        )
        return _given(
            name=self.name,
            internal_name=self.internal_name,
            metadata=self.metadata,
            description=self.description,
            external_study_url=self.url,
            access_details=allocations(self.allocations) if self.allocations else None,
            prolific_id_option="url_parameters",
            project=self.project,
            total_available_places=self.places,
            reward=to_minor(self.reward, currency),
            estimated_completion_time=self.minutes,
            maximum_allowed_time=self.most_minutes,
            completion_codes=[code.fields(currency) for code in self.codes],
            device_compatibility=list(self.devices),
            peripheral_requirements=list(self.peripherals),
            filters=None if self.filter_set else list(self.filters),
            filter_set_id=self.filter_set[0] if self.filter_set else None,
            filter_set_version=self.filter_set[1] if self.filter_set else None,
            naivety_distribution_rate=self.naivety,
            submissions_config=config or None,
            study_labels=list(self.labels) or None,
            content_warnings=list(self.content_warnings) or None,
            content_warning_details=self.content_warning_details,
            is_external_study_url_secure=self.signed_url or None,
        )


def allocations(places: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"external_url": url, "total_allocation": total} for url, total in places]


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
