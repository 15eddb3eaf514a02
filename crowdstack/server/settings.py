"""What the server goes by, made ready: the configuration with its signers and the compiled schema of answers."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators
from referencing import Registry
from referencing.exceptions import Unresolvable

from crowdstack.errors import Refused
from crowdstack.server.pool import Terms
from crowdstack.tokens import Signer, b64
from crowdstack.wire.configs import ServerConfig
from crowdstack.wire.text import Bounds
from crowdstack.wire.worker import Fault

_SUBJECT = 4096  # characters a pattern may be tried on
_SHOWN = 10  # faults told at once


class Settings:
    """One state of server.json. Made anew on SIGHUP."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.frames = Bounds(config.limits.frame)
        self.links = Signer(config.keys["link"], "link")
        self.sessions = Signer(config.keys["session"], "session")
        self._validator = None if config.answers is None else _compiled(config.answers)

    @property
    def terms(self) -> Terms:
        return Terms(self.config.timeout_s, self.config.units_per_visit, self.config.max_units)

    def at(self, port: int) -> Settings:
        """The same for the port that was found, when the configuration left it open (tests, in-process servers)."""
        config = self.config
        if config.port:
            return self
        return Settings(replace(config, port=port, origin=f"http://{config.host}:{port}"))

    def link(self, token: str, *, now: float) -> dict[str, Any] | None:
        """The claims of a link made for this run at this address, or None for every other one."""
        claims = self.links.check(token, now=now)
        if claims is None or claims.get("run") != self.config.run or claims.get("origin") != self.config.origin:
            return None
        named = claims.get("worker"), claims.get("study")
        return (
            claims
            if all(isinstance(name, str) and 0 < len(name) <= 256 for name in named) and named[0] != "*"
            else None
        )

    def session(self, token: str, *, now: float) -> dict[str, Any] | None:
        claims = self.sessions.check(token, now=now)
        return claims if claims is not None and claims["run"] == self.config.run else None

    def may_read_metrics(self, authorization: str) -> bool:
        wanted = "Bearer " + b64(self.config.keys["metrics"])
        return hmac.compare_digest(authorization.encode(), wanted.encode())

    def faults(self, answers: Mapping[str, Any]) -> tuple[Fault, ...]:
        """Where the answers do not fit their schema; nothing when they do."""
        if self._validator is None:
            return ()
        found = islice(self._validator.iter_errors(answers), _SHOWN)
        return tuple(Fault(path=_pointer(error), message=error.message[:300]) for error in found)


def _compiled(schema: Mapping[str, Any]) -> Any:
    """A validator that fetches nothing: a reference out of the schema is refused here."""
    validator = _Validator(schema, registry=Registry())
    resolver = validator._resolver
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable as fault:
            raise Refused(f"the schema of `answers` refers to {reference!r}, which is not in it") from fault
    return validator


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _pattern(_: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    if len(instance) > _SUBJECT:
        yield ValidationError(f"longer than {_SUBJECT} characters, so its pattern is not tried")
    elif not re.search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = validators.extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def _pointer(error: ValidationError) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path)
