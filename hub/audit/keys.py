"""The key that signs the audit chain: Ed25519, kept by the hub, checked by anybody."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hub.env import Env
from hub.seal import load_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Ed25519Signer", "is_signed_by", "signer_at"]

_PREFIX: Final = "ed25519:"


@dataclass(frozen=True)
class Ed25519Signer:
    """Loads what it signs with when it first signs: 7 MiB and 10 ms that no start has to wait for."""

    secret: bytes = field(repr=False)
    """32 bytes."""

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.secret)

    @property
    def key(self) -> str:
        """`ed25519:` and the 32 bytes of the public key in hexadecimal."""
        return _PREFIX + self._private.public_key().public_bytes_raw().hex()

    def sign(self, text: bytes) -> bytes:
        return self._private.sign(text)


def signer_at(path: Path, env: Env) -> Ed25519Signer:
    """The key in a file for its owner only; made where there is none. Raises `HomeError`."""
    return Ed25519Signer(load_key(path, env))


def is_signed_by(key: str, text: bytes, signature: bytes) -> bool:
    """Whether `signature` is the one of that public key under `text`. Raises `ValueError`: it is no key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        if not key.startswith(_PREFIX):
            raise ValueError(f"it does not begin with {_PREFIX}")
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.removeprefix(_PREFIX)))
    except ValueError:
        raise ValueError(
            f"{key[:80]!r} is no key of an audit. Write {_PREFIX}... as `hub audit key` prints it."
        ) from None
    try:
        public.verify(signature, text)
    except InvalidSignature:
        return False
    return True
