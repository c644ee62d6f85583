"""An issuer of tokens for tests: real keys, and a real server that publishes them on loopback."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import jwt
from anyio.abc import SocketAttribute, SocketStream
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

RESOURCE = "https://hub.example.com/mcp"


@dataclass
class Key:
    kid: str
    algorithm: str
    private: Any

    @classmethod
    def make(cls, kid: str, algorithm: str = "ES256") -> Key:
        if algorithm.startswith("ES"):
            return cls(
                kid,
                algorithm,
                ec.generate_private_key(ec.SECP384R1() if algorithm == "ES384" else ec.SECP256R1()),
            )
        if algorithm == "EdDSA":
            return cls(kid, algorithm, ed25519.Ed25519PrivateKey.generate())
        return cls(kid, algorithm, rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def public(self, **more: Any) -> dict[str, Any]:
        kinds: dict[str, Any] = {"E": ECAlgorithm, "R": RSAAlgorithm, "P": RSAAlgorithm}
        kind = OKPAlgorithm if self.algorithm == "EdDSA" else kinds[self.algorithm[0]]
        made: dict[str, Any] = json.loads(kind.to_jwk(self.private.public_key()))
        return {**made, "kid": self.kid, **more}


@dataclass
class Issuer:
    url: str
    keys: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    status: bytes = b"200 OK"
    body: bytes | None = None
    """What is answered instead of the keys."""
    answers: bool = True

    @property
    def jwks(self) -> str:
        return f"{self.url}/keys"

    def token(self, key: Key, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good one, unless it is told otherwise; a claim that is `None` is left out."""
        now = int(time.time())
        said = {"iss": self.url, "aud": RESOURCE, "sub": "ada", "exp": now + 600, "iat": now, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key.private, key.algorithm, {"kid": key.kid, **(headers or {})})


@asynccontextmanager
async def issuer() -> AsyncIterator[Issuer]:
    """One that listens until left."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    it = Issuer(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")

    async def answer(stream: SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                try:
                    head += await stream.receive()
                except anyio.EndOfStream:
                    return  # whoever connected gave up before it had asked
            assert head.startswith(b"GET /keys HTTP/1.1\r\n")
            assert b"authorization" not in head.lower()
            it.asked += 1
            if not it.answers:
                await anyio.sleep_forever()
            body = json.dumps({"keys": it.keys}).encode() if it.body is None else it.body
            start = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nLocation: /keys\r\n" % (it.status, len(body))
            await stream.send(start + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield it
        tasks.cancel_scope.cancel()
