"""Routes of messages and webhooks."""

from __future__ import annotations

from crowdstack.fakes.prolific import hooks, messages, pages, views
from crowdstack.fakes.prolific.router import Answer, Call, flag, needed, route

# ------------------------------------------------------------------------------------------------ messages


@route("GET", "/messages/", "user_id", "created_after", "excluded_sender_ids", bare=True)
def get_messages(call: Call) -> Answer:
    found = messages.listed(call.world, call.query.get("user_id"), call.query.get("created_after"))
    return Answer(200, {"results": [views.message(each) for each in found]})


@route("GET", "/messages/unread/", bare=True)
def get_messages_unread(call: Call) -> Answer:
    return Answer(200, {"results": [views.unread_message(each) for each in messages.unread(call.world)]})


@route("POST", "/messages/", body=True, bare=True)
def post_messages(call: Call) -> Answer:
    messages.send(call.world, call.body)
    return Answer(204)


@route("POST", "/messages/bulk/", body=True, bare=True)
def post_messages_bulk(call: Call) -> Answer:
    messages.send_bulk(call.world, call.body)
    return Answer(204)


@route("POST", "/messages/participant-group/", body=True, bare=True)
def post_messages_participant_group(call: Call) -> Answer:
    messages.send_group(call.world, call.body)
    return Answer(204)


# ------------------------------------------------------------------------------------------------ webhooks


@route("GET", "/hooks/event-types/")
def get_hooks_event_types(call: Call) -> Answer:
    found = [{"event_type": name, "description": text} for name, text in hooks.EVENT_TYPES.items()]
    return Answer(200, {"results": found})


@route("GET", "/hooks/secrets/", "workspace_id")
def get_hooks_secrets(call: Call) -> Answer:
    found = hooks.secret_of(call.world, call.world.workspace(needed(call, "workspace_id")).id)
    return Answer(200, {"results": [views.secret(found)] if found else []})


@route("POST", "/hooks/secrets/", body=True)
def post_hooks_secrets(call: Call) -> Answer:
    return Answer(201, views.secret(hooks.create_secret(call.world, call.body)))


@route("GET", "/hooks/subscriptions/", "is_enabled", "workspace_id")
def get_hooks_subscriptions(call: Call) -> Answer:
    enabled = flag(call, "is_enabled")
    found = [
        views.subscription(each)
        for each in call.world.subscriptions.values()
        if enabled in (None, each.enabled) and call.query.get("workspace_id") in (None, each.workspace)
    ]
    return Answer(200, {"results": found})


@route("POST", "/hooks/subscriptions/", body=True)
def post_hooks_subscriptions(call: Call) -> Answer:
    made = hooks.subscribe(call.world, call.body)
    return Answer(201, views.subscription(made), {"X-Hook-Secret": made.secret})


@route("GET", "/hooks/subscriptions/{subscription_id}/")
def get_hooks_subscriptions_by_id(call: Call) -> Answer:
    return Answer(200, views.subscription(hooks.find(call.world, call.key)))


@route("POST", "/hooks/subscriptions/{subscription_id}/", body=True)
def post_hooks_subscriptions_by_id(call: Call) -> Answer:
    return Answer(200, views.subscription(hooks.confirm(call.world, hooks.find(call.world, call.key), call.body)))


@route("PATCH", "/hooks/subscriptions/{subscription_id}/", body=True)
def patch_hooks_subscriptions_by_id(call: Call) -> Answer:
    return Answer(200, views.subscription(hooks.patch(call.world, hooks.find(call.world, call.key), call.body)))


@route("DELETE", "/hooks/subscriptions/{subscription_id}/")
def delete_hooks_subscriptions_by_id(call: Call) -> Answer:
    hooks.delete(call.world, hooks.find(call.world, call.key))
    return Answer(204)


@route("GET", "/hooks/subscriptions/{subscription_id}/events/", "offset", "limit", "status", "resource_id")
def get_hooks_subscriptions_events(call: Call) -> Answer:
    subscription = hooks.find(call.world, call.key)
    found = [
        views.event(call.world, each)
        for each in call.world.events.values()
        if each.subscription == subscription.id
        and call.query.get("status") in (None, each.status)
        and call.query.get("resource_id") in (None, each.payload["resource_id"])
    ]
    return Answer(200, pages.offset(found, call.url, call.query, default=100))
