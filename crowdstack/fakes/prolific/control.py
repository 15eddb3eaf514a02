"""`/_fake/...`: the verbs of time, of participants and of a person at the web page, for tests that have but HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from crowdstack.fakes.prolific.fake import FakeProlific
from crowdstack.fakes.prolific.records import Record
from crowdstack.fakes.prolific.refusal import Refusal, invalid
from crowdstack.fakes.prolific.shape import Check, integer, many, number, optional, read, text, words


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "An object is required."


def handle(fake: FakeProlific, requests: Counter[str], name: str, query: dict[str, str], body: Any) -> Any:
    """The answer's body. `name`: method and path."""
    reads: dict[str, Callable[[], Any]] = {
        "GET /_fake/effects": lambda: [_plain(effect) for effect in fake.effects()],
        "GET /_fake/wallet": lambda: {
            "balance": fake.balance(), "available": fake.available(), "currency": fake.workspace.currency,
            "lines": [_plain(line) | {"total": line.total} for line in fake.wallet_lines()],
        },
        "GET /_fake/transitions": lambda: [[*move, count] for move, count in fake.taken().items()],
        "GET /_fake/requests": lambda: dict(requests),
        "GET /_fake/clock": lambda: {"now": fake.now},
        "GET /_fake/submissions": lambda: [
            _plain(found) for found in fake.submissions_of(query.get("participant", ""))
        ],
        "GET /_fake/open-studies": lambda: [study.id for study in fake.open_studies(query.get("participant", ""))],
    }  # fmt: skip
    if name in reads:
        return reads[name]()
    if name not in _VERBS:
        raise Refusal(404, "Not found", f"There is no {name}; there are {', '.join([*reads, *_VERBS])}.")
    shape, required, verb = _VERBS[name]
    try:
        return verb(fake, **read(body, shape, required))
    except ValueError as fault:
        raise invalid(str(fault)) from fault


def _plain(record: Record) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _advance(fake: FakeProlific, seconds: float) -> Any:
    fake.world.meta.offset += seconds
    fake.advance(seconds)
    return {"now": fake.now}


def _faults(fake: FakeProlific, rates: dict[str, float]) -> Any:
    fake.world.faults.set(rates)
    return dict(rates)


def _force(fake: FakeProlific, kind: str, method: str = "", path: str = "", times: int = 1) -> Any:
    fake.world.faults.force(kind, method=method, path=path, times=times)
    return {}


def _person(fake: FakeProlific, participant: str, attributes: dict[str, Any]) -> Any:
    fake.add_person(participant, **attributes)
    return {}


def _reserve(fake: FakeProlific, study: str, participant: str) -> Any:
    return {"submission": fake.reserve(study, participant).id}


def _complete(fake: FakeProlific, submission: str, code: str | None = None) -> Any:
    fake.complete(submission, code)
    return {}


def _return(fake: FakeProlific, submission: str) -> Any:
    fake.give_back(submission)
    return {}


def _say(fake: FakeProlific, participant: str, study: str, body: str) -> Any:
    fake.say(participant, study, body)
    return {}


def _edit(fake: FakeProlific, study: str, fields: dict[str, Any]) -> Any:
    return fake.edit_by_hand(study, **fields).fields


def _group(fake: FakeProlific, group: str, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> Any:
    fake.change_group(group, add=tuple(add), remove=tuple(remove))
    return {}


def _token(fake: FakeProlific, token: str) -> Any:
    """The researcher's token from now on: whoever has the old one is out."""
    fake.world.meta.token = token
    return {}


_SUBMISSION: dict[str, Check] = {"submission": words}
_VERBS: dict[str, tuple[dict[str, Check], list[str], Callable[..., Any]]] = {
    "POST /_fake/advance": ({"seconds": number(0, 1e9)}, ["seconds"], _advance),
    "POST /_fake/faults": ({"rates": _object}, ["rates"], _faults),
    "POST /_fake/faults/force": (
        {"kind": words, "method": text, "path": text, "times": integer(1)}, ["kind"], _force,
    ),
    "POST /_fake/people": ({"participant": words, "attributes": _object}, ["participant", "attributes"], _person),
    "POST /_fake/reserve": ({"study": words, "participant": words}, ["study", "participant"], _reserve),
    "POST /_fake/start": (_SUBMISSION, ["submission"], lambda fake, submission: {"url": fake.start(submission)}),
    "POST /_fake/return": (_SUBMISSION, ["submission"], _return),
    "POST /_fake/complete": (_SUBMISSION | {"code": optional(text)}, ["submission"], _complete),
    "POST /_fake/say": (
        {"participant": words, "study": words, "body": words}, ["participant", "study", "body"],
        _say,
    ),
    "POST /_fake/hand": (
        {"study": words, "action": words}, ["study", "action"],
        lambda fake, study, action: {"status": fake.by_hand(study, action).status},
    ),
    "POST /_fake/edit": ({"study": words, "fields": _object}, ["study", "fields"], _edit),
    "POST /_fake/top-up": (
        {"minor": integer(), "workspace": optional(text)}, ["minor"],
        lambda fake, minor, workspace=None: {"balance": fake.top_up(minor, workspace)},
    ),
    "POST /_fake/groups": ({"group": words, "add": many(words), "remove": many(words)}, ["group"], _group),
    "POST /_fake/token": ({"token": words}, ["token"], _token),
}  # fmt: skip
