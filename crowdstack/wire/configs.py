"""The files that start a process: server.json (plugin -> task server) and crowd.json (mock provider -> crowd)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

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


_PARAMETER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TAKEN = ("t", "preview", "review")  # parameters of the page's address that mean something else
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
_URL = re.compile(r"[!#-;=?-\[\]_a-z{}~]{1,2000}")  # what a browser reads as it stands: no blank, quote, backslash
_FILLED = re.compile(r"\{(worker|submission)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The parameters of the page's address that say who came: the worker, and what the provider calls this visit."""

    worker: str  # a parameter's name, like "PROLIFIC_PID"
    submission: str  # like "SESSION_ID"; the same name where the provider has one id only
    listed: bool = True  # the provider tells later who came. If not, nobody will ever know better

    def __post_init__(self) -> None:
        for name in (self.worker, self.submission):
            if not isinstance(name, str) or not _PARAMETER.fullmatch(name) or name in _TAKEN:
                raise ValueError(f"claims: {name!r} cannot be the name of a parameter that says who came")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a worker is given at the end: a code to hand in, an address to go to; "" for none.

    Behind the `?` of the address, `{worker}` and `{submission}` stand for who came.
    """

    code: str = ""
    url: str = ""

    def to(self, worker: str, submission: str) -> dict[str, str]:
        """The same for one visit; what is not there is left out."""
        who = {"worker": worker, "submission": submission}
        url = _FILLED.sub(lambda found: quote(who[found[1]], safe=""), self.url)
        return {name: text for name, text in (("code", self.code), ("url", url)) if text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How visits end. Addresses are https and at one of `hosts`, so that no page is ever sent elsewhere (threats W10)."""

    answered: Ending = Ending()  # for a visit with answers
    empty: Ending = Ending()  # for one without, and for one that the provider does not know
    hosts: tuple[str, ...] = ()  # "app.prolific.com", with a port if it is not 443

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not isinstance(host, str) or not _HOST.fullmatch(host):
                raise ValueError(f"finish: {host!r} is not a host's name")
        for ending in (self.answered, self.empty):
            if not isinstance(ending.code, str) or len(ending.code) > 128 or not (ending.code or "-").isprintable():
                raise ValueError("finish: a code is one line of at most 128 characters")
            if ending.url and not (isinstance(ending.url, str) and self._leads_home(ending.url)):
                where = " or ".join(self.hosts) or "any of no hosts"
                raise ValueError(f"finish: {ending.url!r} is not an https address at {where}")

    def _leads_home(self, url: str) -> bool:
        parts = urlsplit(url) if _URL.fullmatch(url) else None
        before, _, after = url.partition("?")
        filled = "{" in before or "}" in before or re.search(r"[{}]", _FILLED.sub("", after))
        return parts is not None and parts.scheme == "https" and parts.netloc in self.hosts and not filled

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Finish:
        """From JSON. ValueError or TypeError when it is not one."""
        endings = {name: Ending(**told) for name, told in data.items() if name != "hosts"}
        hosts = data.get("hosts", ())
        if isinstance(hosts, str):
            raise TypeError("finish: hosts is a list")
        return cls(**endings, hosts=tuple(hosts))


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
    claims: Claims | None = None  # links for everybody are good only with them
    finish: Finish | None = None
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
        data["claims"] = data["claims"] and Claims(**data["claims"])
        data["finish"] = data["finish"] and Finish.of(data["finish"])
        data["frame_ancestors"] = tuple(data["frame_ancestors"])
        data["limits"] = Limits(**data["limits"])
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelConfig:
    """Where simulated people get their visits when no link was signed for them (crowd.panel), and how visits end there.

    The rates are shares of visits; the rest works, and hands in with the code of the page.
    """

    kind: str  # "fake": of a service (crowdstack.fakes), by its control routes | "link": everybody has one link
    url: str  # the fake's origin; the link
    token: Secret = field(default=Secret(b""), repr=False)  # fake: its control token
    worker: str = "worker"  # link: the parameters that hold who comes, and which visit it is
    submission: str = "visit"
    returns: float = 0.0  # gives its place back in the middle
    times_out: float = 0.0  # leaves in the middle without a word
    no_code: float = 0.0  # works, and hands in without the code


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdConfig:
    """A simulated crowd: `python -m crowdstack.crowd --folder F` reads F/crowd.json, writes F/journal.jsonl.

    Its workers have signed links for `study` of `run` at `origin`, unless there is a `panel` that sends them.
    """

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
    panel: PanelConfig | None = None

    def to_bytes(self) -> bytes:
        data = asdict(self)
        data["link_key"] = b64(self.link_key)
        if self.panel is not None:
            data["panel"]["token"] = b64(self.panel.token)
        return json.dumps(data, sort_keys=True, indent=1).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> CrowdConfig:
        data = json.loads(raw)
        data["link_key"] = Secret(unb64(data["link_key"]))
        if data["panel"] is not None:
            data["panel"] = PanelConfig(**{**data["panel"], "token": Secret(unb64(data["panel"]["token"]))})
        return cls(**data)
