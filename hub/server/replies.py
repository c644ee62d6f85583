"""Answers over HTTP that are no streams: JSON, nothing, and every way to say no."""

from __future__ import annotations

from typing import Final

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
from hub.server.streams import HEADERS
from hub.server.turns import RETRY_SECONDS
from hub.server.wire_request import Header, Request

__all__ = [
    "MODERN_STATUS",
    "Rejection",
    "crowded",
    "not_allowed",
    "refused",
    "send_end",
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


class Rejection(Exception):
    """A request that is answered with this status and JSON-RPC error."""

    def __init__(self, status: int, fault: Fault, id: int | str | None = None, *headers: Header) -> None:
        super().__init__(status, fault.message)
        self.status = status
        self.fault = fault
        self.id = id
        self.headers = headers

    def send(self, request: Request) -> None:
        request.answer(self.status, failure(self.fault, self.id), *self.headers)


def refused(status: int, message: str, id: int | str | None = None, *headers: Header) -> Rejection:
    """A request that HTTP's own rules end."""
    return Rejection(status, Fault(INVALID_REQUEST, message), id, *headers)


def not_allowed(*methods: str) -> Rejection:
    return refused(405, "Method not allowed", None, (b"allow", ", ".join(methods).encode()))


def unauthorized(challenge: bytes = b"Bearer") -> Rejection:
    """`challenge` says where a token can be had (`protected_resource`)."""
    return refused(401, "Unauthorized: send a valid token", None, (b"www-authenticate", challenge))


def crowded(message: str) -> Rejection:
    about = {"reason": "busy", "retry_after_seconds": RETRY_SECONDS}
    retry = (b"retry-after", b"%d" % RETRY_SECONDS)
    return Rejection(429, Fault(INTERNAL_ERROR, message, about), None, retry)


def too_many_streams(most: int) -> Rejection:
    message = f"Too many streams: at most {most} at once for one agent"
    return Rejection(429, Fault(INTERNAL_ERROR, message, {"reason": "too_many_streams"}))


def send_end(request: Request, work: Work) -> None:
    """Whatever is still owed to a peer whose work was ended early."""
    if request.ended or work.reason == "gone" or (work.reason == "slow" and request.started):
        return
    if request.started:
        request.write(b"", last=True)
    elif work.reason == "revoked":
        unauthorized().send(request)
    elif work.reason == "slow":
        request.close_after()
        refused(408, "Request timeout").send(request)
    else:
        # A cancelled request gets no JSON-RPC answer: a stream that ends without one says so.
        request.start(HEADERS)
        request.write(b"", last=True)
