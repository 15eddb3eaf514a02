"""The fake without sockets: `session.mount("https://api.prolific.com", InProcessTransport(service))`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from http.client import responses
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from crowdstack.fakes.prolific.router import Answer
from crowdstack.fakes.prolific.service import Lost, Request, Service


class InProcessTransport(BaseAdapter):
    """Answers a requests session from a Service. A lost answer is the exception that requests would raise.

    `waited` is told the seconds that a caller spent before it gave up, so that a virtual clock can move.
    """

    def __init__(self, service: Service, waited: Callable[[float], object] = lambda seconds: None) -> None:
        super().__init__()
        self._service = service
        self._waited = waited

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        body = request.body or b""
        answer = self._service.answer(
            Request(
                method=str(request.method),
                url=str(request.url),
                authorization=request.headers.get("Authorization", ""),
                body=body.encode() if isinstance(body, str) else bytes(body),
            )
        )
        if isinstance(answer, Lost):
            if answer.hangs:
                seconds = timeout[1] if isinstance(timeout, tuple) else getattr(timeout, "total", timeout)
                self._waited(float(seconds or 0))
                raise requests.ReadTimeout("no answer came in time", request=request)
            raise requests.ConnectionError("the connection was closed without an answer", request=request)
        return _response(request, answer)

    def close(self) -> None:
        pass


def encode(answer: Answer) -> tuple[bytes, dict[str, str]]:
    """The bytes of an answer and its headers."""
    if answer.body is None:
        return b"", dict(answer.headers)
    if "Content-Type" in answer.headers:
        return str(answer.body).encode(), dict(answer.headers)
    return json.dumps(answer.body).encode(), {"Content-Type": "application/json", **answer.headers}


def _response(request: requests.PreparedRequest, answer: Answer) -> requests.Response:
    content, headers = encode(answer)
    response = requests.Response()
    response.status_code = answer.status
    response.reason = responses.get(answer.status, "")
    response.headers = CaseInsensitiveDict(headers)
    response.url = str(request.url)
    response.request = request
    response.encoding = "utf-8"
    response.raw = io.BytesIO(content)
    return response
