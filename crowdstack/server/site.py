"""The pages and files of one bundle: a table from URL to content, nothing else can be read (threats W9, W11)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from crowdstack.wire.configs import BundleFile, ServerConfig

_CACHED = 32 * 1024 * 1024  # bytes of files held in memory
_HEAD = re.compile(rb"<head(?:\s[^>]*)?>", re.IGNORECASE)
_DOCTYPE = re.compile(rb"<!doctype[^>]*>", re.IGNORECASE)
_INLINE = re.compile(rb"<script(?![^>]*\ssrc\s*=)[^>]*>(.*?)</script\s*>", re.IGNORECASE | re.DOTALL)

# On every answer of the server.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), payment=(), usb=()",
}


@dataclass(frozen=True, slots=True)
class Page:
    content: bytes
    type: str
    policy: str  # Content-Security-Policy


class Site:
    """Reads blobs by digest and believes only content that has it."""

    def __init__(self, config: ServerConfig, blobs: Path) -> None:
        self._files, self._blobs = config.files, blobs
        self._bundle, self._config = config.bundle, config
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached = 0
        self._page: Page | None = None

    def find(self, url: str) -> BundleFile | None:
        return self._files.get(url)

    def page(self) -> Page:
        """The task app's page, with the bundle's digest in it; its own inline scripts are allowed by their hashes."""
        if self._page is None:
            file = self._files["/"]
            html = self.read(file)
            meta = f'<meta name="crowdstack-bundle" content="{self._bundle}">'.encode()
            place = _HEAD.search(html) or _DOCTYPE.search(html)
            at = place.end() if place else 0
            hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _INLINE.findall(html)]
            self._page = Page(html[:at] + meta + html[at:], file.type, self._policy(hashes))
        return self._page

    def read(self, file: BundleFile) -> bytes:
        """The content. FileNotFoundError also when the file is there but is not what it is called."""
        if (known := self._cache.get(file.blob)) is not None:
            self._cache.move_to_end(file.blob)
            return known
        content = (self._blobs / file.blob).read_bytes()
        if hashlib.sha256(content).hexdigest() != file.blob:
            raise FileNotFoundError(f"blob {file.blob} is damaged")
        self._cache[file.blob] = content
        self._cached += len(content)
        while self._cached > _CACHED:
            self._cached -= len(self._cache.popitem(last=False)[1])
        return content

    def _policy(self, hashes: list[str]) -> str:
        framers = " ".join(self._config.frame_ancestors) or "'none'"
        scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)])
        socket = re.sub(r"^http", "ws", self._config.origin)
        return "; ".join(
            [
                "default-src 'self'",
                f"script-src {scripts}",
                "style-src 'self' 'unsafe-inline'",
                "img-src 'self' data: blob:",
                "media-src 'self' data: blob:",
                "font-src 'self' data:",
                f"connect-src 'self' {socket}",
                "object-src 'none'",
                "base-uri 'none'",
                "form-action 'none'",
                f"frame-ancestors {framers}",
            ]
        )
