"""Messages between researcher and participants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crowdstack.fakes.prolific import groups
from crowdstack.fakes.prolific.records import Message
from crowdstack.fakes.prolific.refusal import invalid
from crowdstack.fakes.prolific.settings import DAY_S
from crowdstack.fakes.prolific.shape import Check, many, moment, read, words
from crowdstack.fakes.prolific.world import World

OLDEST_DAYS = 30


def send(world: World, body: Any) -> None:
    fields: dict[str, Check] = {"recipient_id": words, "body": words, "study_id": words}
    asked = read(body, fields, list(fields))
    _post(world, [asked["recipient_id"]], asked["body"], asked["study_id"])


def send_bulk(world: World, body: Any) -> None:
    fields: dict[str, Check] = {"ids": many(words), "body": words, "study_id": words}
    asked = read(body, fields, list(fields))
    _post(world, asked["ids"], asked["body"], asked["study_id"])


def send_group(world: World, body: Any) -> None:
    fields: dict[str, Check] = {"participant_group_id": words, "body": words, "study_id": words}
    asked = read(body, fields, ["participant_group_id", "body"])
    group = groups.find(world, asked["participant_group_id"])
    _post(world, group.members, asked["body"], asked.get("study_id"))


def _post(world: World, recipients: Iterable[str], body: str, study: str | None) -> None:
    if study is not None:
        world.study(study)
    for recipient in recipients:
        if recipient not in world.people:
            raise invalid({"recipient_id": [f"{recipient} is not known."]})
    for recipient in recipients:
        _keep(world, "researcher", recipient, body, study or "")
        world.effect("message", recipient, key=study or "")


def from_participant(world: World, participant: str, study: str, body: str) -> None:
    _keep(world, participant, "researcher", body, study)


def _keep(world: World, sender: str, recipient: str, body: str, study: str) -> None:
    message = Message(id=world.new_id(), sender=sender, recipient=recipient, body=body, study=study, sent_at=world.now)
    world.messages[message.id] = message


def listed(world: World, user_id: str | None, created_after: str | None) -> list[Message]:
    """Of one user, or after a time that is at most 30 days back."""
    if (user_id is None) == (created_after is None):
        raise invalid("Send one of user_id and created_after.")
    found = list(world.messages.values())
    if created_after is not None:
        try:
            since = moment(created_after)
        except (TypeError, ValueError):
            raise invalid({"created_after": ["Use ISO 8601 with a time zone."]}) from None
        if since < world.now - OLDEST_DAYS * DAY_S:
            raise invalid({"created_after": [f"At most {OLDEST_DAYS} days back."]})
        return [message for message in found if message.sent_at >= since]
    return [message for message in found if user_id in (message.sender, message.recipient)]


def unread(world: World) -> list[Message]:
    return [message for message in world.messages.values() if message.recipient == "researcher"]
