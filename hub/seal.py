"""Sealed words: what a client is given to keep and bring back, and can neither read, change nor lend.

AES-256-GCM over a small JSON array; the purpose is bound in as associated data, so that what was
sealed for one use opens for no other.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.jsonrpc import Budget, encode, parse
from hub.env import Env
from hub.home import usable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Broken", "Seal", "load_key"]

_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_LENGTH_MAX: Final = 4 * 1024 * 1024
_BUDGET: Final = Budget(_LENGTH_MAX, 100_000)


class Broken(Exception):
    """Not sealed here, not for this, changed, or too old."""


class Seal:
    def __init__(self, key: bytes, env: Env) -> None:
        """
        Args:
            key: 32 bytes. The same key opens what was sealed before a restart.
        """
        self._key = key
        self._env = env
        self._cipher_made: AESGCM | None = None

    @property
    def _cipher(self) -> AESGCM:
        if self._cipher_made is None:
            # Most calls carry no sealed word: those hubs never pay for the import.
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._cipher_made = AESGCM(self._key)
        return self._cipher_made

    @property
    def name(self) -> str:
        """The hub's own, for itself to know it by. Made of its key, and of no use to find that out."""
        return hashlib.sha256(b"name of a hub" + self._key).hexdigest()[:32]

    def close(self, purpose: str, words: list[Any], *, seconds: float) -> str:
        """Seal JSON values for `purpose`, to be opened within so many seconds."""
        return self.lock(purpose, encode([int(self._env.now() + seconds), *words]))

    def open(self, purpose: str, sealed: str) -> list[Any]:
        """The words again.

        Raises:
            Broken: it is none of ours, or its time is over.
        """
        until: int
        words: list[Any]
        until, *words = parse(self.unlock(purpose, sealed), _BUDGET)
        if self._env.now() > until:
            raise Broken("its time is over")
        return words

    def lock(self, purpose: str, data: bytes) -> str:
        """Bytes that only this key opens again, for `purpose` only, at any time."""
        nonce = self._env.random_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, data, purpose.encode())
        return _text(sealed)

    def unlock(self, purpose: str, sealed: str) -> bytes:
        """The bytes again.

        Raises:
            Broken: they are none of ours.
        """
        from cryptography.exceptions import InvalidTag

        try:
            if len(sealed) > _LENGTH_MAX:
                raise Broken("too long")
            data = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            if _text(data) != sealed:
                raise Broken("spelled otherwise")  # the last character has bits that say nothing
            return self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], purpose.encode())
        except (ValueError, InvalidTag) as error:
            raise Broken("not sealed here, or not for this") from error


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def load_key(path: Path, env: Env) -> bytes:
    """The hub's own key, kept in a file for its owner only; made where there is none.

    Raises:
        HomeError: it can be neither read nor made.
    """
    with usable(path):
        return _read_or_made(path, env)


def _read_or_made(path: Path, env: Env) -> bytes:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
        key = path.read_bytes()
        if len(key) == _KEY_BYTES:
            return key
    except FileNotFoundError:
        pass
    key = env.random_bytes(_KEY_BYTES)
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return key
