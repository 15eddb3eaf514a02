"""What the server goes by, made ready: the configuration with its signers and the compiled schema of answers."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from jsonschema import ValidationError
from referencing.exceptions import Unresolvable

from crowdstack.errors import Refused
from crowdstack.model import Claim, LeftReason
from crowdstack.server.pool import Terms
from crowdstack.server.rows import Visit
from crowdstack.tokens import Signer, b64
from crowdstack.wire.answers import glance, validator
from crowdstack.wire.configs import ServerConfig
from crowdstack.wire.text import Bounds
from crowdstack.wire.worker import Fault

_SHOWN = 10  # faults told at once
_CLAIMED = re.compile(r"[A-Za-z0-9_.@+-]{1,128}")  # an id in a page's address
# What stands there when nobody came by it: placeholders, what scripts write for nothing, and what panels call a look.
_NOBODY = re.compile(r".*[{}<>%$\[\]].*|preview|assignment_id_not_available|undefined|null|none", re.I | re.S)


class Settings:
    """One state of server.json. Made anew on SIGHUP."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.frames = Bounds(config.limits.frame)
        self.links = Signer(config.keys["link"], "link")
        self.sessions = Signer(config.keys["session"], "session")
        self._validator = None if config.answers is None else _compiled(config.answers)
        self._fits = glance(config.answers)

    @property
    def terms(self) -> Terms:
        claims = self.config.claims
        return Terms(
            self.config.timeout_s, self.config.units_per_visit, self.config.max_units, claims is None or claims.listed
        )

    def at(self, port: int) -> Settings:
        """The same for the port that was found, when the configuration left it open (tests, in-process servers)."""
        config = self.config
        if config.port:
            return self
        return Settings(replace(config, port=port, origin=f"http://{config.host}:{port}"))

    def link(self, token: str, *, now: float) -> dict[str, Any] | None:
        """The claims of a link made for this run at this address, or None for every other one. Worker "*": for everybody."""
        claims = self.links.check(token, now=now)
        if claims is None or claims.get("run") != self.config.run or claims.get("origin") != self.config.origin:
            return None
        named = claims.get("worker"), claims.get("study")
        good = all(isinstance(name, str) and 0 < len(name) <= 256 for name in named)
        return claims if good and (named[0] != "*" or self.config.claims is not None) else None

    def visitor(self, params: Mapping[str, str], *, now: float) -> dict[str, Any] | None:
        """Who comes with these parameters of the page's address: the claims of the link, in one for everybody filled with
        the worker and submission that the others claim. None if anything about them is wrong."""
        claims = self.link(params.get("t", ""), now=now)
        named = self.config.claims
        if claims is None or claims["worker"] != "*" or named is None:
            return claims
        ids = params.get(named.worker, ""), params.get(named.submission, "")
        if not all(_CLAIMED.fullmatch(id_) and not _NOBODY.fullmatch(id_) for id_ in ids):
            return None
        return {**claims, "worker": ids[0], "submission": ids[1]}

    def names_nobody(self, params: Mapping[str, str], *, now: float) -> bool:
        """Whether this is a good link for everybody that a panel shows without somebody's ids in it."""
        claims, named = self.link(params.get("t", ""), now=now), self.config.claims
        if claims is None or claims["worker"] != "*" or named is None:
            return False
        return any(_NOBODY.fullmatch(params.get(name, "")) for name in (named.worker, named.submission))

    def completion(self, worker: str, submission: str | None, visit: Visit | None) -> dict[str, str]:
        """What a worker is given at the end of a visit, or instead of one."""
        told = {"message": self.config.completion}
        finish = self.config.finish
        if finish is None or (visit is not None and visit.left is LeftReason.REPLACED):
            return told  # what it is given belongs to the visit that came after
        real = visit is not None and visit.submissions and visit.claim is not Claim.REFUTED
        ending = finish.answered if real else finish.empty
        return {**told, **ending.to(worker, submission or "")}

    def session(self, token: str, *, now: float) -> dict[str, Any] | None:
        claims = self.sessions.check(token, now=now)
        return claims if claims is not None and claims["run"] == self.config.run else None

    def may_read_metrics(self, authorization: str) -> bool:
        wanted = "Bearer " + b64(self.config.keys["metrics"])
        return hmac.compare_digest(authorization.encode(), wanted.encode())

    def faults(self, answers: Mapping[str, Any]) -> tuple[Fault, ...]:
        """Where the answers do not fit their schema; nothing when they do."""
        if self._validator is None or self._fits(answers):
            return ()
        found = islice(self._validator.iter_errors(answers), _SHOWN)
        return tuple(_fault(error) for error in found)


def _compiled(schema: Mapping[str, Any]) -> Any:
    """A validator that fetches nothing: a reference out of the schema is refused here."""
    found: Any = validator(schema)
    resolver = found._resolver
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable as fault:
            raise Refused(f"the schema of `answers` refers to {reference!r}, which is not in it") from fault
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _fault(error: ValidationError) -> Fault:
    """Where and what, as a form shows it: the place of a missing field is the field."""
    if error.validator == "required":
        names: Any = error.validator_value
        missing = next(name for name in names if error.message.startswith(f"{name!r} "))
        return Fault(path=_pointer([*error.absolute_path, missing]), message="this needs an answer")
    return Fault(path=_pointer(error.absolute_path), message=error.message[:300])


def _pointer(path: Iterable[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
