"""W7: the answers' schema is no weapon."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from crowdstack.errors import SpecError
from crowdstack.spec import answers_schema
from crowdstack.wire.answers import validator
from tests.spec.builders import problems, spec

FROM_FILE = ("provider:", "  answers: answers.json\nprovider:")
EXPONENTIAL = [
    r"(a+)+$", r"^(a|aa)+$", r"([a-zA-Z]+)*$", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(.*)*=", r"(a|a?)+$", r"(?:(?:a*)*)*b",
    r"(?P<x>a+)+(?P=x)", r"(?=(a+)+$)a", r"(?:a{0,30}){0,30}b", r"((a?)(a?)(a?)(a?)){20}b", r"(\w|\d\b)+!",
]  # fmt: skip


def test_a_remote_ref_is_never_fetched(tmp_path: Path) -> None:
    heard = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/schema.json"

        def listen() -> None:
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                return
            connection.close()
            heard.set()

        listener = threading.Thread(target=listen)
        listener.start()
        schemas = [
            {"$ref": url},
            {"properties": {"a": {"$ref": f"{url}#/x"}}},
            {"$schema": url},
            {"$id": url, "properties": {"a": {"$ref": "other.json"}}},
            {"properties": {"a": {"$dynamicRef": url}}},
        ]
        for schema in schemas:
            with pytest.raises(SpecError):
                answers_schema(spec(tmp_path, FROM_FILE, answers__json=json.dumps(schema)))
        for schema in schemas[:2]:  # and the validator by itself would not either
            with pytest.raises(Exception, match="Unresolvable"):
                validator(schema).is_valid({"a": 1})
        listener.join()
    assert not heard.is_set()


@pytest.mark.parametrize("pattern", EXPONENTIAL)
def test_validate_refuses_an_exponential_pattern(pattern: str, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    with pytest.raises(SpecError) as raised:
        answers_schema(spec(tmp_path, FROM_FILE, answers__json=json.dumps(schema)))
    assert "can take too long" in problems(raised)[0]
