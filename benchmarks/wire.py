"""One keep-alive HTTP/1.1 connection that asks one thing at a time: the load's, and the forwarder's.

Not a client: no redirects, no pool, no TLS, one host. As thin as Python allows, so that what is measured is
what stands at the other end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import httptools

__all__ = ["Answer", "Connection", "head"]

SECONDS_MAX = 30.0
"""No answer in this time ends the run: a benchmark with hanging calls measures nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


def head(port: int, path: str, headers: Mapping[str, str]) -> bytes:
    """All of a POST's head but for its length and the empty line, which `Connection.post` adds."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json",
             "Accept: application/json, text/event-stream"]  # fmt: skip
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\nContent-Length: "


class Connection(asyncio.Protocol):
    """Ask with `post`; `ConnectionError` once the other side has gone."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._fresh()

    @classmethod
    async def open(cls, port: int) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    async def post(self, head: bytes, body: bytes) -> Answer:
        return await self.send(b"%b%d\r\n\r\n%b" % (head, len(body), body))

    async def get(self, port: int, path: str) -> Answer:
        return await self.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())

    async def send(self, request: bytes) -> Answer:
        if self._transport is None:
            raise ConnectionError("the connection is closed")
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        self._waiting = waiting
        timer = loop.call_later(SECONDS_MAX, self._too_late, waiting)
        self._transport.write(request)
        try:
            return await waiting
        finally:
            timer.cancel()

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _too_late(self, waiting: asyncio.Future[Answer]) -> None:
        if not waiting.done():
            waiting.set_exception(TimeoutError(f"no answer in {SECONDS_MAX:g} s"))

    def _fresh(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError(f"the connection broke: {error}"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        answer = Answer(self._parser.get_status_code(), self._headers, b"".join(self._parts))
        self._headers, self._parts = {}, []
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)
