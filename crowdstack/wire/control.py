"""Frames of the control socket, bodies of the inbox's events, and the chain over them (docs/protocol.md)."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import UnionType
from typing import Any, get_args, get_type_hints

from crowdstack.model import Arrived, Assigned, Drained, Ended, Event, EventBody, EventKind, Left, LeftReason, Submitted
from crowdstack.wire.frames import Frames, Id, Payload
from crowdstack.wire.text import Bounds, FrameError, canonical, parse

BOUNDS = Bounds(4 * 1024 * 1024, nodes=200_000)
WINDOW_EVENTS, WINDOW_BYTES = 500, 1024 * 1024  # at most this much is under way unacknowledged

# ------------------------------------------------------------------------------------------------ frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """The client's proof; `term` 0 asks for a new term."""

    nonce: Id
    client: Id
    term: int
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Go on after `after`; 0 stands for the beginning of the epoch."""

    inbox: str
    epoch: int
    after: int
    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEpoch:
    """Start `epoch` above `above` and tell everything again."""

    id: Id
    epoch: int
    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Everything up to `seq` is stored."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Everything up to `seq` may be deleted."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemData:
    item: str
    data: Payload
    done_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPut:
    unit: Id
    item: str
    attempt: int
    offered_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Units that may be worked on, and units that may not any more. A repeat changes nothing."""

    id: Id
    items: tuple[ItemData, ...]
    put: tuple[UnitPut, ...]
    drop: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """All workers who are to get nothing."""

    id: Id
    blocked: tuple[str, ...]
    allowed: tuple[str, ...] | None = None  # these alone; None: everybody who is not blocked


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """How many visits of the study may be admitted in all. `state`: open, paused or closed."""

    id: Id
    study: str
    places: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPut:
    """The provider's word on who came in a visit. `claim`: verified or refuted."""

    visit: Id
    claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Visits that are real, and visits that are not. A repeat changes nothing."""

    id: Id
    put: tuple[ClaimPut, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Give out nothing more; `now` ends all holds."""

    id: Id
    now: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Take the provider's hooks that are signed with `secret` (base64url). The rest are names of headers. Kept in memory only."""

    id: Id
    secret: str = field(repr=False)
    event: str
    timestamp: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Keeps the lease."""

    id: Id


FromClient = Auth | Resume | NewEpoch | Ack | Release | Units | Workers | Open | Claims | Drain | Hooks | Renew


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    nonce: Id
    inbox: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The server's proof, and the term under which the client now has the lease."""

    term: int
    lease_s: float
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Another client has the lease."""

    remaining_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """Somebody with a newer term came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Events after `after` follow; `seq` is the last one there is."""

    inbox: str
    epoch: int
    after: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressed:
    """This inbox does not continue what the client holds."""

    inbox: str
    epoch: int
    have: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    seq: int
    salt: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Consecutive entries; `again`: they had been told in an earlier epoch."""

    again: bool
    events: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A hook came, or several: the provider has news. Told once a second at most, to who gave the key on this connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The frame with this id is durable (`hooks`: is gone by). After a new epoch: also where it starts."""

    of: Id
    inbox: str | None = None
    epoch: int | None = None
    seq: int | None = None
    chain: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """The frame with this id was not kept: send it again after `retry_s`."""

    of: Id
    retry_s: float


FromServer = Challenge | Welcome | Held | Fenced | Resumed | Regressed | Events | Look | Applied | Busy

FROM_CLIENT: Frames[FromClient] = Frames(
    {
        "auth": Auth,
        "resume": Resume,
        "epoch": NewEpoch,
        "ack": Ack,
        "release": Release,
        "units": Units,
        "workers": Workers,
        "open": Open,
        "claims": Claims,
        "drain": Drain,
        "hooks": Hooks,
        "renew": Renew,
    }
)
FROM_SERVER: Frames[FromServer] = Frames(
    {
        "challenge": Challenge,
        "welcome": Welcome,
        "held": Held,
        "fenced": Fenced,
        "resumed": Resumed,
        "regressed": Regressed,
        "events": Events,
        "look": Look,
        "applied": Applied,
        "busy": Busy,
    }
)

# ------------------------------------------------------------------------------------------------ events

_BODIES: dict[EventKind, type[EventBody]] = {
    EventKind.ARRIVED: Arrived,
    EventKind.ASSIGNED: Assigned,
    EventKind.SUBMITTED: Submitted,
    EventKind.LATE: Submitted,
    EventKind.RETURNED: Ended,
    EventKind.EXPIRED: Ended,
    EventKind.LEFT: Left,
    EventKind.DRAINED: Drained,
}
_FIELDS = {cls: tuple(field.name for field in dataclasses.fields(cls)) for cls in set(_BODIES.values())}
_BODY_BOUNDS = Bounds(1024 * 1024, nodes=20_100, depth=34)  # what the worker's side lets in, with our own fields around


def event_text(at: datetime, kind: EventKind, body: EventBody) -> str:
    """The canonical text of an event, as the inbox keeps it and the chain covers it."""
    fields = {name: getattr(body, name) for name in _FIELDS[type(body)]}
    return canonical({"at": _time_text(at), "kind": kind.value, **fields})


def told_again(text: str, receipt: int) -> str:
    """The text of an event in a new epoch: the same, with the receipt of its first life."""
    data = parse(text, _BODY_BOUNDS)
    return canonical({"receipt": receipt, **data})


def parse_event(seq: int, text: str) -> Event:
    """An event from its text; FrameError when it cannot be understood."""
    data = parse(text, _BODY_BOUNDS)
    try:
        kind = EventKind(data.pop("kind"))
        at = _time(data.pop("at"))
        receipt = int(data.pop("receipt", seq))
        if kind is EventKind.LEFT:
            data["reason"] = LeftReason(data["reason"])
        cls = _BODIES[kind]
        for name, wanted in _BASIC[cls].items():
            if not isinstance(data.get(name), wanted):
                raise FrameError(f"event {seq}: `{name}` is not what it should be")
        return Event(seq=seq, at=at, kind=kind, body=cls(**data), receipt=receipt)
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise FrameError(f"event {seq} cannot be understood: {fault}") from None


def _time_text(at: datetime) -> str:
    return at.astimezone(timezone.utc).isoformat(timespec="microseconds")[:26] + "Z"


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text[:26]).replace(tzinfo=timezone.utc)
    if _time_text(at) != text:
        raise ValueError("a time that is not in UTC, to the microsecond")
    return at


def _basic(hint: Any) -> type | tuple[type, ...]:
    if isinstance(hint, UnionType):
        return tuple(_basic(each) for each in get_args(hint))  # type: ignore[misc]
    plain = getattr(hint, "__supertype__", hint)  # NewType
    if plain is float:
        return (int, float)
    return plain if isinstance(plain, type) else dict


_BASIC = {cls: {name: _basic(hint) for name, hint in get_type_hints(cls).items()} for cls in set(_BODIES.values())}

# ------------------------------------------------------------------------------------------------ chain


def chain_start(inbox: str, epoch: int) -> str:
    return hashlib.sha256((inbox if epoch == 1 else f"{inbox}/{epoch}").encode()).hexdigest()


def chain_next(chain: str, seq: int, salt: bytes, body: str) -> str:
    """The link after `chain`: nobody can change, drop or swap an entry and end with the same one."""
    content = hashlib.sha256(salt + body.encode()).digest()
    return hashlib.sha256(bytes.fromhex(chain) + seq.to_bytes(8, "big") + content).hexdigest()
