"""Secrets in Pulumi's passphrase form: what its CLI encrypts is opened here, and the other way round.

AES-256-GCM under a key that PBKDF2 derives from the passphrase (0.3 s, by intent), with a salt that stands in the state
together with a word by which a wrong passphrase is noticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from crowdstack.errors import StateMismatch
from crowdstack.folder import private_folder, write_private

_ROUNDS = 1_000_000
_WORD = "pulumi"


@dataclass(frozen=True)
class Passphrase:
    """A key and the salt it was derived with, as it stands in `secrets_providers.state.salt`."""

    salt: str
    _key: bytes = field(repr=False)

    @classmethod
    def new(cls, text: str) -> Passphrase:
        raw = secrets.token_bytes(8)
        key = _derive(text, raw)
        return cls(f"v1:{_b64(raw)}:{_seal(key, _WORD)}", key)

    @classmethod
    def of(cls, text: str, salt: str, *, where: str) -> Passphrase:
        """StateMismatch when it is not the passphrase that this salt belongs to."""
        try:
            version, raw, word = salt.split(":", 2)
            found = cls(salt, _derive(text, base64.b64decode(raw, validate=True)))
        except (ValueError, binascii.Error) as fault:
            raise StateMismatch("the salt of this state cannot be read", where=where) from fault
        if version != "v1" or found._opened(word) != _WORD:
            raise StateMismatch(
                "the passphrase does not open the secrets of this state",
                where=where,
                hint="use the passphrase that the state was written with",
            )
        return found

    def seal(self, text: str) -> str:
        return _seal(self._key, text)

    def open(self, sealed: str) -> str:
        found = self._opened(sealed)
        if found is None:
            raise StateMismatch("a secret in this state was altered")
        return found

    def _opened(self, sealed: str) -> str | None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            version, nonce, body = sealed.split(":")
            if version != "v1":
                return None
            return AESGCM(self._key).decrypt(base64.b64decode(nonce), base64.b64decode(body), None).decode()
        except (ValueError, binascii.Error, InvalidTag):
            return None


def read_passphrase(path: Path) -> str:
    """As the CLI reads it: without blanks around it."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise StateMismatch(
            "the passphrase is gone, the secrets of this state cannot be read",
            where=str(path),
            hint="put the file back from a backup",
        ) from None


def prepare_passphrase(path: Path) -> str:
    """The passphrase in this file; a random one is made if there is none."""
    if not path.exists():
        private_folder(path.parent)
        write_private(path, secrets.token_hex(32).encode())
    return read_passphrase(path)


def _derive(text: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", text.encode(), salt, _ROUNDS, 32)


def _seal(key: bytes, text: str) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(12)
    return f"v1:{_b64(nonce)}:{_b64(AESGCM(key).encrypt(nonce, text.encode(), None))}"


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
