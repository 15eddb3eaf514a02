"""docs/protocol.md, the schemas of the frames and the server name the same words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
SOURCE = "".join(
    path.read_text(encoding="utf-8")
    for part in ("server", "wire")
    for path in (ROOT / "crowdstack" / part).glob("*.py")
)


def types(schema: Any) -> set[str]:
    """Every `type` that a frame may have."""
    return {
        frame["properties"]["type"]["const"] for side in schema["$defs"].values() for frame in side.get("oneOf", ())
    }


@pytest.mark.parametrize("socket", ["Worker", "Control"])
def test_the_page_shows_every_frame_of_a_socket_and_no_other(socket: str) -> None:
    section = PAGE.split(f"## {socket} socket\n")[1].split("\n## ")[0]
    schema = json.loads((ROOT / "schemas" / f"{socket.lower()}.v1.json").read_text(encoding="utf-8"))
    assert set(re.findall(r'(?:->|<-) \{"type":"(\w+)"', section)) == types(schema)


def test_the_page_names_every_error_code_of_the_server_and_no_other() -> None:
    listed = PAGE.split("* Error codes: ")[1].split("\n* ")[0]
    sent = re.findall(r"""(?:\bcode(?:: str)? ?= ?|\bFault\(|\bFrameError\([^\n]*, )"(\w+)\"""", SOURCE)
    assert set(re.findall(r"`(\w+)`", listed)) == set(sent)


def test_the_page_names_every_close_code_of_the_server() -> None:
    closes = set(re.findall(r"\b(?:1008|1009|1012|44\d\d)\b", SOURCE))
    assert closes
    assert {code for code in closes if code not in PAGE} == set()
