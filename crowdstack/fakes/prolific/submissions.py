"""Submissions: how completion codes act, what the researcher may do to them, and what time does."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from crowdstack.fakes.prolific import groups, studies, wallet
from crowdstack.fakes.prolific.records import Study, Submission
from crowdstack.fakes.prolific.refusal import forbidden_move, invalid, unknown
from crowdstack.fakes.prolific.shape import Check, choice, integer, many, problems, read, text, words
from crowdstack.fakes.prolific.states import StudyStatus, SubmissionStatus
from crowdstack.fakes.prolific.world import World

_P = SubmissionStatus
CATEGORIES = (
    "TOO_QUICKLY", "TOO_SLOWLY", "FAILED_INSTRUCTIONS", "INCOMP_LONGITUDINAL", "FAILED_CHECK", "LOW_EFFORT",
    "MALINGERING", "NO_CODE", "BAD_CODE", "NO_DATA", "UNSUPP_DEVICE", "OTHER",
)  # fmt: skip
ACTIONS = ("APPROVE", "COMPLETE", "REJECT", "RETURN", "START", "SCREEN_OUT", "UNREJECT", "UNRETURN")
SHORTEST_MESSAGE = 100
BULK_LIMIT = 1000


# ------------------------------------------------------------------------------------------------ being handed in


def code_of(study: Study, entered: str | None, actor: str) -> dict[str, Any] | None:
    """The study's code that was entered, None for a wrong one."""
    for code in study.fields["completion_codes"]:
        if code["code"] == entered and code.get("actor", "participant") == actor:
            return dict(code)
    return None


def when_shown(world: World, key: str, args: dict[str, Any]) -> None:
    """A participant's redirect reaches the books (after the lag)."""
    submission = world.submissions[key]
    study = world.studies[submission.study]
    if study.deleted:
        return
    if submission.status is _P.TIMED_OUT:
        world.move(submission, "complete late", _P.AWAITING_REVIEW)
        _wait_for_review(world, submission)
    elif submission.status is _P.ACTIVE:
        _hand_in(world, study, submission, "complete", code_of(study, submission.entered_code, "participant"))
    studies.settle(world, study)


def _hand_in(world: World, study: Study, submission: Submission, cause: str, code: dict[str, Any] | None) -> None:
    """A wrong code or none waits for review like any other; no action of a code is taken then."""
    actions = {action["action"]: action for action in code["actions"]} if code else {}
    for action in code["actions"] if code else ():
        if action["action"] == "ADD_TO_PARTICIPANT_GROUP":
            groups.add(world, world.groups[action["participant_group"]], [submission.participant])
        elif action["action"] == "REMOVE_FROM_PARTICIPANT_GROUP":
            groups.remove(world, world.groups[action["participant_group"]], [submission.participant])
    if "FIXED_SCREEN_OUT_PAYMENT" in actions and code and wallet.slots(study)[code["code"]][1] > 0:
        _screen_out(world, study, submission, cause, code["code"])
    elif "AUTOMATICALLY_APPROVE" in actions:
        world.move(submission, cause, _P.APPROVED)
        wallet.pay(world, study, submission, "reward", study.reward)
    else:
        if "REQUEST_RETURN" in actions:
            submission.return_requested = world.now
        world.move(submission, cause, _P.AWAITING_REVIEW)
        _wait_for_review(world, submission)


def _wait_for_review(world: World, submission: Submission) -> None:
    world.later(world.settings.auto_approve_s, "unreviewed", submission.id)


def _screen_out(world: World, study: Study, submission: Submission, cause: str, code: str) -> None:
    reward, left = wallet.slots(study)[code]
    wallet.pay(world, study, submission, "screen_out", reward)
    study.slots_used = study.slots_used | {code: study.slots_used.get(code, 0) + 1}
    world.move(submission, cause, _P.SCREENED_OUT)
    if left == 1 and study.status is StudyStatus.ACTIVE:
        world.move_study(study, "slots used", StudyStatus.PAUSED)


# ------------------------------------------------------------------------------------------------ the researcher


def transition(world: World, submission: Submission, body: Any) -> Submission:
    fields: dict[str, Check] = {
        "action": choice(*ACTIONS), "message": text, "rejection_category": choice(*CATEGORIES),
        "completion_code": text, "completion_code_data": _code_data,
    }  # fmt: skip
    asked = read(body, fields, ["action"])
    match asked["action"]:
        case "APPROVE":
            approve(world, submission)
        case "REJECT":
            _reject(world, submission, asked)
        case "COMPLETE":
            _complete(world, submission, asked)
        case action:
            raise forbidden_move(f"{action} is not possible for this submission.")  # preconditions are not documented
    studies.settle(world, world.studies[submission.study])
    return submission


def approve(world: World, submission: Submission, cause: str = "APPROVE") -> None:
    """Pays. Of an approved one nothing happens; of one that is not handed in it is refused."""
    if submission.status is _P.APPROVED:
        return
    if submission.status is not _P.AWAITING_REVIEW:
        raise forbidden_move(f"A submission that is {submission.status.value} cannot be approved.")
    study = world.studies[submission.study]
    world.move(submission, cause, _P.APPROVED)
    wallet.pay(world, study, submission, "reward", study.reward)


def _reject(world: World, submission: Submission, asked: dict[str, Any]) -> None:
    faults: dict[str, list[str]] = {}
    if len(asked.get("message") or "") < SHORTEST_MESSAGE:
        faults["message"] = [f"Ensure this field has at least {SHORTEST_MESSAGE} characters."]
    if not asked.get("rejection_category"):
        faults["rejection_category"] = ["This field is required."]
    if faults:
        raise invalid(faults)
    if submission.status is _P.REJECTED:
        return
    if submission.status is not _P.AWAITING_REVIEW:
        raise forbidden_move(f"A submission that is {submission.status.value} cannot be rejected.")
    submission.rejection = asked["rejection_category"]
    world.move(submission, "REJECT", _P.REJECTED)


def _code_data(value: Any) -> str | None:
    found = problems(value, {"percentage_of_reward": integer(8, 99), "message_to_participant": text})
    return str(found) if found else None


def _complete(world: World, submission: Submission, asked: dict[str, Any]) -> None:
    """The server's way to hand in: a code whose actor is the researcher."""
    study = world.studies[submission.study]
    code = code_of(study, asked.get("completion_code"), "researcher")
    if code is None:
        raise invalid({"completion_code": ["This is no code of the study for the actor researcher."]})
    dynamic = any(action["action"] == "DYNAMIC_PAYMENT" for action in code["actions"])
    data = asked.get("completion_code_data") or {}
    if dynamic and "percentage_of_reward" not in data:
        raise invalid({"completion_code_data": ["percentage_of_reward is required for DYNAMIC_PAYMENT."]})
    if submission.handed_in and submission.entered_code == code["code"]:
        return
    if submission.status is not _P.ACTIVE or submission.handed_in:
        raise forbidden_move(f"A submission that is {submission.status.value} cannot be completed.")
    submission.entered_code, submission.completed_at, submission.handed_in = code["code"], world.now, True
    if dynamic:
        world.move(submission, "COMPLETE", _P.PARTIALLY_APPROVED)
        wallet.pay(
            world, study, submission, "partial", wallet.partial_reward(study.reward, data["percentage_of_reward"])
        )
    else:
        _hand_in(world, study, submission, "COMPLETE", code)


def request_return(world: World, submission: Submission, body: Any) -> Submission:
    """Only asks; the participant may do so or not."""
    asked = read(body, {"request_return_reasons": many(words)}, ["request_return_reasons"])
    if submission.status not in (_P.ACTIVE, _P.AWAITING_REVIEW) or not asked["request_return_reasons"]:
        raise forbidden_move("A return can be asked of somebody who is at work or awaits review, with a reason.")
    submission.return_requested = world.now
    world.effect("request_return", submission.id)
    return submission


def bulk_approve(world: World, body: Any) -> int:
    """How many were queued; they are approved later, and those that cannot be are passed over."""
    fields: dict[str, Check] = {"submission_ids": many(words), "study_id": words, "participant_ids": many(words)}
    asked = read(body, fields)
    if set(asked) == {"submission_ids"}:
        found = [world.submission(key) for key in asked["submission_ids"]]
    elif set(asked) == {"study_id", "participant_ids"}:
        of_study = world.of_study(world.study(asked["study_id"]))
        found = [s for s in of_study if s.participant in asked["participant_ids"]]
        strangers = set(asked["participant_ids"]) - {s.participant for s in found}
        if strangers:
            raise unknown("submission of participant", min(strangers))
    else:
        raise invalid("Send submission_ids, or study_id with participant_ids.")
    if not 0 < len(found) <= BULK_LIMIT:
        raise invalid(f"Between 1 and {BULK_LIMIT} submissions can be approved at once.")
    world.effect("bulk_approve", found[0].study, amount=len(found))
    world.later(world.settings.bulk_lag_s, "bulk approved", found[0].study, submissions=[s.id for s in found])
    return len(found)


def within(found: list[Submission], start: str | None, end: str | None) -> list[Submission]:
    """Those handed in from one day (DD/MM/YYYY) and before another."""

    def day(name: str, value: str) -> float:
        try:
            return datetime.strptime(value, "%d/%m/%Y").replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            raise invalid({name: ["Use DD/MM/YYYY."]}) from None

    if start is not None:
        since = day("submitted_from", start)
        found = [each for each in found if each.completed_at is not None and each.completed_at >= since]
    if end is not None:
        until = day("submitted_before", end)
        found = [each for each in found if each.completed_at is not None and each.completed_at < until]
    return list(found)


# ------------------------------------------------------------------------------------------------ time


def when_bulk_approved(world: World, key: str, args: dict[str, Any]) -> None:
    for each in args["submissions"]:
        submission = world.submissions[each]
        if submission.status is _P.AWAITING_REVIEW and not world.studies[submission.study].deleted:
            approve(world, submission)
            studies.settle(world, world.studies[submission.study])


def when_unreviewed(world: World, key: str, args: dict[str, Any]) -> None:
    submission = world.submissions[key]
    if submission.status is _P.AWAITING_REVIEW and not world.studies[submission.study].deleted:
        approve(world, submission, "21 days")
        studies.settle(world, world.studies[submission.study])


def when_lapsed(world: World, key: str, args: dict[str, Any]) -> None:
    submission = world.submissions[key]
    if submission.status is _P.RESERVED:
        world.move(submission, "lapse", _P.RETURNED)
        studies.settle(world, world.studies[submission.study])


def when_out_of_time(world: World, key: str, args: dict[str, Any]) -> None:
    submission = world.submissions[key]
    if submission.status is _P.ACTIVE and not submission.handed_in:
        world.move(submission, "time out", _P.TIMED_OUT)
        studies.settle(world, world.studies[submission.study])
