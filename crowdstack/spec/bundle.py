"""Bundle: everything a worker's browser may load, as a table of URL -> digest. Built once, served from, never from a folder."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from crowdstack import assets
from crowdstack.spec.files import Unfit, blaming, listed, read
from crowdstack.spec.load import refuse
from crowdstack.spec.models import Spec
from crowdstack.wire.configs import BundleFile

MAX_FILE = 100 * 1024 * 1024
MAX_BUNDLE = 512 * 1024 * 1024
MAX_FILES = 10_000

_OWN = re.compile(
    r"/(|client\.js|crowdstack\.css|sample\.json|healthz|metrics|v1(/.*)?)", re.IGNORECASE
)  # URLs of the server
_CLIENT = re.compile(rb"<script[^>]+src\s*=\s*[\"']?(\./|/)?client\.js[\"'\s>]", re.IGNORECASE)
_TEXT = {
    "html": "html",
    "htm": "html",
    "css": "css",
    "js": "javascript",
    "mjs": "javascript",
    "txt": "plain",
    "csv": "csv",
    "vtt": "vtt",
    "md": "markdown",
}
_OTHER = {
    "json": "application/json",
    "pdf": "application/pdf",
    "wasm": "application/wasm",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "ico": "image/x-icon",
    "bmp": "image/bmp",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "ttf": "font/ttf",
    "otf": "font/otf",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """`files`: the table; `sources`: the bytes of each blob; `digest` names the whole of it."""

    digest: str
    files: Mapping[str, BundleFile]
    sources: Mapping[str, bytes] = field(repr=False)


def build_bundle(spec: Spec) -> Bundle:
    """The task app's page at `/`, the client, the default look, the assets under their paths, and the sample. SpecError for unfit files."""
    apps = assets.folder("task_apps")
    contents = {
        "/": _page(spec),
        "/client.js": (apps / "client" / "client.js").read_bytes(),
        "/crowdstack.css": (apps / "html" / "crowdstack.css").read_bytes(),
        **({} if spec.task.sample is None else {"/sample.json": _sample(spec)}),
        **{f"/{path}": content for path, content in _assets(spec).items()},
    }
    digests = {url: hashlib.sha256(content).hexdigest() for url, content in contents.items()}
    files = {url: BundleFile(blob=digests[url], type=media_type(url)) for url in sorted(contents)}
    table = json.dumps({url: asdict(file) for url, file in files.items()}, sort_keys=True, separators=(",", ":"))
    return Bundle(
        digest=hashlib.sha256(table.encode()).hexdigest(),
        files=files,
        sources={digests[url]: content for url, content in contents.items()},
    )


def media_type(url: str) -> str:
    """By the file's ending; from our own table, so that the same bundle has the same digest on every machine."""
    ending = "html" if url == "/" else url.rpartition(".")[2].lower()
    if ending in _TEXT:
        return f"text/{_TEXT[ending]}; charset=utf-8"
    return _OTHER.get(ending, "application/octet-stream")


def _page(spec: Spec) -> bytes:
    path = ("task", "app", "html")
    with blaming(spec.document, path):
        page = read(spec.folder, spec.task.app.html, MAX_FILE)
    if not _CLIENT.search(page):
        hint = 'put <script src="/client.js"></script> into its head'
        refuse([spec.document.problem(path, f"{spec.task.app.html} does not load the client", hint)])
    return page


def _sample(spec: Spec) -> bytes:
    task = spec.task
    shown = {"title": task.title, "description": task.description, "data": task.sample}
    return json.dumps(shown, sort_keys=True, ensure_ascii=False).encode()


def _assets(spec: Spec) -> dict[str, bytes]:
    path = ("task", "assets")
    if spec.task.assets is None:
        return {}
    found: dict[str, bytes] = {}
    with blaming(spec.document, path):
        names = listed(spec.folder, spec.task.assets)
        total = 0
        for name in names[:MAX_FILES]:
            found[name] = read(spec.folder, name, MAX_FILE)
            total += len(found[name])
            if total > MAX_BUNDLE:
                raise Unfit(f"the files in {spec.task.assets} are larger than {MAX_BUNDLE // 1024**2} MiB together")
    problems = [spec.document.problem(path, message) for message in _unfit_names(names)]
    refuse(problems)
    return found


def _unfit_names(names: list[str]) -> list[str]:
    """What cannot be served: too many, names of the server's own URLs, names that some file systems cannot tell apart."""
    unfit = [f"/{name} is an address of the server itself" for name in names if _OWN.fullmatch(f"/{name}")]
    if len(names) > MAX_FILES:
        unfit.append(f"the folder holds {len(names):,} files, at most {MAX_FILES:,} are served")
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if twin != name:
            unfit.append(f"{twin} and {name} differ only in case or in the form of their letters")
    return unfit
