"""The researcher's verbs on studies, and what studies do by themselves when places fill and empty."""

from __future__ import annotations

from typing import Any

from crowdstack.fakes.prolific import drafts, wallet
from crowdstack.fakes.prolific.records import Person, Study
from crowdstack.fakes.prolific.refusal import Refusal, forbidden_move, invalid
from crowdstack.fakes.prolific.shape import Check, choice, date_time, flag, moment, read
from crowdstack.fakes.prolific.states import DONE_IN_PLACE, DRAFTS, HOLDING, PENDING, StudyStatus
from crowdstack.fakes.prolific.world import World

_S = StudyStatus
AFTER_PUBLISH = frozenset(
    {"internal_name", "total_available_places", "access_details", "submissions_config", "completion_codes"}
)


def create(world: World, body: Any) -> Study:
    """A draft, always; the same body twice makes two."""
    fields = drafts.complete(world, body)
    return _draft(world, fields)


def _draft(world: World, fields: dict[str, Any]) -> Study:
    project = world.project(fields["project"])
    study = Study(
        id=world.new_id(), workspace=project.workspace, project=project.id, fields=fields, created_at=world.now
    )
    world.add_study(study)
    return study


def patch(world: World, study: Study, body: Any) -> Study:
    """Drafts: any field. Published ones: what may still change, and more places, never fewer."""
    if study.status in DRAFTS:
        fields = drafts.patched(world, study.fields, body)
        study.fields = fields
        study.project = world.project(fields["project"]).id
        study.workspace = world.projects[study.project].workspace
        world.effect("patch_study", study.id, amount=study.places, key=study.key)
        return study
    frozen = sorted(set(body) - AFTER_PUBLISH) if isinstance(body, dict) else []
    if frozen:
        raise invalid({name: ["This field cannot be changed once the study is published."] for name in frozen})
    body = _grown(study, body) if isinstance(body, dict) and body.get("access_details") else body
    fields = drafts.patched(world, study.fields, body)
    if body.get("completion_codes") is not None:
        _only_more_slots(study.fields["completion_codes"], body["completion_codes"])
    places = int(fields["total_available_places"])
    if places < study.places:
        raise invalid(
            {"total_available_places": [f"Ensure this value is at least {study.places}: places never go down."]}
        )
    _change(world, study, fields)
    return study


def _change(world: World, study: Study, fields: dict[str, Any]) -> None:
    """Write the fields of a published study, when the money for what they list more is there."""
    before, held = study.fields, wallet.reserved(world, study).total
    raised = int(fields["total_available_places"]) > study.places
    reopens = raised and study.status in (_S.AWAITING_REVIEW, _S.COMPLETED)
    if reopens and study.stopped and world.settings.stop_is_final:
        raise forbidden_move("A stopped study cannot be given more places.")
    workspace = world.workspaces[study.workspace]
    there = wallet.available(world, workspace)
    study.fields = fields
    taken = world.count(study, DONE_IN_PLACE - PENDING)
    wanted = (
        wallet.needed(world.settings, study, study.places - taken).total
        if reopens
        else wallet.reserved(world, study).total
    )
    if not study.test and wanted - held > there:
        study.fields = before
        wallet.require(world, workspace, wanted - held)
    world.effect("places" if raised else "patch_study", study.id, amount=study.places, key=study.key)
    if reopens:
        study.stopped = False
        world.move_study(study, "places raised", _S.ACTIVE)


def _grown(study: Study, body: dict[str, Any]) -> dict[str, Any]:
    """Access details of a published study: new URLs add their places; with a new total, URLs that are there grow."""
    before = {detail["external_url"]: detail["total_allocation"] for detail in study.fields["access_details"] or []}
    after = dict(before)
    for detail in body["access_details"]:
        if not isinstance(detail, dict) or not isinstance(detail.get("total_allocation"), int):
            raise invalid({"access_details": ["Each is an object with external_url and total_allocation."]})
        after[detail.get("external_url")] = detail["total_allocation"]
    if not before:
        raise invalid({"access_details": ["This study has one external_study_url."]})
    if any(after[url] < allocation for url, allocation in before.items()):
        raise invalid({"access_details": ["Allocations never go down."]})
    if "total_available_places" not in body and any(after[url] != before[url] for url in before):
        raise invalid({"access_details": ["Send total_available_places to raise a URL that is there."]})
    details = [{"external_url": url, "total_allocation": allocation} for url, allocation in after.items()]
    total = body.get("total_available_places", sum(after.values()))
    return body | {"access_details": details, "total_available_places": total}


def _only_more_slots(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    def without(codes: list[dict[str, Any]]) -> list[Any]:
        return [
            {**code, "actor": code.get("actor", "participant"), "actions": [{k: v for k, v in a.items() if k != "slots"} for a in code["actions"]]}
            for code in codes
        ]  # fmt: skip

    def slots(codes: list[dict[str, Any]]) -> list[int]:
        return [action["slots"] for code in codes for action in code["actions"] if "slots" in action]

    if without(before) != without(after) or any(
        new < old for old, new in zip(slots(before), slots(after), strict=True)
    ):
        raise invalid({"completion_codes": ["Once published, only more screen-out slots can be given."]})


def delete(world: World, study: Study) -> None:
    if study.status is not _S.UNPUBLISHED:
        raise forbidden_move(f"Only a draft can be deleted; this study is {study.status.value}.")
    study.deleted = True
    world.effect("delete_study", study.id, key=study.key)


def clone(world: World, study: Study, body: Any) -> Study:
    """A new draft with the same fields; by default closed to those who were in this one."""
    found = read(body if body is not None else {}, {"block_previous_participants": flag})
    fields = dict(study.fields)
    fields["name"] = f"{fields['name']} copy"
    fields["publish_at"] = None
    if found.get("block_previous_participants", True):
        block = {"filter_id": "previous_studies_blocklist", "selected_values": [study.id]}
        fields["filters"] = [*fields["filters"], block]
    return _draft(world, fields)


def transition(world: World, study: Study, body: Any) -> Study:
    fields: dict[str, Check] = {
        "action": choice("PUBLISH", "SCHEDULE_PUBLISH", "CANCEL_PUBLISH", "PAUSE", "START", "STOP"),
        "publish_at": date_time,
    }
    asked = read(body, fields, ["action"])
    act(world, study, asked["action"], asked.get("publish_at"))
    return study


def act(world: World, study: Study, action: str, publish_at: str | None = None) -> None:
    """One action of the table; from any other state 400."""
    start = {"PUBLISH": (_S.UNPUBLISHED,), "SCHEDULE_PUBLISH": (_S.UNPUBLISHED,), "CANCEL_PUBLISH": (_S.SCHEDULED,),
             "PAUSE": (_S.ACTIVE,), "START": (_S.PAUSED,), "STOP": (_S.ACTIVE, _S.PAUSED)}[action]  # fmt: skip
    if study.status not in start:
        raise forbidden_move(f"{action} is not possible while the study is {study.status.value}.")
    match action:
        case "PUBLISH":
            _publish(world, study, "PUBLISH")
        case "SCHEDULE_PUBLISH":
            _schedule(world, study, publish_at or study.fields["publish_at"])
        case "CANCEL_PUBLISH":
            world.move_study(study, action, _S.UNPUBLISHED)
        case "PAUSE":
            world.move_study(study, action, _S.PAUSED)
        case "START":
            world.move_study(study, action, _S.ACTIVE)
            settle(world, study)
        case "STOP":
            study.stopped = True
            world.move_study(study, action, _S.AWAITING_REVIEW if world.count(study, PENDING) else _S.COMPLETED)


def _publish(world: World, study: Study, cause: str) -> None:
    if not ready(study):
        raise invalid({"completion_codes": ["A study needs a completion code that participants can use."]})
    wallet.require(world, world.workspaces[study.workspace], wallet.needed(world.settings, study, study.places).total)
    world.move_study(study, cause, _S.PUBLISHING)
    study.published_at = world.now
    world.later(world.settings.publishing_s, "published", study.id)


def ready(study: Study) -> bool:
    """Can be published; says nothing about money."""
    return any(code.get("actor") != "researcher" for code in study.fields["completion_codes"])


def _schedule(world: World, study: Study, publish_at: str | None) -> None:
    if publish_at is None:
        raise invalid({"publish_at": ["This field is required."]})
    wait_s = moment(publish_at) - world.now
    if wait_s <= 0:
        raise invalid({"publish_at": ["This time is over."]})
    study.fields = study.fields | {"publish_at": publish_at}
    world.move_study(study, "SCHEDULE_PUBLISH", _S.SCHEDULED)
    world.later(wait_s, "scheduled", study.id, publish_at=publish_at)


def when_scheduled(world: World, key: str, args: dict[str, Any]) -> None:
    study = world.studies[key]
    if study.status is _S.SCHEDULED and study.fields["publish_at"] == args["publish_at"]:
        try:
            _publish(world, study, "due")
        except Refusal:
            world.move_study(study, "no funds", _S.UNPUBLISHED)


def when_published(world: World, key: str, args: dict[str, Any]) -> None:
    study = world.studies[key]
    if study.status is _S.PUBLISHING and not study.deleted:
        world.move_study(study, "published", _S.ACTIVE)


def settle(world: World, study: Study) -> None:
    """After a place filled or emptied: full -> AWAITING REVIEW -> COMPLETED, or a freed place opens it again."""
    if study.deleted:
        return
    done = HOLDING if world.settings.full_when_taken else DONE_IN_PLACE
    full = world.count(study, done) >= study.places
    if full and study.status in (_S.ACTIVE, _S.PAUSED):
        world.move_study(study, "full", _S.AWAITING_REVIEW)
    if study.status is not _S.AWAITING_REVIEW:
        return
    if not study.stopped and world.free_places(study) > 0:
        world.move_study(study, "place freed", _S.ACTIVE if world.settings.freed_is_active else _S.PAUSED)
    elif not world.count(study, PENDING):
        world.move_study(study, "reviewed", _S.COMPLETED)


def make_test(world: World, study: Study) -> Study:
    """A free study for test participants with the fields of a draft."""
    if "test-study" not in world.settings.features:
        raise Refusal(403, "Forbidden", "This workspace cannot run test studies.")
    testers = [person for person in world.people.values() if person.test]
    if study.status is not _S.UNPUBLISHED or not testers:
        raise forbidden_move("A test study is made of a draft, for at least one test participant.")
    fields = study.fields | {
        "name": f"{study.fields['name']} (test)",
        "total_available_places": len(testers),
        "filters": [],
    }
    fields["internal_name"] = f"{study.fields['internal_name'] or ''} (test)".strip()
    if fields["access_details"]:
        fields |= {"external_study_url": fields["access_details"][0]["external_url"], "access_details": None}
    test = _draft(world, fields)
    test.test = True
    _publish(world, test, "PUBLISH")
    return test


def may_enter(study: Study, person: Person) -> bool:
    return study.test == person.test
