"""Panel: whoever sends people to a task without knowing us. A worker takes a place, is told the page's address, and hands in.

A port and two adapters: a fake of a service, by its control routes, and a link that everybody has. Every verb may be
repeated, and `places` tells after a crash what a worker has taken: the panel's books say it, not ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError

from crowdstack.crowd.journal import Journal
from crowdstack.crowd.journal import Place as Noted
from crowdstack.errors import Refused
from crowdstack.model import WorkerId
from crowdstack.wire.configs import PanelConfig


class PlaceState(str, Enum):
    """How a place stands for its worker."""

    TAKEN = "taken"  # reserved, or at work: to be gone on with
    HANDED_IN = "handed_in"
    ASKED_BACK = "asked_back"  # handed in, and the worker was asked to return it
    GONE = "gone"  # returned, timed out: nothing of it counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    id: str
    state: PlaceState


class Unreachable(Exception):
    """The panel does not answer now."""


class Panel(Protocol):
    @property
    def tells(self) -> bool:
        """Whether the researcher hears of places that are gone, so that answers on them do not count."""

    async def places(self, worker: WorkerId) -> list[Place]:
        """All that the worker ever took, in this order."""

    async def reserve(self, worker: WorkerId) -> Place | None:
        """One more place; None while there is none for this worker."""

    async def start(self, worker: WorkerId, place: Place) -> str | None:
        """The address that the worker's browser is sent to; the same again while it is at work. None: the place is gone."""

    async def complete(self, worker: WorkerId, place: Place, completion: Mapping[str, str] | None) -> bool:
        """Hand in with what the page said at its end, or with nothing; whether it was taken."""

    async def give_back(self, worker: WorkerId, place: Place) -> None:
        """Return the place. Of one that is gone nothing happens."""

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------- a fake's people

_STATES = {
    "RESERVED": PlaceState.TAKEN,
    "ACTIVE": PlaceState.TAKEN,
    "TIMED-OUT": PlaceState.GONE,
    "RETURNED": PlaceState.GONE,
}


class FakePanel:
    """Participants of a fake service (crowdstack.fakes.prolific.control)."""

    tells = True

    def __init__(self, config: PanelConfig, *, connections: int) -> None:
        self._origin, self._token = config.url, config.token
        self._http = AsyncHTTPClient(force_instance=True, max_clients=connections)

    async def places(self, worker: WorkerId) -> list[Place]:
        found = await self._ask("GET", f"submissions?{urlencode({'participant': worker})}")
        return [Place(id=told["id"], state=_state(told)) for told in found]

    async def reserve(self, worker: WorkerId) -> Place | None:
        studies = await self._ask("GET", f"open-studies?{urlencode({'participant': worker})}")
        for study in studies or ():
            taken = await self._ask("POST", "reserve", {"study": study, "participant": worker})
            if taken is not None:  # somebody else was faster
                return Place(id=taken["submission"], state=PlaceState.TAKEN)
        return None

    async def start(self, worker: WorkerId, place: Place) -> str | None:
        told = await self._ask("POST", "start", {"submission": place.id})
        return None if told is None else str(told["url"])

    async def complete(self, worker: WorkerId, place: Place, completion: Mapping[str, str] | None) -> bool:
        code = _code(completion) if completion is not None else None
        return await self._ask("POST", "complete", {"submission": place.id, "code": code}) is not None

    async def give_back(self, worker: WorkerId, place: Place) -> None:
        await self._ask("POST", "return", {"submission": place.id})

    def close(self) -> None:
        self._http.close()

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer; None for a no. Unreachable when there is none."""
        request = HTTPRequest(
            f"{self._origin}/_fake/{path}",
            method=method,
            headers={"Authorization": f"Token {self._token.decode()}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            request_timeout=30,
        )
        try:
            answer = await self._http.fetch(request, raise_error=False)
        except (OSError, HTTPClientError, StreamClosedError) as fault:
            raise Unreachable(str(fault)) from fault
        if answer.code == 599 or answer.code >= 500:
            raise Unreachable(f"the panel answers {answer.code}")
        if answer.code in (401, 404, 405):
            raise Refused(f"the fake's control routes answer {answer.code}", where=self._origin, why=str(answer.body))
        return json.loads(answer.body) if answer.code == 200 else None


def _state(told: Mapping[str, Any]) -> PlaceState:
    state = _STATES.get(told["status"], PlaceState.HANDED_IN)
    if told["handed_in"] and state is PlaceState.TAKEN:  # the redirect came, and does not show yet
        return PlaceState.HANDED_IN
    asked = told["status"] == "AWAITING REVIEW" and told["return_requested"]
    return PlaceState.ASKED_BACK if asked else state


def _code(completion: Mapping[str, str]) -> str | None:
    """As the page shows it, else as the address holds it that people are sent to."""
    by_address = dict(parse_qsl(urlsplit(completion.get("url", "")).query)).get("cc")
    return completion.get("code") or by_address


# ---------------------------------------------------------------------------------------------------- one link for all


class LinkPanel:
    """Everybody has the link, with ids of their own in it; what became of a place only the worker knows, so the journal."""

    tells = False

    def __init__(self, config: PanelConfig, journal: Journal) -> None:
        self._config, self._journal = config, journal

    async def places(self, worker: WorkerId) -> list[Place]:
        return [Place(id=noted.place, state=PlaceState(noted.state)) for noted in self._journal.places(worker)]

    async def reserve(self, worker: WorkerId) -> Place | None:
        number = len(self._journal.places(worker)) + 1
        place = Place(id=f"{worker}-{number}", state=PlaceState.TAKEN)
        await self._note(worker, place)
        return place

    async def start(self, worker: WorkerId, place: Place) -> str | None:
        parts = urlsplit(self._config.url)
        ids = {self._config.worker: worker, self._config.submission: place.id}
        query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in ids]
        return urlunsplit(parts._replace(query=urlencode([*query, *ids.items()])))

    async def complete(self, worker: WorkerId, place: Place, completion: Mapping[str, str] | None) -> bool:
        code = completion.get("code") or completion.get("url") if completion is not None else None
        await self._note(worker, replace(place, state=PlaceState.HANDED_IN), code)
        return True

    async def give_back(self, worker: WorkerId, place: Place) -> None:
        await self._note(worker, replace(place, state=PlaceState.GONE))

    def close(self) -> None:
        pass

    async def _note(self, worker: WorkerId, place: Place, code: str | None = None) -> None:
        self._journal.note_place(Noted(worker=worker, place=place.id, state=place.state.value, code=code))
        await self._journal.durable()


def open_panel(config: PanelConfig, journal: Journal, *, connections: int) -> Panel:
    if config.kind == "link":
        return LinkPanel(config, journal)
    return FakePanel(config, connections=connections)
