"""One connection of an agent's client: bytes to requests, in order, and their answers back.

llhttp parses and is strict: two lengths, a length beside chunks, folded and malformed headers are
refused. A head that came before on the same connection is not parsed again (`wire_memory.py`).

Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

import httptools

from hub.server.wire_memory import Memory
from hub.server.wire_request import BrokenBody, Head, Header, Request, plain

if TYPE_CHECKING:
    from hub.server.wire import Wire

__all__ = ["Connection"]

log = logging.getLogger(__name__)

HEAD_BYTES_MAX: Final = 64 * 1024
"""For one head, and for what is sent in a body without being content (chunk extensions, trailers)."""
HEADERS_MAX: Final = 100
QUEUE_MAX: Final = 32
"""How many requests may wait for the answers before theirs. (Reading stops at the first that waits, so only
what comes in one piece can be more.)"""
DRAIN_BYTES_MAX: Final = 64 * 1024
"""How much of a body that nobody wants is read, so that its connection can serve again."""
# In ticks of a second:
HEAD_TICKS: Final = 10
IDLE_TICKS: Final = 60
LINGER_TICKS: Final = 2
FLUSH_TICKS: Final = 30

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """Called by the event loop, the parser, its requests and the wire, until `connection_lost`."""

    __slots__ = (
        "_begun", "_current", "_deaf", "_head_size", "_incoming", "_last_words", "_latest", "_memory",
        "_overhead", "_pairs", "_parser", "_patience", "_paused", "_queue", "_room", "_ticks", "_transport",
        "_url", "declared", "is_full", "lost", "wire",
    )  # fmt: skip

    def __init__(self, wire: Wire) -> None:
        self.lost = False
        self.is_full = False
        """Whether the client reads more slowly than it is written to."""
        self.declared = 0
        """The length that the message on its way gives; 0: none."""
        self.wire = wire
        self._transport: asyncio.Transport
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._current: Request | None = None
        """The one that is being answered."""
        self._incoming: Request | None = None
        """The one whose body is still coming, answered or not."""
        self._queue: deque[Request] = deque()
        self._deaf = False
        """Whether nothing more is taken from this client, and the connection ends after what is owed."""
        self._last_words = b""
        self._latest: Head | None = None
        """What was parsed last."""
        self._begun = False
        """Whether the parser is within a message."""
        self._url = b""
        self._pairs: list[Header] = []
        self._head_size = 0
        self._overhead = 0
        self._memory = Memory()
        self._paused = False
        self._room: asyncio.Future[None] | None = None
        self._ticks = 0
        self._patience = HEAD_TICKS
        """How many ticks it may stay as it is; 0: as long as whoever answers likes."""

    # What the wire calls.

    def tick(self) -> None:
        self._ticks += 1
        if not self._patience or self._ticks <= self._patience:
            return
        if self._deaf or self._incoming is not None or self._transport.get_write_buffer_size():
            self.abort()
        elif self._begun:
            self._refuse(408, "Request timeout: a request's head has to come within 10 seconds")
        else:
            self._transport.close()
            self._wait(FLUSH_TICKS)

    def end(self) -> None:
        """Answer what has come, then close."""
        self._deaf = True
        if self._current is None:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        link = transport.get_extra_info("socket")
        if link is not None and link.family != socket.AF_UNIX:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.wire.enter(self) and not transport.is_closing():
            self._refuse(503, "Service unavailable: too many connections; try again later")

    def data_received(self, data: bytes) -> None:
        if self._deaf and self._incoming is None:
            return
        if self._current is None and not self._begun:
            known = self._memory.find(data)
            if known is not None:
                self._begin(Request(self, *known, whole=True))
                return
        self._parse(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self._deaf = True
        self.resume_writing()
        self._parser = None
        self._queue.clear()
        for request in {self._current, self._incoming}:
            if request is not None:
                request.lost()
        self.wire.leave(self)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # What a request calls.

    def put(self, data: bytes) -> None:
        if not self.lost:
            self._transport.write(data)

    def put_all(self, pieces: Iterable[bytes | memoryview]) -> None:
        """The same in one system call, and one packet where it fits: 0.1 ms less than three."""
        if not self.lost:
            self._transport.writelines(pieces)

    @property
    def connected_socket(self) -> Any:
        return self._transport.get_extra_info("socket")

    async def room(self) -> None:
        while self.is_full:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def ask(self, request: Request) -> None:
        """Its body is wanted."""
        if request.head.waits and not request.size:
            self.put(_CONTINUE)
        self._flow()

    def refuse_more(self) -> None:
        """What follows cannot be told from the body of the request that came last, or is not wanted."""
        self._deaf = True

    def keeps(self, request: Request) -> bool:
        """Whether the connection goes on after the answer to this request. Settles it, where it does not."""
        if not self._deaf:
            if request is not self._incoming:
                return True
            left = self.declared - request.size
            asked_to_wait = request.head.waits and not request.size
            if request.head.keep_alive and not asked_to_wait and 0 < left <= DRAIN_BYTES_MAX:
                return True
            self._deaf = True
        return bool(self._queue or self._last_words)

    def answered(self) -> None:
        """All of the current request's answer is written."""
        if self.lost:
            return
        if self._queue:
            self._begin(self._queue.popleft())
            self._flow()
            return
        self._current = None
        if self._last_words:
            self._transport.write(self._last_words)
            self._linger()
        elif self._deaf:
            self._close()
        else:
            self._ticks = 0
            self._patience = HEAD_TICKS if self._begun else IDLE_TICKS
            if self._paused:
                self._flow()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._begun = True
        self._url, self._pairs, self._head_size = b"", [], 0
        self.declared = 0
        if self._current is None and not self._deaf:
            self._wait(HEAD_TICKS)

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._incoming is None:  # otherwise it is a trailer
            self._pairs.append((name.lower(), value))
            self._head_size += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        self._overhead = 0
        if self._deaf:
            return
        head = self._head()
        if head is None:
            return
        self._latest = head
        self._incoming = request = Request(self, head)
        if self._current is None:
            self._begin(request)
        elif len(self._queue) < QUEUE_MAX:
            self._queue.append(request)
        else:
            self._incoming = None
            self._refuse(503, "Service unavailable: too many requests at once on one connection")

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        if self._incoming is not None:
            self._incoming.push(data)

    def on_message_complete(self) -> None:
        self._overhead = 0
        self._begun = False
        request, self._incoming = self._incoming, None
        if request is None:
            return
        request.complete()
        if not request.head.keep_alive:
            self._deaf = True
        if request.ended and self._current is None:
            if self._deaf:
                self._close()
            else:
                self._wait(IDLE_TICKS)

    # Within.

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        is_fresh = self._current is None and not self._begun
        self._latest = None
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # refused at its head
        except httptools.HttpParserError as error:
            self._refuse(400, f"Invalid request: {error}"[:200])
        else:
            if self._overhead > HEAD_BYTES_MAX:
                self._refuse(431, f"Request header fields too large: at most {HEAD_BYTES_MAX} bytes")
            if is_fresh and self._latest is not None and not (self._begun or self._queue or self._deaf):
                self._memory.keep(data, self._latest)
        self._flow()

    def _head(self) -> Head | None:
        """What the parser has read; `None` where that is refused."""
        parser = self._parser
        assert parser is not None
        if self._head_size > HEAD_BYTES_MAX:
            self._refuse(431, f"Request header fields too large: at most {HEAD_BYTES_MAX} bytes")
            return None
        if len(self._pairs) > HEADERS_MAX:
            self._refuse(431, f"Request header fields too large: at most {HEADERS_MAX} of them")
            return None
        if parser.should_upgrade():
            self._refuse(400, "Invalid request: another protocol cannot be asked for here")
            return None
        version, url = parser.get_http_version(), self._url
        if version not in ("1.1", "1.0"):
            self._refuse(505, "HTTP version not supported: HTTP/1.1 is")
            return None
        try:
            path = "/mcp" if url == b"/mcp" else _path(url)
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._refuse(400, "Invalid request: its target is no path")
            return None
        pairs: list[Header] = []
        head = Head(parser.get_method().decode("ascii"), path, pairs)
        if b"?" in url:
            head.query = url.partition(b"?")[2]
        head.is_chunkable = version == "1.1"
        head.keep_alive = head.is_chunkable and parser.should_keep_alive()
        for pair in self._pairs:
            name, value = pair
            if name == b"content-length":
                self.declared = int(value)
                continue
            pairs.append(pair)
            if name == b"transfer-encoding" and (
                not head.is_chunkable or value.strip(b" \t").lower() != b"chunked"
            ):
                self._refuse(501, "Not implemented: bodies come as they are or, in HTTP/1.1, chunked")
                return None
            if name == b"expect":
                head.waits = head.is_chunkable and value.strip(b" \t").lower() == b"100-continue"
        return head

    def _begin(self, request: Request) -> None:
        self._current = request
        self._patience = 0
        self.wire.turns.take(request)

    def run(self, request: Request) -> None:
        # A task for each request, named, as making up a name costs 0.2 us. One standing task for all of them,
        # woken by a future, would save as little, and could not be cancelled alone.
        task = request.task = asyncio.Task(self._run(request), loop=self.wire.loop, name="request")
        self.wire.tasks[request] = task

    async def _run(self, request: Request) -> None:
        try:
            await self.wire.handle(request)
        except Exception:
            log.exception("a request failed in an unforeseen way")
            if not request.started:
                self.refuse_more()
                request.answer(500)
        finally:
            if not request.ended:
                self.abort()
            self.wire.done(request)

    def _refuse(self, status: int, text: str) -> None:
        """Say no to what is no request, after the answers that are owed before, and end."""
        if self._deaf:
            return
        self._deaf = True
        incoming = self._incoming
        if incoming is not None and not incoming.ended:
            incoming.fail(BrokenBody(text))
        elif self._current is not None:
            self._last_words = plain(status, text)
        else:
            self._transport.write(plain(status, text))
            self._linger()

    def _wait(self, ticks: int) -> None:
        self._ticks, self._patience = 0, ticks

    def _close(self) -> None:
        if self._begun:
            self._linger()
        else:
            self._transport.close()
            self._wait(FLUSH_TICKS)

    def _linger(self) -> None:
        """Close as soon as the client has: closing while it still sends would take its answer from it."""
        self._flow()
        self._wait(LINGER_TICKS)
        if not self._transport.is_closing():
            self._transport.write_eof()

    def _flow(self) -> None:
        """Read on, or not: not while requests wait, nor further ahead in a body than it is asked for."""
        waits = not self._deaf and (
            bool(self._queue) or (self._incoming is not None and self._incoming.is_ahead)
        )
        if waits == self._paused or self._transport.is_closing():
            return
        self._paused = waits
        transport = self._transport
        (transport.pause_reading if waits else transport.resume_reading)()


def _path(url: bytes) -> str:
    """Raises `HttpParserInvalidURLError`, `UnicodeDecodeError`: it is none."""
    path = httptools.parse_url(url).path or b"/"
    return unquote(path.decode("ascii"))
