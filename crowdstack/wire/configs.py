"""The files that start a process: server.json (plugin -> task server) and crowd.json (mock provider -> crowd)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crowdstack.tokens import Secret, b64, unb64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Guards of the worker and control side (threats 5.8, 5.13). Sizes in bytes, times in seconds."""

    frame: int = 256 * 1024
    control_frame: int = 4 * 1024 * 1024
    hello_s: float = 10.0
    frames_per_s: float = 20.0
    burst: int = 40
    faults: int = 3
    sockets_per_session: int = 4
    waiting_sockets: int = 500  # that have shown no good link, session or proof; never over a fourth of the files
    waiting_per_address: int = 100  # a page opens about four at first, and a lab or a proxy shares one address
    ping_s: float = 20.0
    write_buffer: int = 1024 * 1024
    waiting_submits: int = 2000
    waiting_bytes: int = 32 * 1024 * 1024  # of submits that are not on disk yet
    group: int = 500
    disk_reserve: int = 256 * 1024 * 1024  # below this much free disk no unit is given out
    inbox_keep: int = 2 * 1024**3  # bytes; what is in a backup of the store is deleted from a larger inbox
    ballast: int = 64 * 1024 * 1024  # freed when the disk is full, so that accepted answers still fit


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    blob: str  # SHA-256 of the content, name of the file under blobs/
    type: str  # media type, with charset for text


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything the task server goes by. Worker-visible settings come from the spec; keys are this run's derived ones."""

    run: str
    task: str
    title: str
    description: str
    host: str
    port: int  # never 0: chosen when the server was created
    origin: str  # as in links: scheme://host[:port]
    keys: Mapping[str, Secret] = field(repr=False)  # by purpose (tokens.PURPOSES)
    bundle: str  # digest of the table below
    files: Mapping[str, BundleFile]  # URL path ("/", "/images/a.png") -> file
    answers: Mapping[str, Any] | None  # JSON Schema of `answers`
    timeout_s: int
    units_per_visit: int | None
    max_units: int | None  # per worker
    sample: Mapping[str, Any] | None
    completion: str  # what a worker reads at the end
    frame_ancestors: tuple[str, ...] = ()
    limits: Limits = Limits()

    def to_bytes(self) -> bytes:
        data = asdict(self)
        data["keys"] = {name: b64(key) for name, key in self.keys.items()}
        return json.dumps(data, sort_keys=True, indent=1).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> ServerConfig:
        data = json.loads(raw)
        data["keys"] = {name: Secret(unb64(text)) for name, text in data["keys"].items()}
        data["files"] = {url: BundleFile(**file) for url, file in data["files"].items()}
        data["frame_ancestors"] = tuple(data["frame_ancestors"])
        data["limits"] = Limits(**data["limits"])
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdConfig:
    """A simulated crowd: `python -m crowdstack.crowd --folder F` reads F/crowd.json, writes F/journal.jsonl."""

    kind: str  # "bots" | "replay"
    run: str
    task: str
    study: str
    origin: str
    link_key: Secret = field(repr=False)
    seed: int
    workers: int  # how many work at the same time
    answers: Mapping[str, Any] | None  # JSON Schema (bots draw from it)
    recording: str | None  # path of the recorded answers (replay)
    data_id: str = "id"  # the field of a unit's `data` that names its item (replay)
    item_column: str = "item"
    worker_column: str = "worker"
    time_per_unit_s: float = 0.0  # median; 0 = as fast as the server answers
    error_rate: float = 0.0  # share of units whose first answers do not fit the schema
    abandon_rate: float = 0.0  # share of units left without a word (half of them are returned)
    duplicate_rate: float = 0.0  # share of submits sent twice

    def to_bytes(self) -> bytes:
        data = asdict(self)
        data["link_key"] = b64(self.link_key)
        return json.dumps(data, sort_keys=True, indent=1).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> CrowdConfig:
        data = json.loads(raw)
        data["link_key"] = Secret(unb64(data["link_key"]))
        return cls(**data)
