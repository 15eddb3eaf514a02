"""Where a token may be sent: `scheme://host[:port]`, https but for this machine. Called where credentials are kept and used."""

from __future__ import annotations

from urllib.parse import urlsplit

from crowdstack.errors import UsageError

PROLIFIC = "https://api.prolific.com"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def checked_origin(text: str) -> str:
    """The origin in its one form. UsageError for anything that is more or less than one, and for http to other machines."""
    parts = urlsplit(text.rstrip("/"))
    try:
        port = parts.port
    except ValueError:
        port = 0
    more = parts.path or parts.query or parts.fragment or parts.username or parts.password or not text.isprintable()
    if port == 0 or parts.scheme not in ("http", "https") or not parts.hostname or more or " " in text:
        raise UsageError("this is no origin", where=text[:200], hint="write it like https://api.prolific.com")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UsageError("a token goes over https only", where=text[:200], hint="http is for this machine: 127.0.0.1")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = port is None or port == {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if usual else f":{port}")
