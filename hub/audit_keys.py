"""The key that signs the audit chain: Ed25519, kept by the hub, checked by anybody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hub.env import Env
from hub.seal import load_key

__all__ = ["Ed25519Signer", "is_signed_by", "signer_at"]

_PREFIX: Final = "ed25519:"


@dataclass(frozen=True)
class Ed25519Signer:
    private: Ed25519PrivateKey

    @property
    def key(self) -> str:
        """`ed25519:` and the 32 bytes of the public key in hexadecimal."""
        return _PREFIX + self.private.public_key().public_bytes_raw().hex()

    def sign(self, text: bytes) -> bytes:
        return self.private.sign(text)


def signer_at(path: Path, env: Env) -> Ed25519Signer:
    """The key in a file for its owner only; made where there is none. Raises `OSError`."""
    return Ed25519Signer(Ed25519PrivateKey.from_private_bytes(load_key(path, env)))


def is_signed_by(key: str, text: bytes, signature: bytes) -> bool:
    """Whether `signature` is the one of that public key under `text`. Raises `ValueError`: it is no key."""
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
