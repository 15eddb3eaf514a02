"""A notice board as a provider: a study is a notice with a link, and whoever looks after the board pays from a cash box.

The whole service is one JSON file: notices, and what was paid. It cannot tell who came, so the task server counts places.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crowdstack.errors import Refused
from crowdstack.model import Admission, Money, Study, StudyKey, StudyState, VisitId, WorkerId
from crowdstack.plugin import Claims, Ending, Finish, Opening, ProviderPlugin
from crowdstack.ports import GroupChange, HookKey, Listing

SETTINGS = {
    "type": "object",
    "properties": {
        "room": {"type": "string", "pattern": "^[A-Z][0-9]{1,3}$"},
        "cash": {"type": "string", "description": "What is in the box, like 20.00 USD; without it, enough."},
    },
    "required": ["room"],
    "additionalProperties": False,
}


class Board:
    """crowdstack.ports.Provider. Every verb reads the file, changes it in one step, and may be repeated."""

    def __init__(self, file: Path, opening: Opening) -> None:
        self._file, self._page = file, opening.page
        cash = opening.settings.get("cash")
        self._cash = None if cash is None else Money.parse(cash)

    # ---------------------------------------------------------------------------------------- studies

    def fetch_study(self, key: StudyKey) -> Study | None:
        notice = self._read().get(key)
        return None if notice is None else _study(key, notice)

    def open_study(self, key: StudyKey, *, places: int, reward: Money, title: str) -> Study:
        notices = self._read()
        if key not in notices:  # the same key again: the study that is there
            notices[key] = {
                "title": title,
                "link": self._page(key),
                "places": places,
                "reward": str(reward),
                "state": StudyState.OPEN.value,
                "settled": {},  # visit -> [worker, "paid" or "rejected"]
                "bonuses": {},  # its name -> [visit, amount]
            }
            self._write(notices)
        return _study(key, notices[key])

    def raise_places(self, key: StudyKey, to: int) -> Study:
        notices, notice = self._known(key)
        if to > notice["places"]:  # a total, never fewer than before
            self._check_not_closed(key, notice)
            notice["places"] = to
            self._write(notices)
        return _study(key, notice)

    def set_state(self, key: StudyKey, state: StudyState) -> Study:
        notices, notice = self._known(key)
        if state.value != notice["state"]:
            self._check_not_closed(key, notice)
            notice["state"] = state.value
            self._write(notices)
        return _study(key, notice)

    def drift(self, key: StudyKey, *, reward: Money, title: str) -> tuple[str, ...]:
        notice = self._read().get(key)
        if notice is None or notice["title"] == title:
            return ()
        return (f"title: {notice['title']} there, {title} in the spec",)

    # ---------------------------------------------------------------------------------------- visits

    def fetch_visits(self, key: StudyKey) -> Listing | None:
        return None  # a board does not know who came

    def send_message(self, key: StudyKey, worker: WorkerId, *, message: str, text: str) -> None:
        raise Refused("a board knows nobody's address")

    def set_workers(self, key: StudyKey, admission: Admission) -> None:
        """Everybody reads the board; the task server turns away whom it must."""

    def group_changes(self, key: StudyKey, admission: Admission) -> tuple[GroupChange, ...]:
        return ()

    def watch(self, key: StudyKey, at: str) -> HookKey | None:
        return None  # nor does it call anybody when something changes

    def unwatch(self, key: StudyKey, at: str) -> None:
        pass

    def hint(self, key: StudyKey) -> None:
        pass  # every look is a new one

    def ask_return(self, key: StudyKey, submission: str, reason: str) -> None:
        raise Refused("nobody can be asked by a board")

    def approve(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None = None) -> None:
        self._settle(key, visit, worker, "paid")

    def reject(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, reason: str, submission: str | None = None
    ) -> None:
        self._settle(key, visit, worker, "rejected")

    def _settle(self, key: StudyKey, visit: VisitId, worker: WorkerId, how: str) -> None:
        notices, notice = self._known(key)
        settled = notice["settled"]
        if visit in settled:
            if settled[visit] != [worker, how]:
                raise Refused(f"visit {visit} is settled: {settled[visit][0]} was {settled[visit][1]}")
            return  # once, however often it is asked
        if how == "paid":
            if sum(other[1] == "paid" for other in settled.values()) >= notice["places"]:
                raise Refused(f"all {notice['places']} places of {key} are paid")
            self._check_cash(notices, Money.parse(notice["reward"]))
        settled[visit] = [worker, how]
        self._write(notices)

    # ---------------------------------------------------------------------------------------- money

    def gross(self, reward: Money) -> Money:
        return reward  # the board takes no fee

    def pay_bonus(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None, *, payment: str, net: Money
    ) -> None:
        notices, notice = self._known(key)
        if visit not in notice["settled"]:
            raise Refused(f"visit {visit} is not settled yet")
        if payment not in notice["bonuses"]:
            self._check_cash(notices, net)
            notice["bonuses"][payment] = [visit, str(net)]
            self._write(notices)

    def spent(self) -> Money | None:
        return _spent(self._read())

    def _check_cash(self, notices: Mapping[str, Any], more: Money) -> None:
        spent = _spent(notices)
        if self._cash is not None and spent is not None and spent + more > self._cash:
            raise Refused(f"{more} are not in the box: {spent} of {self._cash} are spent")

    # ---------------------------------------------------------------------------------------- the file

    def _known(self, key: StudyKey) -> tuple[dict[str, Any], dict[str, Any]]:
        notices = self._read()
        if key not in notices:
            raise Refused(f"there is no notice {key} on the board")
        return notices, notices[key]

    def _check_not_closed(self, key: StudyKey, notice: Mapping[str, Any]) -> None:
        if notice["state"] == StudyState.CLOSED.value:
            raise Refused(f"notice {key} was taken down for good")

    def _read(self) -> dict[str, Any]:
        try:
            notices: dict[str, Any] = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        return notices

    def _write(self, notices: Mapping[str, Any]) -> None:
        """On disk, whole or not at all, when it returns: what was paid must not be forgotten."""
        beside = self._file.with_suffix(".new")
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(notices, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self._file)


def _study(key: StudyKey, notice: Mapping[str, Any]) -> Study:
    return Study(
        id=f"notice-{key}",
        key=key,
        places=notice["places"],
        state=StudyState(notice["state"]),
        reward=Money.parse(notice["reward"]),
    )


def _spent(notices: Mapping[str, Any]) -> Money | None:
    spent = None
    for notice in notices.values():
        reward = Money.parse(notice["reward"])
        paid = reward * sum(how == "paid" for _, how in notice["settled"].values())
        paid = sum((Money.parse(amount) for _, amount in notice["bonuses"].values()), start=paid)
        spent = paid if spent is None else spent + paid
    return spent


def _finish(settings: Mapping[str, Any]) -> Finish:
    return Finish(answered=Ending(code=f"BOX-{settings['room']}"))  # to be shown to whoever has the box


PLUGIN = ProviderPlugin(
    open=lambda opening: Board(opening.folder / "board.json", opening),
    settings=SETTINGS,
    claims=lambda settings: Claims(worker="name", submission="ticket"),
    finish=_finish,
)
