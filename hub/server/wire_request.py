"""One HTTP request as the wire hands it over, and the one answer to it. Knows nothing of sockets.

Writing never waits: what a slow reader has not taken yet is the transport's, and whoever writes more
than one piece waits for `room` in between.

Source: RFC 9110 and 9112.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hub.server.wire_connection import Connection

__all__ = ["BrokenBody", "Crowded", "Gone", "Head", "Header", "Request", "TooLarge"]

Header = tuple[bytes, bytes]

AHEAD_BYTES_MAX: Final = 64 * 1024
"""How much of a body is read before anybody asks for it."""

_APART_BYTES: Final = 16 * 1024
"""From here on it costs more to join head and body than to hand over both (in one system call)."""

_STATUS: Final[Mapping[int, bytes]] = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
_JSON: Final[Mapping[int, bytes]] = {
    status: line + b"content-type: application/json\r\ncontent-length: " for status, line in _STATUS.items()
}
CLOSE: Final = b"connection: close\r\n"


class Gone(Exception):
    """The client left before it had said all."""


class TooLarge(Exception):
    """More was posted than whoever asked for it takes."""


class BrokenBody(Exception):
    """What was posted is no HTTP. Its text says why."""


class Crowded(BrokenBody):
    """There are too many long bodies already: this one is not read."""


class Head:
    """What the head of a request says. Heads of equal bytes on one connection are one object."""

    __slots__ = ("facts", "is_chunkable", "keep_alive", "method", "owner", "pairs", "path", "query", "waits")

    def __init__(self, method: str, path: str, pairs: list[Header]) -> None:
        self.method = method
        self.path = path
        """Without the query, percent-decoded."""
        self.query = b""
        """As it came, without its `?`."""
        self.pairs = pairs
        """All headers but `Content-Length`: lower-cased names; values with the white space behind them."""
        self.keep_alive = True
        self.is_chunkable = True
        """Whether the client takes answers in chunks: not with HTTP/1.0."""
        self.waits = False
        """Whether the client sends no body before it is told to go on."""
        self.owner: bytes | None = None
        """Whose credential it carries, once somebody has looked."""
        self.facts: Any = None
        """What whoever answers found out from these bytes alone, kept for the next such head."""


def plain(status: int, text: str) -> bytes:
    """A whole answer that ends a connection, to what could not be understood as a request."""
    body = text.encode()
    head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(body)
    return b"".join((_STATUS[status], head, CLOSE, b"\r\n", body))


class Request:
    """A request. Answer it once: whole with `answer`, or with `start` and `write` up to the last.

    To a client that has gone, all writing is silently none.
    """

    __slots__ = (
        "_asked", "_body", "_bytes_max", "_connection", "_error", "_on_gone", "_waiter", "_whole",
        "ended", "head", "reserved", "started", "task",
    )  # fmt: skip

    def __init__(self, connection: Connection, head: Head, body: bytes = b"", *, whole: bool = False) -> None:
        self.head = head
        self.task: asyncio.Task[None] | None = None
        self.started = False
        """Whether an answer has begun to leave."""
        self.ended = False
        """Whether all of it has, though whoever answers may go on with something else."""
        self.reserved = 0
        """How much of memory is counted for its body."""
        self._connection = connection
        self._body: bytes | bytearray = body
        self._whole = whole
        self._asked = False
        self._bytes_max = AHEAD_BYTES_MAX
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._on_gone: Callable[[], None] | None = None

    # For whoever answers it.

    async def body(self, bytes_max: int) -> bytes:
        """All that was posted. To be asked for once.

        Raises:
            TooLarge: it is more than that; the connection ends after the answer.
            Crowded: there are too many long ones; the connection ends after the answer.
            BrokenBody, Gone: it does not come to its end.
        """
        if not self._whole:
            await self._rest(bytes_max)
        body, self._body = self._body, b""
        if len(body) > bytes_max:
            self.close_after()
            raise TooLarge
        return bytes(body)

    async def _rest(self, bytes_max: int) -> None:
        connection, self._asked, self._bytes_max = self._connection, True, bytes_max
        if connection.declared > bytes_max or len(self._body) > bytes_max:
            self.fail(TooLarge())
        elif self._error is None and self._has_room(connection.declared):
            connection.ask(self)
        while not self._whole:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _has_room(self, size: int) -> bool:
        """Whether so much of a body may be read; fails it where not."""
        if not self._connection.wire.has_room(self, size):
            self.fail(Crowded("Too many long requests at once; nothing was done. Try again in a second"))
            return False
        return True

    def on_gone(self, call: Callable[[], None]) -> None:
        """Call this when the client leaves before it has its answer: at once, where it has left."""
        if self.gone:
            call()
        else:
            self._on_gone = call

    @property
    def gone(self) -> bool:
        return self._connection.lost

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be read that whoever writes should wait."""
        return self._connection.is_full

    async def room(self) -> None:
        """Return once the client has read, or has gone. No bound: it is the caller's."""
        await self._connection.room()

    def answer(
        self,
        status: int,
        body: bytes | memoryview = b"",
        *headers: Header,
        before: bytes = b"",
        after: bytes = b"",
    ) -> None:
        """The whole answer: JSON text, or nothing.

        Args:
            before, after: What stands around `body`, if there is one: to join them costs 0.3 ms a MiB.
        """
        if self.ended:
            return
        self.started = self.ended = True
        connection, sent = self._connection, body
        keeps = connection.keeps(self)
        if body:
            head = b"%b%d\r\n" % (_JSON[status], len(before) + len(body) + len(after))
        else:
            head = _STATUS[status] if status == 204 else _STATUS[status] + b"content-length: 0\r\n"
        for header in headers:
            head += b"%b: %b\r\n" % header
        if not keeps:
            head += CLOSE
        if self.head.method == "HEAD":
            before = sent = after = b""
        if len(sent) < _APART_BYTES:
            connection.put(b"".join((head, b"\r\n", before, sent, after)))
        else:
            connection.put_all((b"%b\r\n%b" % (head, before), sent, after))
        connection.answered()

    def answer_as_is(self, answer: bytes, status: int, body: bytes, *headers: Header) -> None:
        """`answer(status, body, *headers)`, all of which `answer` is if its connection goes on: 2 us less."""
        connection = self._connection
        if self.ended or self.head.method == "HEAD" or not connection.keeps(self):
            self.answer(status, body, *headers)
            return
        self.started = self.ended = True
        connection.put(answer)
        connection.answered()

    def start(self, headers: bytes) -> None:
        """Begin an answer with status 200 whose length is not known.

        Args:
            headers: Lines, each with its end.
        """
        self.started = True
        connection = self._connection
        keeps = connection.keeps(self)
        if not self.head.is_chunkable:
            connection.put(b"%b%b%b\r\n" % (_STATUS[200], headers, CLOSE))
        else:
            close = b"" if keeps else CLOSE
            connection.put(b"%b%btransfer-encoding: chunked\r\n%b\r\n" % (_STATUS[200], headers, close))

    def write(self, data: bytes, *, last: bool = False) -> None:
        """Some more of what was started."""
        if self.ended:
            return
        if self.head.is_chunkable:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if last:
                data += b"0\r\n\r\n"
        if data:
            self._connection.put(data)
        if last:
            self.ended = True
            # A request may have come meanwhile that is not to be answered any more.
            self._connection.keeps(self)
            self._connection.answered()

    def close_after(self) -> None:
        """Its connection serves no other request."""
        self._connection.refuse_more()

    def abort(self) -> None:
        """Cut its connection: there is no way to end its answer well."""
        self._connection.abort()

    @property
    def connected_socket(self) -> Any:
        """The connected socket that it came on: to be looked at only."""
        return self._connection.connected_socket

    # For the connection it came on, and for what decides when it is begun.

    def begin(self) -> None:
        """Hand it over to whoever answers."""
        self._connection.run(self)

    @property
    def is_ahead(self) -> bool:
        """Whether more of its body is here than is to wait for being asked for."""
        return not self._asked and not self.ended and len(self._body) > AHEAD_BYTES_MAX

    @property
    def size(self) -> int:
        """How much of its body has come."""
        return len(self._body)

    def push(self, data: bytes) -> None:
        if self.ended or self._error is not None:
            return  # nobody wants it
        if not self._body:
            self._body = data
        else:
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += data
        if self._asked and len(self._body) > self._bytes_max:
            self.fail(TooLarge())
        elif self._asked and not self.reserved and len(self._body) > AHEAD_BYTES_MAX:
            self._has_room(self._bytes_max)  # in chunks, it does not say how long it will be

    def complete(self) -> None:
        if self._error is None:
            self._whole = True
            self._wake()

    def fail(self, error: Exception) -> None:
        """The rest of its body does not come, or is not wanted."""
        self._body = b""
        self._error = error
        self._connection.refuse_more()
        self._wake()

    def lost(self) -> None:
        """Its client has gone."""
        if not self._whole:
            self._error = Gone()
            self._wake()
        if self._on_gone is not None and not self.ended:
            self._on_gone()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
