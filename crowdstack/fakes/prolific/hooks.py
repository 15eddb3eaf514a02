"""Webhooks: secrets, subscriptions, signed deliveries; at least once, out of order, and at times not at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from crowdstack.fakes.prolific.records import HookEvent, Secret, Study, Subscription
from crowdstack.fakes.prolific.refusal import invalid, unknown
from crowdstack.fakes.prolific.settings import DAY_S
from crowdstack.fakes.prolific.shape import Check, choice, flag, read, url, words
from crowdstack.fakes.prolific.world import Delivery, World

EVENT_TYPES = {
    "study.status.change": "A study changed its status.",
    "submission.status.change": "A submission changed its status.",
    "study.progress.change": "A submission of a study was handed in.",
    "study.has_high_return_rate": "Many participants return a study.",
}


# ------------------------------------------------------------------------------------------------ the researcher


def create_secret(world: World, body: Any) -> Secret:
    """One per workspace: a new one takes the place of the old."""
    workspace = world.workspace(read(body, {"workspace_id": words}, ["workspace_id"])["workspace_id"])
    for old in [secret for secret in world.secrets.values() if secret.workspace == workspace.id]:
        del world.secrets[old.id]
        world.removed.append(("secrets", old.id))
    secret = Secret(id=world.new_id(), value=_token(world), workspace=workspace.id)
    world.secrets[secret.id] = secret
    world.effect("create_secret", workspace.id)
    return secret


def secret_of(world: World, workspace: str) -> Secret | None:
    return next((secret for secret in world.secrets.values() if secret.workspace == workspace), None)


def subscribe(world: World, body: Any) -> Subscription:
    """Nothing is delivered before it is confirmed with the secret of the answer's header."""
    fields: dict[str, Check] = {
        "workspace_id": words, "event_type": choice(*EVENT_TYPES), "target_url": url(world.settings.refuse_local_urls),
    }  # fmt: skip
    asked = read(body, fields, list(fields))
    workspace = world.workspace(asked["workspace_id"])
    if secret_of(world, workspace.id) is None:
        raise invalid("Create a secret for the workspace first.")
    subscription = Subscription(
        id=world.new_id(), workspace=workspace.id, event_type=asked["event_type"], target_url=asked["target_url"],
        secret=_token(world),
    )  # fmt: skip
    world.subscriptions[subscription.id] = subscription
    world.effect("subscribe", subscription.id, key=subscription.event_type)
    return subscription


def _token(world: World) -> str:
    return world.new_id() + world.new_id()[:8]


def find(world: World, key: str) -> Subscription:
    if key not in world.subscriptions:
        raise unknown("subscription", key)
    return world.subscriptions[key]


def confirm(world: World, subscription: Subscription, body: Any) -> Subscription:
    asked = read(body, {"secret": words}, ["secret"])
    if not hmac.compare_digest(asked["secret"], subscription.secret):
        raise invalid({"secret": ["This is not the secret of the subscription."]})
    subscription.confirmed = True
    world.effect("confirm_subscription", subscription.id)
    return subscription


def patch(world: World, subscription: Subscription, body: Any) -> Subscription:
    fields: dict[str, Check] = {
        "event_type": choice(*EVENT_TYPES), "target_url": url(world.settings.refuse_local_urls), "is_enabled": flag,
    }  # fmt: skip
    asked = read(body, fields)
    subscription.event_type = asked.get("event_type", subscription.event_type)
    subscription.target_url = asked.get("target_url", subscription.target_url)
    subscription.enabled = asked.get("is_enabled", subscription.enabled)
    if asked.get("is_enabled"):
        subscription.failing_since = None
    world.effect("patch_subscription", subscription.id)
    return subscription


def delete(world: World, subscription: Subscription) -> None:
    del world.subscriptions[subscription.id]
    world.removed.append(("subscriptions", subscription.id))
    world.effect("delete_subscription", subscription.id)


# ------------------------------------------------------------------------------------------------ events


def when_study_moved(world: World, key: str, args: dict[str, Any]) -> None:
    study = world.studies[key]
    payload = {"resource_id": key, "status": study.status.value, "metadata": study.fields["metadata"]}
    _emit(world, study, "study.status.change", payload)


def when_submission_moved(world: World, key: str, args: dict[str, Any]) -> None:
    submission = world.submissions[key]
    study = world.studies[submission.study]
    payload = {"resource_id": key, "participant_id": submission.participant, "status": submission.status.value}
    _emit(world, study, "submission.status.change", payload)
    if submission.handed_in:
        _emit(world, study, "study.progress.change", {"resource_id": study.id})


def when_returned_often(world: World, key: str, args: dict[str, Any]) -> None:
    study = world.studies[key]
    _emit(world, study, "study.has_high_return_rate", {"resource_id": key, "metadata": study.fields["metadata"]})


def _emit(world: World, study: Study, event_type: str, payload: dict[str, Any]) -> None:
    for subscription in world.subscriptions.values():
        wanted = subscription.confirmed and subscription.enabled and subscription.event_type == event_type
        if wanted and subscription.workspace == study.workspace:
            event = HookEvent(
                id=world.new_id(), subscription=subscription.id, payload={"event_type": event_type, **payload},
                created_at=world.now, updated_at=world.now,
            )  # fmt: skip
            world.events[event.id] = event
            world.later(world.faults.span_s("hook_late_s"), "deliver", event.id)


def when_delivered(world: World, key: str, args: dict[str, Any]) -> None:
    """Put a request into the outbox: once, twice, or not at all."""
    event = world.events[key]
    subscription = world.subscriptions.get(event.subscription)
    secret = secret_of(world, subscription.workspace) if subscription else None
    if subscription is None or secret is None or event.status != "PENDING":
        return
    if world.faults.chance("hook_lost"):
        event.status = "SUCCEEDED"  # somewhere, somebody said so
        return
    body = json.dumps(event.payload, separators=(",", ":")).encode()
    stamp = str(int(world.now))
    headers = {
        "Content-Type": "application/json",
        "X-Event-ID": event.id,
        "X-Timestamp": f"{event.created_at:.6f}",
        "X-Prolific-Request-Timestamp": stamp,
        "X-Prolific-Request-Signature": signature(secret.value, stamp, body),
    }
    delivery = Delivery(event.id, subscription.target_url, headers, body)
    world.outbox += [delivery] * (2 if world.faults.chance("hook_twice") else 1)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), timestamp.encode() + body, hashlib.sha256).digest()).decode()


def delivered(world: World, key: str, ok: bool) -> None:
    """What the receiver answered: a 2xx, or anything else, which is tried again with growing pauses within a day."""
    event = world.events[key]
    subscription = world.subscriptions.get(event.subscription)
    ok = ok and not world.faults.chance("hook_failed")
    event.attempts += 1
    event.updated_at = world.now
    if ok:
        event.status = "SUCCEEDED"
    elif event.status == "PENDING" and event.attempts <= world.settings.hook_retries:
        pause_s = DAY_S / 2 ** (world.settings.hook_retries + 1 - event.attempts)
        world.later(pause_s * (0.5 + world.faults.random.random() / 2), "deliver", event.id)
    elif event.status == "PENDING":
        event.status = "FAILED"
    if subscription is not None:
        subscription.failing_since = None if ok else subscription.failing_since or world.now
        if not ok and world.now - (subscription.failing_since or world.now) >= world.settings.hook_disabled_after_s:
            subscription.enabled = False


def requeue(world: World) -> None:
    """After a restart: what was under way is delivered again."""
    waiting = {later.subject for later in world.laters.values() if later.verb == "deliver"}
    for event in list(world.events.values()):
        if event.status == "PENDING" and event.id not in waiting:
            world.later(0, "deliver", event.id)
