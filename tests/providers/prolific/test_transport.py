"""What a request may do, how long it may take, and what is known after it went wrong."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import Busy, CredentialsRefused, CrowdstackError, Refused, Unclear, UsageError
from crowdstack.providers.origins import checked_origin
from crowdstack.providers.prolific.account import Account
from crowdstack.providers.prolific.faults import ApiRefused, reason, retry_after
from crowdstack.providers.prolific.transport import Transport
from crowdstack.tokens import Secret
from tests.providers.prolific import service as s
from tests.providers.prolific.service import Naps, Service, a_service, an_error, prolific, transport

ME = "GET /users/me/"
MESSAGE = "POST /messages/"


def read(service: Service, **changes: Any) -> Any:
    return transport(service, **changes).get("me", "/users/me/")


def write(service: Service, **changes: Any) -> None:
    prolific(service, **changes).send_message(s.PARTICIPANT, "hello", study=s.STUDY)


def kind_of(fault: CrowdstackError) -> str:
    if isinstance(fault, (Refused, CredentialsRefused)):
        return "definite"
    return "unclear" if isinstance(fault, Unclear) else "busy"


# ---------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("status", "reading", "writing"),
    [
        (400, "definite", "definite"),
        (401, "definite", "definite"),
        (403, "definite", "definite"),
        (404, "definite", "definite"),
        (409, "definite", "definite"),
        (422, "definite", "definite"),
        (408, "busy", "unclear"),
        (429, "busy", "busy"),
        (500, "busy", "unclear"),
        (502, "busy", "unclear"),
        (503, "busy", "unclear"),
        (302, "definite", "unclear"),
        (308, "definite", "unclear"),
    ],
)
@pytest.mark.parametrize("bare", [False, True], ids=["error", "bare"])
def test_a_status_says_whether_it_was_done(
    service: Service, status: int, reading: str, writing: str, bare: bool
) -> None:
    for line in (ME, MESSAGE):
        service.says(line, an_error("the reason", status=status, bare=bare), status=status, odd=True)
    for act, kind in ((read, reading), (write, writing)):
        with pytest.raises(CrowdstackError) as told:
            act(service)
        assert kind_of(told.value) == kind
        assert told.value.hint
        assert told.value.where is not None
        assert told.value.where.endswith(" ".join((ME if act is read else MESSAGE).split()[1:]))
        if status >= 400:
            assert told.value.why == "Bad: the reason"


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_accepted_ends_with_the_code_of_credentials(service: Service, status: int) -> None:
    service.says(ME, an_error(status=status), status=status)
    with pytest.raises(CredentialsRefused) as told:
        read(service)
    assert told.value.exit_code == 3
    assert ("crowdstack register prolific" in str(told.value)) is (status == 401)


@pytest.mark.parametrize("status", [408, 429, 500, 502])
def test_a_read_is_tried_three_times_and_a_write_once(service: Service, status: int) -> None:
    for line in (ME, MESSAGE):
        service.says(line, an_error(status=status), status=status, odd=True)
    for act, times in ((read, 3), (write, 1)):
        service.heard.clear()
        with pytest.raises(Busy):
            act(service)
        assert len(service.heard) == times


def test_a_read_that_succeeds_at_last_is_a_yes_and_every_try_is_counted(service: Service) -> None:
    service.says(ME, an_error(status=503), status=503)
    service.says(ME, fault=s.DROP)
    service.says(ME, {"id": "1", "email": "a@b"})
    http = transport(service)
    assert http.get("me", "/users/me/").value["id"] == "1"
    assert http.requests_made == {"me": 3}


def test_retry_after_is_waited_for_when_the_budget_allows(service: Service) -> None:
    service.says(ME, an_error(status=429), status=429, headers={"Retry-After": "2"})
    service.says(ME, {"id": "1", "email": "a@b"})
    naps = Naps()
    read(service, sleep=naps)
    assert naps.slept == [2.0]


def test_a_long_retry_after_is_handed_on_instead(service: Service) -> None:
    service.says(ME, an_error(status=429), status=429, headers={"Retry-After": "120"})
    naps = Naps()
    with pytest.raises(Busy) as told:
        read(service, sleep=naps)
    assert (told.value.retry_s, naps.slept, len(service.heard)) == (120.0, [], 1)
    service.says(MESSAGE, an_error(status=429), status=429, headers={"Retry-After": "7"})
    with pytest.raises(Busy) as told:
        write(service)
    assert told.value.retry_s == 7.0
    assert not isinstance(told.value, Unclear)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("15", 15.0),
        ("999999999", 86_400.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_both_forms_of_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, now=1000.0) == seconds


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (an_error("a"), "Bad: a"),
        (an_error(["a", "b"], bare=True), "Bad: a, b"),
        (an_error({"reward": ["too small", "odd"], "name": ["long"]}), "Bad: reward: too small, odd; name: long"),
        (an_error({"filters": {"0": ["unknown"]}}), "Bad: filters: 0: unknown"),
        ({"message": "no", "detail": "since"}, "no: since"),
        ({"error": "plain"}, "plain"),
        ({"detail": "a", "message": "a"}, "a"),
        ({"error": {"title": None}}, None),
        ("", None),
        (None, None),
        ([1], None),
        (an_error("x" * 5000), "Bad: " + "x" * 595),
    ],
)
def test_the_reason_in_every_form(body: Any, text: str | None) -> None:
    assert reason(body) == text


def test_a_yes_with_an_error_in_it_is_none(service: Service) -> None:
    for line in (ME, MESSAGE):
        service.says(line, an_error(), odd=True)
    with pytest.raises(ApiRefused):
        read(service)
    with pytest.raises(Unclear):
        write(service)


@pytest.mark.parametrize("body", [b"<html>", b'{"id": NaN}', b"\xff", b'{"id": 1, "id": 2}'])
def test_a_read_that_is_no_json_is_refused_and_the_answer_to_a_write_is_not_needed(
    service: Service, body: bytes
) -> None:
    service.says(ME, body, odd=True)
    service.says(MESSAGE, body, odd=True)
    with pytest.raises(Refused, match="cannot be understood"):
        read(service)
    write(service)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"id": "1"}, "email is missing"),
        ({"id": 1, "email": "a"}, "id is no text"),
        ({"email": "a", "id": None}, "id is missing"),
        ([], "no object"),
    ],
)
def test_a_missing_field_is_named(service: Service, body: Any, named: str) -> None:
    service.says(ME, body, odd=True)
    with pytest.raises(Refused, match=named):
        Account(transport(service)).fetch_me()


def test_a_write_that_was_done_and_cannot_be_read_is_unclear(service: Service) -> None:
    service.says(f"POST /workspaces/{s.WORKSPACE}/projects/", {"title": "x"}, status=201, odd=True)
    with pytest.raises(Unclear, match="id is missing"):
        prolific(service).create_project("x")


# ---------------------------------------------------------------------------------------------------- connections


@pytest.mark.parametrize("fault", [s.DROP, s.STALL, s.CUT])
def test_a_lost_answer_to_a_write_is_unclear_and_it_is_sent_once(service: Service, fault: str) -> None:
    service.says(MESSAGE, {"a": 1}, fault=fault)
    with pytest.raises(Unclear):
        write(service, budget_s=2.0)
    assert len(service.heard) == 1


@pytest.mark.parametrize("fault", [s.DROP, s.STALL, s.CUT])
def test_a_lost_answer_to_a_read_is_busy(service: Service, fault: str) -> None:
    service.says(ME, {"id": "1"}, fault=fault)
    with pytest.raises(Busy) as told:
        read(service, budget_s=2.0)
    assert not isinstance(told.value, Unclear)


def test_a_no_is_a_no_also_when_its_reason_is_cut_off(service: Service) -> None:
    service.says(MESSAGE, an_error(), status=400, fault=s.CUT)
    with pytest.raises(ApiRefused):
        write(service)


def test_a_write_that_found_nobody_was_not_done() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        origin = f"http://127.0.0.1:{taken.getsockname()[1]}"
    http = Transport(Secret(s.TOKEN.encode()), origin=origin, sleep=Naps())
    with pytest.raises(Busy) as told:
        http.write("pay", "POST", "/messages/")
    assert not isinstance(told.value, Unclear)
    assert http.requests_made == {"pay": 1}


def test_a_certificate_that_is_not_trusted_ends_before_anything_is_sent(service: Service) -> None:
    """TLS to somebody who speaks none: nothing of the request is sent before the handshake."""
    http = Transport(Secret(s.TOKEN.encode()), origin=service.origin.replace("http:", "https:"), sleep=Naps())
    with pytest.raises(Busy):
        http.write("pay", "POST", "/messages/")
    assert service.heard == []


@pytest.mark.parametrize(
    ("act", "fault"), [(read, s.STALL), (read, s.TRICKLE), (read, s.OPEN), (write, s.STALL), (write, s.TRICKLE)]
)
def test_a_request_ends_within_its_budget(service: Service, fault: str, act: Any) -> None:
    body = {"id": "x" * 4000}
    service.says(ME, body, fault=fault)
    service.says(MESSAGE, body, fault=fault, odd=True)
    with pytest.raises(Busy):
        act(service, budget_s=1.0)
    assert service.pauses < 80, "it would have gone on for 200 s, or for ever"


def test_a_write_takes_no_connection_that_stood_idle(service: Service) -> None:
    """One that the other end closes at that very moment would leave the write unclear."""
    service.says(ME, {"id": "1", "email": "a@b"})
    service.says(MESSAGE, status=204)
    client = prolific(service)
    client.http.get("me", "/users/me/")
    ports = []
    connect = socket.socket.connect

    def seen(self: socket.socket, address: Any) -> None:
        connect(self, address)
        ports.append(address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", seen)
        client.http.get("me", "/users/me/")
        assert ports == []
        client.send_message(s.PARTICIPANT, "hello", study=s.STUDY)
        assert len(ports) == 1


def test_an_answer_without_end_is_not_kept_in_memory(service: Service) -> None:
    service.says(ME, b"[" + b"1," * (9 * 1024**2) + b"1]", odd=True)
    with pytest.raises(Busy):
        read(service, budget_s=5)


# ---------------------------------------------------------------------------------------------------- where it goes


def test_what_is_sent_with_every_request(service: Service) -> None:
    service.says(ME, {"id": "1", "email": "a@b"}, headers={"Set-Cookie": "a=b"})
    http = transport(service)
    http.get("me", "/users/me/")
    http.get("me", "/users/me/")
    sent = service.heard[-1].headers
    assert sent["Authorization"] == f"Token {s.TOKEN}"
    assert sent["User-Agent"].startswith("crowdstack/")
    assert "Cookie" not in sent


def test_the_clock_of_the_provider_is_kept(service: Service) -> None:
    service.says(ME, {"id": "1", "email": "a@b"})
    http = transport(service, wall=lambda: time.time() - 3600)
    http.get("me", "/users/me/")
    assert http.clock_skew_s is not None
    assert 3595 < http.clock_skew_s < 3605


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://api.prolific.com", "https://api.prolific.com"),
        ("https://API.prolific.com:443/", "https://api.prolific.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_an_origin_in_its_one_form(text: str, origin: str) -> None:
    assert checked_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "", "api.prolific.com", "http://api.prolific.com", "http://10.0.0.1", "http://127.0.0.1.evil.example",
        "https://me:pw@api.prolific.com", "https://api.prolific.com/api", "https://api.prolific.com?x=1",
        "https://api.prolific.com#x", "ftp://api.prolific.com", "https://api.prolific.com:99999", "https://a b.example",
        "https://", "https://a\n.example", "file:///etc",
    ],
)  # fmt: skip
def test_no_origin(text: str) -> None:
    with pytest.raises(UsageError):
        checked_origin(text)


@pytest.mark.parametrize(
    "token", [b"", b"short", b"has a blank in it", b"line\nfeed-in-it", b"\xc3\xa4\xc3\xb6\xc3\xbcxxxxxx"]
)
def test_a_token_that_cannot_stand_in_a_header_is_refused_and_not_told(token: bytes) -> None:
    with pytest.raises(CredentialsRefused) as told:
        Transport(Secret(token))
    assert not token or token.decode() not in str(told.value)


class TestASpecCannotMoveTheToken:  # threats H3
    """Somebody else listens on loopback, and never hears the token."""

    def test_a_redirect_is_not_followed(self, service: Service) -> None:
        with a_service() as thief:
            for status in (301, 302, 303, 307, 308):
                headers = {"Location": f"{thief.origin}/api/v1/users/me/"}
                service.says(ME, status=status, headers=headers, odd=True)
                service.says(MESSAGE, status=status, headers=headers, odd=True)
            for act in (read, write):
                for _ in range(5):
                    with pytest.raises((Refused, Unclear)):
                        act(service)
            assert thief.heard == []

    @pytest.mark.parametrize(
        "href", ["{thief}/api/v1/submissions/?page=2", "//{host}/api/v1/x/", "{user}/api/v1/x/", "/x"]
    )
    def test_a_next_page_elsewhere_is_not_asked_for(self, service: Service, href: str) -> None:
        with a_service() as thief:
            host = thief.origin.removeprefix("http://")
            user = service.origin + "@" + host
            next_ = {"href": href.format(thief=thief.origin, host=host, user=user), "title": "Next"}
            service.says(
                "GET /submissions/", {"results": [s.listed()], "_links": {"next": next_}, "meta": {"count": 40}}
            )
            with pytest.raises(Refused, match="lies elsewhere"):
                prolific(service).list_submissions(s.STUDY)
            assert thief.heard == []
            assert len(service.heard) == 1

    def test_netrc_does_not_replace_it(self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login thief password thief\ndefault login thief password thief\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(tmp_path))
        service.says(ME, {"id": "1", "email": "a@b"})
        read(service)
        assert service.heard[0].headers["Authorization"] == f"Token {s.TOKEN}"

    def test_a_proxy_of_the_environment_is_not_used(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        with a_service() as thief:
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, thief.origin)
            monkeypatch.setenv("NO_PROXY", "")
            service.says(ME, {"id": "1", "email": "a@b"})
            read(service)
            assert thief.heard == []

    @pytest.mark.parametrize(
        "id_", ["../../users/me", "a/b", "a?b", "", "a\n", "x" * 65, "..", "%2e%2e", "http://127.0.0.1/"]
    )
    def test_an_id_cannot_name_another_call(self, service: Service, id_: str) -> None:
        client = prolific(service)
        for verb in (
            client.fetch_submission,
            client.approve,
            client.fetch_study,
            client.pay_bonus,
            client.list_members,
        ):
            with pytest.raises(Refused, match="is no id"):
                verb(id_)
        assert service.heard == []
