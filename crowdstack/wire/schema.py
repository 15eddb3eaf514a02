"""Writes the JSON Schemas of both sockets from the frames: `python -m crowdstack.wire.schema FOLDER`. A test holds them equal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from crowdstack.wire import control, worker
from crowdstack.wire.frames import Frames


def _document(title: str, sent: tuple[str, Frames[Any]], answered: tuple[str, Frames[Any]]) -> str:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$defs": {name: frames.schema() for name, frames in (sent, answered)},
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name, _ in (sent, answered)],
    }
    return json.dumps(schema, indent=2) + "\n"


def documents() -> dict[str, str]:
    """File name -> text."""
    return {
        "worker.v1.json": _document(
            "Frames of the worker socket", ("from_worker", worker.FROM_WORKER), ("to_worker", worker.TO_WORKER)
        ),
        "control.v1.json": _document(
            "Frames of the control socket", ("from_client", control.FROM_CLIENT), ("from_server", control.FROM_SERVER)
        ),
    }


if __name__ == "__main__":
    for name, text in documents().items():
        Path(sys.argv[1], name).write_text(text)
