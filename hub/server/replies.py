"""Answers over HTTP that are no streams: JSON, nothing, and every way to say no."""

from __future__ import annotations

from typing import Final

import anyio

from connectors.jsonrpc import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
)
from hub.server.errors import Fault
from hub.server.methods import failure
from hub.server.running import Work
from hub.server.streams import HEADERS, Send

__all__ = [
    "MODERN_STATUS",
    "Rejection",
    "not_allowed",
    "refused",
    "send_empty",
    "send_end",
    "send_json",
    "too_many_streams",
    "unauthorized",
]

MODERN_STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
"""The status of a modern error answer, by its code; 200 for all others."""

_JSON: Final = (b"content-type", b"application/json")
_LAST_WORDS_SECONDS: Final = 5.0

Header = tuple[bytes, bytes]


class Rejection(Exception):
    """A request that is answered with this status and JSON-RPC error."""

    def __init__(self, status: int, fault: Fault, id: int | str | None = None, *headers: Header) -> None:
        super().__init__(status, fault.message)
        self.status = status
        self.fault = fault
        self.id = id
        self.headers = headers

    async def send(self, send: Send) -> None:
        await send_json(send, self.status, failure(self.fault, self.id), *self.headers)


def refused(status: int, message: str, id: int | str | None = None, *headers: Header) -> Rejection:
    """A request that HTTP's own rules end."""
    return Rejection(status, Fault(INVALID_REQUEST, message), id, *headers)


def not_allowed(*methods: str) -> Rejection:
    return refused(405, "Method not allowed", None, (b"allow", ", ".join(methods).encode()))


def unauthorized() -> Rejection:
    return refused(401, "Unauthorized: send a valid token", None, (b"www-authenticate", b"Bearer"))


def too_many_streams(most: int) -> Rejection:
    message = f"Too many streams: at most {most} at once for one agent"
    return Rejection(429, Fault(INTERNAL_ERROR, message, {"reason": "too_many_streams"}))


async def send_json(send: Send, status: int, text: bytes, *headers: Header) -> None:
    length = (b"content-length", b"%d" % len(text))
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": text})


async def send_empty(send: Send, status: int) -> None:
    headers = [] if status == 204 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def send_end(send: Send, work: Work) -> None:
    """Whatever is still owed to a peer whose work was ended early."""
    if work.finished:
        return
    with anyio.move_on_after(_LAST_WORDS_SECONDS):
        if work.reason == "gone" or (work.reason == "slow" and work.started):
            return
        if work.started:
            await send({"type": "http.response.body", "body": b""})
        elif work.reason == "revoked":
            await unauthorized().send(send)
        elif work.reason == "slow":
            await refused(408, "Request timeout", None, (b"connection", b"close")).send(send)
        else:
            # A cancelled request gets no JSON-RPC answer: a stream that ends without one says so.
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await send({"type": "http.response.body", "body": b""})
