"""An answer of Prolific that is no yes -> an error of ours. Pure; called by `transport`.

For a write the kinds say what happened: refused (nothing was done), busy (nothing was done, try again), unclear.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from crowdstack.errors import Busy, CredentialsRefused, CrowdstackError, Refused, Unclear

_LONGEST = 600  # characters of what the provider wrote that are shown
_LATEST_S = 86_400.0


class ApiRefused(Refused):
    """A definite no to this one request. `status` is HTTP's."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.status = status


def fault_of(
    status: int, body: Any, *, where: str, write: bool, retry_s: float | None = None
) -> CrowdstackError | None:
    """What this answer means; None for a yes. `body`: the parsed JSON, or None where there is none."""
    if 200 <= status < 300 and not _is_error(body):
        return None
    why = reason(body)
    what = f"Prolific answers {status}"
    if status == 429:
        return Busy(f"{what}: too many requests at once", where=where, why=why, hint=_LATER, retry_s=retry_s)
    if status in (401, 403):
        said = "does not accept the token" if status == 401 else "says that this token has no right to this"
        hint = "crowdstack register prolific" if status == 401 else "use an account, or a workspace, that has the right"
        return CredentialsRefused(f"Prolific {said} ({status})", where=where, why=why, hint=hint)
    if 400 <= status < 500 and status not in (408, 425):
        hint = "see that the id is of this account and workspace" if status == 404 else "mend what it names"
        return ApiRefused(what, where=where, why=why, hint=hint, status=status)
    if write:  # 5xx, a redirect, a yes with an error in it: it may have been done before the answer went wrong
        return unclear(what, where=where, why=why, retry_s=retry_s)
    if status >= 400:
        return Busy(what, where=where, why=why, hint=_LATER, retry_s=retry_s)
    said = "a redirect, which is not followed" if 300 <= status < 400 else "an error"
    return ApiRefused(f"{what}: {said}", where=where, why=why, hint="see status.prolific.com", status=status)


_LATER = "it is tried again; if it stays so, see status.prolific.com"


def unclear(what: str, *, where: str, why: str | None = None, retry_s: float | None = None) -> Unclear:
    return Unclear(
        f"{what}: it is not known whether this was done",
        where=where,
        why=why,
        hint="it is looked up before it is sent again",
        retry_s=retry_s,
    )


def _is_error(body: Any) -> bool:
    return isinstance(body, Mapping) and bool(body.get("error"))


def reason(body: Any) -> str | None:
    """Title and detail of an error in any of its forms, on one line."""
    if isinstance(body, Mapping) and body.get("error"):
        body = body["error"]
    if isinstance(body, str):
        return body[:_LONGEST] or None
    if not isinstance(body, Mapping):
        return None
    parts = [_flat(body.get(name)) for name in ("title", "message", "detail", "additional_information")]
    return ": ".join(dict.fromkeys(filter(None, parts)))[:_LONGEST] or None


def _flat(detail: Any) -> str:
    """A text, a list of texts, or those by field; nested as it comes."""
    if isinstance(detail, Mapping):
        return "; ".join(f"{field}: {_flat(said)}" for field, said in detail.items())
    if isinstance(detail, list):
        return ", ".join(map(_flat, detail))
    return "" if detail is None else str(detail)


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds from now of a `Retry-After` in either of its forms; None when there is none that can be read."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return min(float(header), _LATEST_S)
    then = seconds_of(header)
    return None if then is None else min(max(then - now, 0.0), _LATEST_S)


def seconds_of(http_date: str | None) -> float | None:
    """UTC seconds of a header's date."""
    try:
        found = parsedate_to_datetime(http_date or "")
    except ValueError:
        return None
    return (found if found.tzinfo else _utc(found)).timestamp()


def _utc(found: datetime) -> datetime:
    return found.replace(tzinfo=timezone.utc)
