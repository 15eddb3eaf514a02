"""Webhooks: having Prolific tell of changes, so that they are looked at soon. A part of the adapter."""

from __future__ import annotations

from crowdstack.model import StudyKey
from crowdstack.ports import HookKey
from crowdstack.providers.prolific.faults import ApiRefused
from crowdstack.providers.prolific.sight import Sight

_EVENTS = ("study.status.change", "submission.status.change")
_TIME, _SIGNATURE = "X-Prolific-Request-Timestamp", "X-Prolific-Request-Signature"


class Watching(Sight):
    def watch(self, key: StudyKey, at: str) -> HookKey | None:
        """The workspace's secret is taken as it is: a new one would make strangers of everybody else's hooks. A subscription
        that was not noted may not have been confirmed, and then tells nothing: it is made anew."""
        if not self._settings.get("webhooks"):
            return None
        secret = next(iter(self._api.list_hook_secrets()), None) or self._api.create_hook_secret()
        notes, missing = self._notes(key), set(_EVENTS)
        for found in self._api.list_subscriptions():
            noted = notes.get(f"hook:{found.event}") == found.id
            if noted and found.url == at:
                missing.discard(found.event)
            elif noted or found.url == at:
                self._unsubscribe(found.id)
        for event in sorted(missing):
            notes.put(f"hook:{event}", self._api.subscribe(event, at).id)
        return HookKey(secret=secret.value, event="X-Event-ID", timestamp=_TIME, signature=_SIGNATURE)

    def unwatch(self, key: StudyKey, at: str) -> None:
        if not self._settings.get("webhooks"):
            return
        noted = {self._notes(key).get(f"hook:{event}") for event in _EVENTS}
        for enabled in (True, False):  # Prolific stops what failed for days
            for found in self._api.list_subscriptions(enabled=enabled):
                if found.id in noted or found.url == at:
                    self._unsubscribe(found.id)

    def _unsubscribe(self, subscription: str) -> None:
        try:
            self._api.unsubscribe(subscription)
        except ApiRefused as fault:
            if fault.status != 404:  # somebody was faster
                raise
