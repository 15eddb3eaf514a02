"""Records as the API shows them. List and detail name things differently, as they do there."""

from __future__ import annotations

from typing import Any

from crowdstack.fakes.prolific import hooks, people, studies, wallet
from crowdstack.fakes.prolific import records as r
from crowdstack.fakes.prolific.refusal import unknown
from crowdstack.fakes.prolific.settings import FLOOR_PER_HOUR, RECOMMENDED_PER_HOUR
from crowdstack.fakes.prolific.shape import iso
from crowdstack.fakes.prolific.states import SubmissionStatus
from crowdstack.fakes.prolific.world import World

_P = SubmissionStatus
_OWNER = {"id": "0" * 24, "name": "Re Searcher", "email": "researcher@example.org", "roles": ["WORKSPACE_ADMIN"]}
_NOT_TAKEN = frozenset({_P.RESERVED, _P.TIMED_OUT, _P.RETURNED})


def me(world: World) -> dict[str, Any]:
    first = next(iter(world.workspaces.values()))
    return {
        "id": _OWNER["id"], "email": _OWNER["email"], "name": _OWNER["name"], "first_name": "Re", "last_name": "Searcher",
        "username": _OWNER["email"], "user_type": "researcher", "currency_code": first.currency,
        "balance": wallet.balance(first), "available_balance": wallet.available(world, first),
    }  # fmt: skip


def workspace(found: r.Workspace) -> dict[str, Any]:
    return {
        "id": found.id, "title": found.title, "description": found.description, "owner": _OWNER["id"],
        "users": [_OWNER], "naivety_distribution_rate": found.naivety,
    }  # fmt: skip


def balance(world: World, found: r.Workspace) -> dict[str, Any]:
    total, available = wallet.balance(found), wallet.available(world, found)
    return {
        "currency_code": found.currency,
        "total_balance": total,
        "balance_breakdown": wallet.breakdown(world.settings, total),
        "available_balance": available,
        "available_balance_breakdown": wallet.breakdown(world.settings, available),
    }


def project(found: r.Project) -> dict[str, Any]:
    return {
        "id": found.id, "title": found.title, "description": found.description, "owner": _OWNER["id"], "type": "PRIVATE",
        "public_details": None, "users": [_OWNER], "workspace": found.workspace,
        "naivety_distribution_rate": found.naivety,
    }  # fmt: skip


def study_short(world: World, found: r.Study) -> dict[str, Any]:
    every = [s for s in world.of_study(found) if s.started_at is not None]
    return {
        "id": found.id, "name": found.fields["name"], "internal_name": found.fields["internal_name"],
        "status": found.status.value, "study_type": "SINGLE",
        "estimated_completion_time": found.fields["estimated_completion_time"], "total_available_places": found.places,
        "places_taken": sum(s.status not in _NOT_TAKEN for s in every), "number_of_submissions": len(every),
        "reward": found.reward, "total_cost": wallet.needed(world.settings, found, found.places).total,
        "published_at": iso(found.published_at), "publish_at": found.fields["publish_at"],
        "date_created": iso(found.created_at), "credential_pool_id": None, "is_ready_to_publish": studies.ready(found),
    }  # fmt: skip


def study(world: World, found: r.Study) -> dict[str, Any]:
    currency = world.workspaces[found.workspace].currency
    hourly = found.reward * 60 // found.fields["estimated_completion_time"]
    return {
        **study_short(world, found), **found.fields, "workspace": found.workspace, "currency_code": currency,
        "average_reward_per_hour": hourly, "is_underpaying": hourly < FLOOR_PER_HOUR[currency],
        "fees_percentage": world.settings.fee_bp / 100, "vat_percentage": world.settings.vat_bp / 100,
    }  # fmt: skip


def access_progress(world: World, found: r.Study) -> dict[str, Any]:
    details = found.fields["access_details"]
    if not details:
        raise unknown("taskflow study", found.id)
    used = people.allocated(world, found)
    return {
        "id": found.id,
        "progress": [
            {**detail, "allocated": used[detail["external_url"]], "capacity_increments": 0} for detail in details
        ],
    }


def study_cost(world: World, found: r.Study, projected: bool) -> dict[str, Any]:
    """Spent so far; projected: with all that is listed and not yet paid."""
    currency = world.workspaces[found.workspace].currency
    sums = {"rewards": wallet.NOTHING, "bonuses": wallet.NOTHING}
    for line in world.lines.values():
        if line.study == found.id:
            kind = "bonuses" if line.purpose == "bonus" else "rewards"
            sums[kind] = sums[kind].plus(wallet.Price(line.amount, line.fees, line.vat))
    if projected:
        draft = found.published_at is None
        still = wallet.needed(world.settings, found, found.places) if draft else wallet.reserved(world, found)
        sums["rewards"] = sums["rewards"].plus(still)

    def part(minor: int) -> dict[str, Any]:
        return {"amount": minor, "currency": currency}

    return {
        kind: {"rewards": part(cost.amount), "fees": part(cost.fees), "tax": part(cost.vat)}
        for kind, cost in sums.items()
    }


def counts(found: list[r.Submission]) -> dict[str, int]:
    shown = {status.value: sum(s.status is status for s in found) for status in SubmissionStatus}
    return shown | {"TOTAL": len(found)}


def _seconds(found: r.Submission) -> int | None:
    if found.started_at is None or found.completed_at is None:
        return None
    return round(found.completed_at - found.started_at)


def submission_item(world: World, found: r.Submission) -> dict[str, Any]:
    """Of a list: `participant_id`, `study_code`. `reward` there is in hundredths of a minor unit: never pay by it."""
    study = world.studies[found.study]
    shown = not _hidden(found)
    return {
        "id": found.id, "participant_id": found.participant, "status": found.status.value,
        "started_at": iso(found.started_at if found.started_at is not None else found.reserved_at),
        "completed_at": iso(found.completed_at) if shown else None, "has_siblings": False,
        "study_code": found.entered_code if shown else None, "return_requested": iso(found.return_requested),
        "time_taken": _seconds(found) if shown else None, "reward": study.reward * 100,
        "bonus_payments": list(found.bonuses), "is_complete": shown and found.completed_at is not None, "strata": {},
    }  # fmt: skip


def _hidden(found: r.Submission) -> bool:
    """Handed in, and the books do not show it yet."""
    return found.handed_in and found.status is _P.ACTIVE


def submission_moved(world: World, found: r.Submission) -> dict[str, Any]:
    """The answer of a transition: `participant`, `entered_code`."""
    shown = not _hidden(found)
    return {
        "id": found.id, "participant": found.participant, "status": found.status.value, "study_id": found.study,
        "started_at": iso(found.started_at if found.started_at is not None else found.reserved_at),
        "completed_at": iso(found.completed_at) if shown else None, "entered_code": found.entered_code if shown else None,
    }  # fmt: skip


def submission_detail(world: World, found: r.Submission) -> dict[str, Any]:
    return submission_moved(world, found) | {
        "parent_study_id": None, "bonus_payments": list(found.bonuses), "return_requested": iso(found.return_requested),
    }  # fmt: skip


def submission_asked(found: r.Submission) -> dict[str, Any]:
    return {
        "id": found.id, "status": found.status.value, "participant": found.participant,
        "return_requested": iso(found.return_requested),
    }  # fmt: skip


def bulk(found: r.Bulk, cost: wallet.Price) -> dict[str, Any]:
    return {
        "id": found.id, "study": found.study, "amount": cost.amount, "fees": cost.fees, "vat": cost.vat,
        "total_amount": cost.total,
    }  # fmt: skip


def group(found: r.Group) -> dict[str, Any]:
    return {
        "id": found.id, "name": found.name, "project_id": found.project, "workspace_id": found.workspace,
        "organisation_id": None, "description": found.description, "participant_count": len(found.members),
        "is_deleted": found.deleted, "feeder_studies": [],
    }  # fmt: skip


def members(found: r.Group) -> dict[str, Any]:
    return {
        "results": [{"participant_id": key, "datetime_created": iso(since)} for key, since in found.members.items()],
    }


def message(found: r.Message) -> dict[str, Any]:
    who = _OWNER["id"] if found.sender == "researcher" else found.sender
    other = found.recipient if found.sender == "researcher" else found.sender
    data = {"study_id": found.study} if found.study else {}
    return {
        "id": found.id, "sender_id": who, "body": found.body, "sent_at": iso(found.sent_at), "type": "message",
        "channel_id": f"{other}-{found.study}", "data": data,
    }  # fmt: skip


def unread_message(found: r.Message) -> dict[str, Any]:
    return message(found) | {"sender": found.sender}


def secret(found: r.Secret) -> dict[str, Any]:
    return {"id": found.id, "value": found.value, "workspace_id": found.workspace}


def subscription(found: r.Subscription) -> dict[str, Any]:
    return {
        "id": found.id, "event_type": found.event_type, "target_url": found.target_url,
        "is_enabled": found.enabled, "workspace_id": found.workspace,
    }  # fmt: skip


def event(world: World, found: r.HookEvent) -> dict[str, Any]:
    return {
        "id": found.id, "datetime_created": iso(found.created_at), "datetime_updated": iso(found.updated_at),
        "event_type": found.payload["event_type"], "resource_id": found.payload["resource_id"], "status": found.status,
        "target_url": hooks.find(world, found.subscription).target_url, "payload": found.payload,
    }  # fmt: skip


def recommendation(currency: str) -> list[dict[str, Any]]:
    return [
        {
            "currency": currency,
            "min_reward_per_hour": FLOOR_PER_HOUR[currency],
            "recommended_reward_per_hour": RECOMMENDED_PER_HOUR[currency],
        }
    ]
