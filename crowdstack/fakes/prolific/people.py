"""What participants do, whatever researchers would like: reserve, start, return, complete; and messages of theirs."""

from __future__ import annotations

from crowdstack.fakes.prolific import filters, messages, studies
from crowdstack.fakes.prolific.records import Person, Study, Submission
from crowdstack.fakes.prolific.refusal import Refusal
from crowdstack.fakes.prolific.states import HOLDING, StudyStatus, SubmissionStatus
from crowdstack.fakes.prolific.world import World

_P = SubmissionStatus
_INSIDE = frozenset({_P.RESERVED, _P.ACTIVE})


def open_to(world: World, person: Person) -> list[Study]:
    """The studies that this participant sees now."""
    return [study for study in world.studies.values() if why_not(world, study, person) is None]


def why_not(world: World, study: Study, person: Person) -> str | None:
    """Why this participant gets no place in this study; None: there is one."""
    if study.deleted or study.status is not StudyStatus.ACTIVE:
        return f"the study is {'gone' if study.deleted else study.status.value}"
    if world.free_places(study) <= 0:
        return "there is no free place"
    if not studies.may_enter(study, person):
        return "the study is a test, or the participant is one"
    config = study.fields["submissions_config"]
    together = config["max_concurrent_submissions"] or -1
    if 0 <= together <= world.count(study, _INSIDE):
        return "as many as may be at work at the same time are"
    earlier = [s for s in world.of_study(study) if s.participant == person.id and (s.started_at or s.status in HOLDING)]
    most = config["max_submissions_per_participant"] or 1
    if any(s.status in _INSIDE for s in earlier) or 0 <= most <= len(earlier):
        return "the participant is or was in it"
    return None if filters.lets_in(world, study.fields["filters"], person) else "a filter keeps the participant out"


def reserve(world: World, study: Study, person: Person) -> Submission:
    """Take a place for a while. Refusal says why there is none."""
    reason = why_not(world, study, person)
    if reason is not None:
        raise Refusal(400, "No place", f"{person.id} gets no place in {study.id}: {reason}.")
    submission = Submission(
        id=world.new_id(), study=study.id, participant=person.id, reserved_at=world.now, url=_free_url(world, study)
    )
    world.add_submission(submission)
    world.later(world.settings.reserved_s, "lapsed", submission.id)
    studies.settle(world, study)
    return submission


def _free_url(world: World, study: Study) -> str:
    details = study.fields["access_details"]
    if not details:
        return str(study.fields["external_study_url"])
    used = allocated(world, study)
    return next(str(d["external_url"]) for d in details if used[d["external_url"]] < d["total_allocation"])


def allocated(world: World, study: Study) -> dict[str, int]:
    """Taskflow: how many places of each URL are held."""
    used = {detail["external_url"]: 0 for detail in study.fields["access_details"] or []}
    for submission in world.of_study(study):
        if submission.status in HOLDING:
            used[submission.url] += 1
    return used


def start(world: World, submission: Submission) -> str:
    """Open the study: the URL with its placeholders filled. Opening it again while at work gives the same."""
    study = world.studies[submission.study]
    if submission.status is _P.RESERVED:
        submission.started_at = world.now
        world.move(submission, "start", _P.ACTIVE)
        world.later(60 * study.fields["maximum_allowed_time"], "out of time", submission.id)
    elif submission.status is not _P.ACTIVE:
        raise Refusal(400, "Not possible", f"A submission that is {submission.status.value} cannot be started.")
    return filled(submission)


def filled(submission: Submission) -> str:
    """The participant's URL."""
    url = submission.url
    for name, value in (
        ("PROLIFIC_PID", submission.participant),
        ("STUDY_ID", submission.study),
        ("SESSION_ID", submission.id),
    ):
        url = url.replace("{{%" + name + "%}}", value)
    return url


def complete(world: World, submission: Submission, code: str | None) -> None:
    """The redirect with a code, a wrong one, or none. Late, when nobody took the place meanwhile."""
    study = world.studies[submission.study]
    late = submission.status is _P.TIMED_OUT and not study.stopped and world.free_places(study) > 0
    if submission.handed_in or not (submission.status is _P.ACTIVE or late):
        raise Refusal(400, "Not possible", f"A submission that is {submission.status.value} cannot be completed.")
    if study.deleted or (late and study.status not in (StudyStatus.ACTIVE, StudyStatus.PAUSED)):
        raise Refusal(400, "Not possible", f"The study is {study.status.value}.")
    submission.entered_code, submission.completed_at, submission.handed_in = code, world.now, True
    # A late one takes its place back at once: nobody else may get it during the lag.
    world.later(0 if late else world.settings.completion_lag_s, "shown", submission.id)


def give_back(world: World, submission: Submission) -> None:
    """Return a place, at any time before it is reviewed."""
    if submission.status not in (_P.RESERVED, _P.ACTIVE, _P.AWAITING_REVIEW):
        raise Refusal(400, "Not possible", f"A submission that is {submission.status.value} cannot be returned.")
    world.move(submission, "return", _P.RETURNED)
    study = world.studies[submission.study]
    _warn(world, study)
    studies.settle(world, study)


def _warn(world: World, study: Study) -> None:
    every = world.of_study(study)
    returned = sum(s.status is _P.RETURNED for s in every)
    if not study.warned and len(every) >= 10 and 3 * returned > len(every):
        study.warned = True
        world.happens["study returned often"](world, study.id, {})


def say(world: World, person: Person, study: Study, body: str) -> None:
    messages.from_participant(world, person.id, study.id, body)
