"""One request to Prolific: the token goes to the origin it was registered for and nowhere else (threats H3), a request
ends within its budget, and a fault says whether it may have had its effect. Called by `api` and `account`.

Reads are tried again within the budget; writes never are.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import tenacity
import urllib3.exceptions
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase

from crowdstack import __version__
from crowdstack.errors import Busy, CredentialsRefused, CrowdstackError, Refused
from crowdstack.providers.origins import PROLIFIC, checked_origin
from crowdstack.providers.prolific.answers import Fields, Unreadable
from crowdstack.providers.prolific.faults import ApiRefused, fault_of, retry_after, seconds_of, unclear
from crowdstack.tokens import Secret
from crowdstack.wire.text import Bounds, FrameError, parse

API = "/api/v1"
CONNECT_S = 5.0
BUDGET_S = 10.0  # of one call in all: an effect that needs a lease is sent with 15 s of it left (threats 5.5)
RETRY_S = 8.0  # no read is begun again later than this
TRIES = 3
MOST_PAGES = 2_000
_BOUNDS = Bounds(size=16 * 1024**2, nodes=1_000_000)
_PIECE = 64 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A yes of the service. `value` is its JSON, None where it had none."""

    value: Any = field(repr=False)
    where: str
    write: bool
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)

    def read(self, reader: Callable[[Fields], T]) -> T:
        """What `reader` makes of it. Refused names the field that is missing; Unclear where the request was a write."""
        try:
            return reader(Fields.of(self.value))
        except Unreadable as fault:
            raise self.unreadable(str(fault)) from None

    def unreadable(self, why: str) -> CrowdstackError:
        if self.write:  # it was done, and we cannot say what
            return unclear("Prolific's answer cannot be understood", where=self.where, why=why)
        hint = "update crowdstack; if it is new, report this line"
        return Refused("Prolific's answer cannot be understood", where=self.where, why=why, hint=hint)


class _TokenAuth(AuthBase):
    """An auth object of our own: with one, requests never looks into .netrc."""

    def __init__(self, token: Secret, origin: str) -> None:
        self._token = token
        self._origin = origin

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not str(request.url).startswith(self._origin + "/"):
            raise Refused(f"a token of {self._origin} goes nowhere else", where=str(request.url)[:200])
        request.headers["Authorization"] = f"Token {self._token.decode()}"
        return request

    def __repr__(self) -> str:
        return "_TokenAuth(…)"


class Transport:
    """Requests with one token to one origin, one at a time. `requests_made` counts them by verb, every try of a read too."""

    def __init__(
        self,
        token: Secret,
        *,
        origin: str = PROLIFIC,
        proxy: str | None = None,
        budget_s: float = BUDGET_S,
        adapter: BaseAdapter | None = None,
        sleep: Callable[[float], None] = tenacity.nap.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.origin = checked_origin(origin)
        self.requests_made: Counter[str] = Counter()
        self.clock_skew_s: float | None = None  # provider's clock minus ours, as of the last answer
        self._token = checked_token(token)
        self._auth = _TokenAuth(self._token, self.origin)
        self._budget_s = budget_s
        self._sleep = sleep
        self._wall = wall
        self._lock = threading.Lock()
        self._adapter = adapter or HTTPAdapter()
        self._session = requests.Session()
        self._session.trust_env = False  # neither .netrc nor proxies nor certificates that the environment names
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers["User-Agent"] = f"crowdstack/{__version__}"
        self._session.headers["Accept"] = "application/json"
        self._session.adapters.clear()  # whatever is asked for, there is a way to one origin only
        self._session.mount(self.origin + "/", self._adapter)
        if proxy is not None:
            self._session.proxies = {"http": proxy, "https": proxy}

    def __repr__(self) -> str:
        return f"Transport({self.origin!r})"

    def close(self) -> None:
        self._session.close()

    # -------------------------------------------------------------------------------------------- verbs

    def get(self, verb: str, path: str, query: Mapping[str, Any] | None = None) -> Answer:
        """Read. Tried again when the service is busy, as long as the budget allows."""
        return self._get(verb, API + path + _query(query))

    def write(self, verb: str, method: str, path: str, body: Any = None) -> Answer:
        """Send once. Refused and CredentialsRefused: nothing was done. Busy: neither, it may be sent again. Unclear: who knows."""
        with self._lock:
            # On a new connection: one that was idle may be closed while we write, and nobody could say what was read of it.
            self._adapter.close()
            return self._send(verb, method, API + path, body, time.monotonic() + self._budget_s)

    def pages(
        self, verb: str, path: str, reader: Callable[[Fields], T], query: Mapping[str, Any] | None = None
    ) -> Iterator[T]:
        """All entries of a list, page by page. An entry that moved to a later page meanwhile comes twice."""
        query = dict(query or {})
        target: str | None = API + path + _query(query)
        before: list[Any] = []
        seen = 0
        for number in range(MOST_PAGES):
            try:
                answer = self._get(verb, str(target))
            except ApiRefused as fault:
                if fault.status == 404 and number:
                    return  # past the last page
                raise
            yield from answer.read(lambda fields: [reader(entry) for entry in fields.entries("results")])
            entries = answer.value["results"]
            if entries == before:
                return
            before, seen = entries, seen + len(entries)
            target = self._following(answer, path, query, len(entries), seen)
            if target is None:
                return
        raise Refused(f"a list of more than {MOST_PAGES} pages", where=self._where("GET", API + path), hint="report it")

    def _following(self, answer: Answer, path: str, query: dict[str, Any], entries: int, seen: int) -> str | None:
        """Path and query of the next page; None after the last one."""
        links, meta = answer.value.get("_links"), answer.value.get("meta")
        if isinstance(links, Mapping):
            link = links.get("next")
            href = link.get("href") if isinstance(link, Mapping) else link
            return self._on_our_origin(str(href), answer) if href else None
        # Some lists come without links: one page, unless it was full or the count says that there is more.
        count = meta.get("count") if isinstance(meta, Mapping) else None
        more = (
            seen < count
            if isinstance(count, int)
            else entries >= int(query.get("page_size", query.get("limit", 2**31)))
        )
        if not entries or not more or not query.keys() & {"page_size", "limit"}:
            return None
        if "limit" in query:
            query["offset"] = seen
        else:
            query["page"] = int(query.get("page", 1)) + 1
        return API + path + _query(query)

    def _on_our_origin(self, href: str, answer: Answer) -> str:
        """Its path and query, which are asked for at our origin whatever scheme it names."""
        ours = urlsplit(self.origin)
        parts = urlsplit(urljoin(self.origin, href))
        if parts.scheme not in ("http", "https") or parts.netloc != ours.netloc or not parts.path.startswith(API + "/"):
            raise Refused(
                f"the next page lies elsewhere: {href[:200]}",
                where=answer.where,
                hint="it is not followed, since the token would go there; see who answers at this address",
            )
        return parts.path + (f"?{parts.query}" if parts.query else "")

    # -------------------------------------------------------------------------------------------- one request

    def _get(self, verb: str, target: str) -> Answer:
        deadline = time.monotonic() + self._budget_s
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Busy),
            stop=tenacity.stop_after_attempt(TRIES) | tenacity.stop_before_delay(min(RETRY_S, self._budget_s)),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        with self._lock:
            return again(self._send, verb, "GET", target, None, deadline)

    def _send(self, verb: str, method: str, target: str, body: Any, deadline: float) -> Answer:
        write = method != "GET"
        where = self._where(method, target)
        self.requests_made[verb] += 1
        try:
            status, headers, raw = self._exchange(method, target, body, deadline)
        except requests.RequestException as fault:
            fault.request = None  # what travels up holds no header
            why = self._without_token(f"{type(fault).__name__}: {fault}")[:300]
            if write and not _never_sent(fault):
                raise unclear("the connection to Prolific was lost", where=where, why=why) from fault
            hint = "see whether this machine is online; it is tried again"
            raise Busy("Prolific cannot be reached", where=where, why=why, hint=hint) from fault
        self._look_at_the_clock(headers)
        value, unreadable = _value(raw)
        retry_s = retry_after(headers.get("Retry-After"), self._wall())
        if fault_of(status, value, where=where, write=write) is not None:
            fault_ = fault_of(status, self._cleaned(value), where=where, write=write, retry_s=retry_s)
            assert fault_ is not None, "a no stays one without our token in it"
            raise fault_
        answer = Answer(value, where, write, headers)
        if unreadable and method == "GET":  # the answer to a write is often no JSON, and nothing in it is needed
            raise answer.unreadable(unreadable)
        return answer

    def _exchange(self, method: str, target: str, body: Any, deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        left = max(deadline - time.monotonic(), 0.1)
        response = self._session.request(
            method,
            self.origin + target,
            json=body,
            auth=self._auth,
            allow_redirects=False,
            stream=True,
            timeout=urllib3.Timeout(total=left, connect=min(CONNECT_S, left), read=left),  # type: ignore[arg-type]
        )
        # Whoever sends drop by drop is not waited for: at the deadline the connection is shut.
        watch = threading.Timer(max(deadline - time.monotonic(), 0.0), _shut, (response,))
        watch.start()
        try:
            with response:
                raw = self._body(response, deadline)
                return response.status_code, dict(response.headers.items()), raw
        finally:
            watch.cancel()

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        raw = bytearray()
        try:
            for piece in response.iter_content(_PIECE):
                raw += piece
                if len(raw) > _BOUNDS.size:
                    raise requests.exceptions.ContentDecodingError(f"more than {_BOUNDS.size} bytes")
            if time.monotonic() >= deadline:  # what was cut off may look whole
                raise requests.exceptions.ReadTimeout(f"not whole within {self._budget_s:g} s")
        except requests.RequestException:
            if response.status_code < 400:
                raise  # a no is a no, also when its reason was cut off
        return bytes(raw)

    def _where(self, method: str, target: str) -> str:
        return f"{method} {self.origin}{target.partition('?')[0]}"

    def _look_at_the_clock(self, headers: Mapping[str, str]) -> None:
        theirs = seconds_of(headers.get("Date"))
        if theirs is not None:
            self.clock_skew_s = theirs - self._wall()

    def _without_token(self, text: str) -> str:
        return text.replace(self._token.decode(), "…")

    def _cleaned(self, value: Any) -> Any:
        """The same value, in whose texts our token does not stand, whatever the other end echoes."""
        if isinstance(value, str):
            return self._without_token(value)
        if isinstance(value, dict):
            return {self._without_token(key): self._cleaned(kept) for key, kept in value.items()}
        return [self._cleaned(kept) for kept in value] if isinstance(value, list) else value


# ---------------------------------------------------------------------------------------------------- small change


def checked_token(token: Secret) -> Secret:
    """CredentialsRefused unless it can stand in a header (requests quotes one that cannot, and so would tell it)."""
    text = bytes(token)
    if not (8 <= len(text) <= 512 and all(0x21 <= byte <= 0x7E for byte in text)):
        raise CredentialsRefused(
            "this is no token of Prolific",
            why=f"it has {len(text)} characters, or blanks in it",
            hint="copy it whole from Settings, API tokens, at app.prolific.com",
        )
    return token


def _shut(response: requests.Response) -> None:
    with suppress(OSError, ValueError, RuntimeError, AttributeError):  # it may be over at this very moment
        response.raw.shutdown()


def _query(query: Mapping[str, Any] | None) -> str:
    given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(raw: bytes) -> tuple[Any, str | None]:
    """The JSON of a body, or why there is none in it."""
    if not raw.strip():
        return None, None
    try:
        return parse(raw, _BOUNDS), None
    except FrameError as fault:
        return None, str(fault)


_backoff = tenacity.wait_exponential(multiplier=0.4, max=2) + tenacity.wait_random(0, 0.4)


def _wait(state: tenacity.RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome else None
    asked = fault.retry_s if isinstance(fault, Busy) else None
    return _backoff(state) if asked is None else asked


def _never_sent(fault: requests.RequestException) -> bool:
    """There was no connection yet, so nobody can have read the request."""
    if isinstance(fault, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(fault.args[0], "reason", None) if fault.args else None
    if isinstance(reason, urllib3.exceptions.SSLError):
        return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in reason.args)
    return isinstance(reason, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
