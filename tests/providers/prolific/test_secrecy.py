"""The token is in no log line, repr, error text or traceback (threats W12, E4)."""

from __future__ import annotations

import http.client
import io
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crowdstack.errors import CrowdstackError
from crowdstack.providers.credentials import Credentials
from crowdstack.providers.prolific.transport import Transport
from crowdstack.tokens import Secret
from tests.providers.prolific import service as s
from tests.providers.prolific.service import Naps, Service, an_error, prolific, transport

ME = "GET /users/me/"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any library says, at every level."""
    to = io.StringIO()
    handler = logging.StreamHandler(to)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.NOTSET)
    yield to
    root.removeHandler(handler)
    root.setLevel(level)


def echo(service: Service) -> None:
    service.says(ME, an_error(f"your token {s.TOKEN} is wrong", title=s.TOKEN), status=400)


def echo_in_a_field(service: Service) -> None:
    service.says(ME, an_error({s.TOKEN: [s.TOKEN]}), status=401)


def drop(service: Service) -> None:
    service.says(ME, fault=s.DROP)


def stall(service: Service) -> None:
    service.says(ME, {"id": "1"}, fault=s.STALL)


def no_json(service: Service) -> None:
    service.says(ME, s.TOKEN.encode(), odd=True)


def redirect(service: Service) -> None:
    service.says(ME, status=302, headers={"Location": f"/{s.TOKEN}"}, odd=True)


@pytest.mark.parametrize("fault", [echo, echo_in_a_field, drop, stall, no_json, redirect])
def test_no_fault_tells_the_token(service: Service, logged: io.StringIO, fault: Callable[[Service], None]) -> None:
    fault(service)
    http = transport(service, budget_s=2.0)
    with pytest.raises(CrowdstackError) as told:
        http.get("me", "/users/me/").read(lambda fields: fields.text("id"))
    assert service.heard[0].headers["Authorization"] == f"Token {s.TOKEN}"
    texts = [
        str(told.value),
        repr(told.value),
        "".join(traceback.format_exception(told.value)),
        logged.getvalue(),
        repr(http),
        *(repr(value) for value in vars(http).values()),
    ]
    assert logged.getvalue()
    assert not [text for text in texts if s.TOKEN in text]


def test_no_cause_of_a_fault_carries_the_header() -> None:
    http = Transport(Secret(s.TOKEN.encode()), origin="http://127.0.0.1:9", sleep=Naps())
    with pytest.raises(CrowdstackError) as told:
        http.get("me", "/users/me/")
    fault: BaseException | None = told.value
    while fault is not None:
        assert getattr(fault, "request", None) is None
        fault = fault.__cause__ or fault.__context__


def test_the_values_that_hold_it_do_not_show_it(service: Service) -> None:
    held: list[Any] = [
        Secret(s.TOKEN.encode()),
        Credentials(provider="prolific", account="a", origin="https://x", kept="file", token=Secret(s.TOKEN.encode())),
        transport(service),
        transport(service)._auth,
        prolific(service),
    ]
    for value in held:
        assert s.TOKEN not in f"{value} {value!r} {[value]}"


def test_nothing_of_http_client_is_printed(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.says(ME, {"id": "1", "email": "a@b"})
    assert http.client.HTTPConnection.debuglevel == 0
    transport(service).get("me", "/users/me/")
    said = capsys.readouterr()
    assert s.TOKEN not in said.out + said.err


def test_a_transport_is_not_written_down(service: Service) -> None:
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        pickle.dumps(transport(service))
