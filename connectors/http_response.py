"""One HTTP answer as whoever asked reads it: whole, or as a stream. Knows nothing of sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from connectors.large import LARGE_BYTES, Hold

if TYPE_CHECKING:
    from connectors.http_connection import Connection

__all__ = ["BACKLOG_BYTES_MAX", "Response", "Stream", "status_text"]

BACKLOG_BYTES_MAX: Final = 256 * 1024
"""How much of an event stream may wait to be used before the socket is left alone."""


def status_text(status: int) -> str:
    """`HTTP 502 Bad Gateway`: in the standard's words, not the server's."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


class Response:
    """One answer. Either `body` is whole, or `stream` gives it."""

    __slots__ = ("body", "headers", "hold", "status", "stream")

    def __init__(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers
        """Names in lower case; of a repeated one the values are joined by a comma (RFC 9110, 5.3)."""
        self.body = b""
        self.stream: Stream | None = None
        self.hold: Hold | None = None
        """Of a large body."""

    def header(self, name: bytes) -> str:
        """Its value without white space around it, or an empty string."""
        return self.headers.get(name, b"").decode("latin-1").strip()

    def leave(self) -> None:
        """Its body, if it still comes, is of no interest."""
        if self.stream is not None:
            self.stream.close()

    @property
    def content_type(self) -> str:
        return self.header(b"content-type").partition(";")[0].rstrip().lower()


class Stream:
    """The body of an answer that goes on. For one reader; `close` it, whatever happens."""

    __slots__ = (
        "_backlog", "_connection", "_error", "_is_held_back", "_paused", "_size", "_waiter", "ended", "hold",
    )  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._backlog: list[bytes] = []
        self._size = 0
        self._paused = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_held_back = False
        self.ended = False
        self.hold: Hold | None = None
        """Of the message that it is in the middle of, where that is large."""

    async def read(self) -> bytes:
        """What has come since the last time; waits for it. Empty at the end.

        Raises:
            LinkError: the connection broke; what came before it has been given.
        """
        while not self._backlog or self._is_held_back:
            if self._error is not None:
                raise self._error
            if self.ended:
                if self._backlog:
                    break
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        backlog, self._backlog, self._size = self._backlog, [], 0
        if self._paused:
            self._paused = False
            self._connection.resume()
        return backlog[0] if len(backlog) == 1 else b"".join(backlog)

    def follow(self, new: Callable[[], Hold], size: int) -> None:
        """Go on when there is room for a message of which so much has come and more will.

        Args:
            new: Where it takes its room from, if it is large.
        """
        if size <= LARGE_BYTES:
            self.hold = None
            return
        hold = self.hold = self.hold or new()
        if size > hold.size:
            self._is_held_back = not hold.grow(size, self._go_on)

    def _go_on(self) -> None:
        self._is_held_back = False
        self._wake()

    def close(self, *, drain: bool = False) -> None:
        """No more of it is wanted. May be called twice.

        Args:
            drain: The end is near: keep the connection, if the end does come. Otherwise an
                unfinished stream's connection is closed, which tells the server.
        """
        connection, self._backlog = self._connection, []
        if self.hold is not None:
            self.hold.leave()
        if self._paused:
            self._paused = False
            connection.resume()
        connection.leave_stream(self, drain=drain)

    def push(self, data: bytes) -> None:
        self._backlog.append(data)
        self._size += len(data)
        if self._size > BACKLOG_BYTES_MAX and not self._paused:
            self._paused = True
            self._connection.pause()
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        self.ended, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
