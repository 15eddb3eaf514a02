"""Secrets of the engine's state: AES-256-GCM under a key of 32 random bytes in a file of its own (0600)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crowdstack.errors import Refused, StateMismatch
from crowdstack.folder import private_folder, write_private
from crowdstack.tokens import Secret

_SIZE = 32
_NONCE = 12


@dataclass(frozen=True)
class Vault:
    """Seals and opens text. The key is read (or made, when something is first sealed) at the first use."""

    key_file: Path

    @cached_property
    def _key(self) -> Secret:
        try:
            found = self.key_file.lstat()
        except FileNotFoundError:
            raise StateMismatch(
                "the key of the engine's state is gone, its secrets cannot be read",
                where=str(self.key_file),
                hint="put the file back from a backup",
            ) from None
        if found.st_mode & 0o077 or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
            raise Refused("others can read or write this key", where=str(self.key_file), hint="chmod 600 it")
        key = self.key_file.read_bytes()
        if len(key) != _SIZE or self.key_file.is_symlink():
            raise StateMismatch("this is not a state key (32 bytes)", where=str(self.key_file))
        return Secret(key)

    @property
    def key_id(self) -> str:
        """Names the key without telling anything about it."""
        return hashlib.sha256(b"crowdstack/state-key/" + self._key).hexdigest()[:16]

    def prepare(self) -> None:
        """Make the key if there is none."""
        if not os.path.lexists(self.key_file):
            private_folder(self.key_file.parent)
            write_private(self.key_file, secrets.token_bytes(_SIZE))

    def seal(self, text: str) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self._key).encrypt(nonce, text.encode(), None)
        return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str) -> str:
        """StateMismatch when it was altered or sealed with another key."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            version, nonce, body = sealed.split(":")
            if version != "v1":
                raise ValueError(version)
            return AESGCM(self._key).decrypt(base64.b64decode(nonce), base64.b64decode(body), None).decode()
        except (ValueError, binascii.Error, InvalidTag) as fault:
            raise StateMismatch(
                "a secret in the engine's state was altered or belongs to another key",
                where=str(self.key_file),
                hint="put back the key and the state from one backup",
            ) from fault
