"""Keys of a run and what is signed with them: links, sessions, health proofs, control proofs.

One root key per run (secret output of the stack); every use has a key of its own (threats 5.1-5.3).
A token is checked in constant time before anything inside it is decoded.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PURPOSES = ("link", "session", "control", "metrics")


class Secret(bytes):
    """Bytes that never print themselves."""

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


def derive(root: bytes, run: str, purpose: str) -> Secret:
    """HKDF-SHA256(root, salt=run, info="crowdstack/v1/<purpose>"), 32 bytes (RFC 5869, one block)."""
    assert purpose in PURPOSES
    extracted = hmac.digest(run.encode(), root, "sha256")
    return Secret(hmac.digest(extracted, f"crowdstack/v1/{purpose}".encode() + b"\x01", "sha256"))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """ValueError on anything that `b64` would not have written (so no bit of a token is idle)."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64(data) != text:
        raise ValueError("not canonical base64url")
    return data


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and checks `v1.<kid>.<payload>.<mac>`; `use` ("link", "session") keeps one kind from passing as another."""

    key: Secret
    use: str
    kid: str = "1"

    def _mac(self, kid: str, payload: str) -> bytes:
        return hmac.digest(self.key, f"crowdstack/{self.use}/v1\0{kid}.{payload}".encode(), "sha256")

    def sign(self, claims: Mapping[str, Any]) -> str:
        payload = b64(json.dumps(claims, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())
        return f"v1.{self.kid}.{payload}.{b64(self._mac(self.kid, payload))}"

    def check(self, token: str, *, now: float) -> dict[str, Any] | None:
        """The claims, or None for every reason there is to refuse. `now`: UTC seconds, compared with `exp` if there is one."""
        if len(token) > 4096 or not token.isascii():
            return None
        version, _, rest = token.partition(".")
        kid, _, rest = rest.partition(".")
        payload, _, mac = rest.partition(".")
        try:
            given = unb64(mac)
        except ValueError:
            given = b""
        if not hmac.compare_digest(given, self._mac(kid, payload)) or version != "v1" or kid != self.kid:
            return None
        claims: dict[str, Any] = json.loads(unb64(payload))
        expires = claims.get("exp")
        return None if expires is not None and expires <= now else claims


def link_claims(
    *, run: str, study: str, provider: str, worker: str, origin: str, issued: int, expires: int | None
) -> dict[str, Any]:
    """What a worker link says (threats 5.2); `worker` is "*" for a link that a provider shows to everybody."""
    claims: dict[str, Any] = {
        "run": run,
        "study": study,
        "provider": provider,
        "worker": worker,
        "origin": origin,
        "iat": issued,
    }
    return claims if expires is None else {**claims, "exp": expires}


def link_url(origin: str, token: str) -> str:
    return f"{origin}/?t={token}"


def framed(*parts: str | bytes) -> bytes:
    """Length-prefixed concatenation: no two lists of parts give the same bytes."""
    out = b""
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        out += len(data).to_bytes(4, "big") + data
    return out


def control_proof(key: bytes, side: str, *, origin: str, inbox: str, nonce_s: str, nonce_c: str, term: int) -> str:
    """Either side's proof that it holds the control key, bound to this connection. `side`: "client/v1" or "server/v1"."""
    return hmac.digest(key, framed(side, origin, inbox, nonce_s, nonce_c, str(term)), "sha256").hex()


def health_proof(key: bytes, *, nonce: str, run: str, config: str) -> str:
    """What `/healthz` answers in `X-Crowdstack-Proof` to a caller's `X-Crowdstack-Nonce`; `config`: digest of server.json."""
    return hmac.digest(key, framed("health/v1", nonce, run, config), "sha256").hex()


def config_digest(config: bytes) -> str:
    """The digest that names one state of server.json."""
    return hashlib.sha256(config).hexdigest()
