"""Messages to participants. A part of the adapter.

Sending twice is read twice, and no answer says what a message's id is. So how many like it had been sent is noted first, and
from then on only what Prolific shows is believed (`payments` does the same).
"""

from __future__ import annotations

from crowdstack.errors import Busy, Refused, Unclear
from crowdstack.model import StudyKey, WorkerId
from crowdstack.providers.prolific.sight import Sight

_SENT = "sent"


class Messages(Sight):
    def send_message(self, key: StudyKey, worker: WorkerId, *, message: str, text: str) -> None:
        study = self._id(key)
        if study is None:
            raise Refused(f"no study {key} is listed at Prolific: there is nothing to write about")
        notes, name = self._notes(key), f"message:{message}"
        before = notes.get(name)
        if before == _SENT:
            return
        if not before:
            notes.put(name, str(self._like(study, worker, text)))
            try:
                self._api.send_message(worker, text, study=study)
            except Unclear:
                raise
            except (Busy, Refused):  # it was not sent: it may be sent again
                notes.put(name, "")
                raise
        elif self._like(study, worker, text) <= int(before):
            raise Unclear(
                f"message {message} to {worker} was perhaps sent and is not shown yet",
                hint="if it stays so, look at the messages on Prolific's site; it is not sent again",
            )
        notes.put(name, _SENT)

    def _like(self, study: str, worker: WorkerId, text: str) -> int:
        """How many of ours to this participant, about this study, say the same. Not every answer says what it is about."""
        return sum(
            found.text.strip() == text.strip() and found.study in (study, None)
            for found in self._api.list_messages(worker)
            if found.sender != worker
        )
