"""One HTTP/1.1 connection to a server, after it has been made: one request at a time, its answer.

An answer is collected whole, in one future and without a task; an event stream is handed over
at its headers and then read through a bounded buffer (the socket is not read while it is
full). Knows nothing of JSON-RPC, of pools or of how the connection came to be.

Source: RFC 9110 and 9112; the parsing itself is llhttp's.
"""

from __future__ import annotations

import asyncio
import re
import select
import socket
from collections.abc import Callable
from typing import Final, cast

import httptools

from connectors.base import LinkError
from connectors.http_response import Response, Stream
from connectors.large import LARGE_BYTES, Hold

__all__ = ["HEADERS_BYTES_MAX", "Connection"]

HEADERS_BYTES_MAX: Final = 64 * 1024
"""For the headers of one answer together, and for what is sent in a body without being content
(chunk extensions, trailers)."""

DRAIN_BYTES_MAX: Final = 64 * 1024
DRAIN_SECONDS: Final = 2.0
"""How long and how much a stream that is of no more interest may still say until it ends, so that its
connection can serve again."""

# A peer that vanished without a word is noticed within a minute, on streams that are silent for hours too.
_KEEP_ALIVE: Final = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), seconds)
        for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]

_HEADS_MAX: Final = 4
_HEAD_BYTES_MAX: Final = 4096
"""How many heads of answers one connection remembers, and how large ones."""

_keep_alive = re.compile(rb"(?i)(?:^|[\s,])timeout=([0-9]{1,9})").search


class Connection(asyncio.Protocol):
    """One connection. `send` again only after the answer is whole or its stream is closed.

    Args:
        on_free: Called when an answer is over and the connection can serve again.
        on_lost: Called once, when the connection is gone.
        body_bytes_max: How large an answer that is no stream may be.
        hold: Where a large one takes its room from; `None`: there is no need.
    """

    def __init__(
        self,
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
        body_bytes_max: int,
        hold: Callable[[], Hold] | None = None,
    ) -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._body_bytes_max = body_bytes_max
        self._new_hold = hold
        self._hold: Hold | None = None
        """Of the body that is being read, where that is large."""
        self._room = self._room_least = body_bytes_max if hold is None else min(LARGE_BYTES, body_bytes_max)
        """How large it may get before more room is asked for."""
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._poll: select.poll | None = None
        self._future: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._headers: dict[bytes, bytes] = {}
        self._headers_size = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._overhead = 0
        self._is_interim = False
        self._status = 0
        self._stays_open = False
        self._whole = False
        """Whether the last bytes that came were one whole answer."""
        self._heads: dict[bytes, tuple[int, int, dict[bytes, bytes], float | None]] = {}
        """Heads that came before, to the byte: how long their body is, and what the parser made of them."""
        self._draining: asyncio.TimerHandle | None = None
        self.usable = False
        """Whether it can serve another request, as far as can be known without looking."""
        self.answered = False
        """Whether any byte has come since the last request."""
        self.used = False
        """Whether it has served before."""
        self.idle_since = 0.0
        self.idle_seconds: float | None = None
        """How long it may be idle, where the server said when it closes it."""

    # What the pool and the link use.

    def send(self, data: bytes) -> asyncio.Future[Response]:
        """Write one whole request; the answer comes in the future, or a `LinkError`."""
        assert self._transport is not None
        future = self._future = self._loop.create_future()
        self._headers, self._headers_size, self._parts, self._size, self._overhead = {}, 0, [], 0, 0
        self._response = None
        self.answered = False
        self._transport.write(data)
        return future

    def is_quiet(self) -> bool:
        """Whether nothing has come while it was idle, not even its end, seen by a look at the socket."""
        return self.usable and (self._poll is None or not self._poll.poll(0))

    def abort(self) -> None:
        """Close at once. May be called twice."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self.usable and self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.usable and self._transport is not None:
            self._transport.resume_reading()

    def leave_stream(self, stream: Stream, *, drain: bool) -> None:
        if self._response is None or self._response.stream is not stream:
            return  # it is over, and the connection perhaps at work on another answer
        if stream.ended:
            self._finish()
        elif drain and self.usable and self._stays_open:
            self._response.stream = None
            self._size = 0
            self._draining = self._loop.call_later(DRAIN_SECONDS, self.abort)
        else:
            self._response = None
            self.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True
        link = transport.get_extra_info("socket")
        for level, option, value in _KEEP_ALIVE:
            link.setsockopt(level, option, value)
        self._poll = select.poll()
        self._poll.register(link.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if not self.usable:
            return
        if self._future is None and self._response is None:
            self._fail("it answered although nothing was asked")
            return
        is_first, self.answered = not self.answered, True
        if is_first and self._is_known(data):
            return
        self._whole = False
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("it wants to speak another protocol than HTTP/1.1")
        except httptools.HttpParserError as error:
            self._fail(f"what it answered is no HTTP/1.1: {error}"[:200])
        if self._overhead > HEADERS_BYTES_MAX:
            self._fail(f"its answer's headers are larger than {HEADERS_BYTES_MAX} bytes")
        elif is_first and self._whole and self.usable:
            self._remember(data)

    def _is_known(self, data: bytes) -> bool:
        """Serve a whole answer with a head that was parsed before: a head costs 5 us."""
        end = data.find(b"\r\n\r\n") + 4
        known = self._heads.get(data[:end])
        if known is None or len(data) - end != known[0]:
            return False
        future, self._future = self._future, None
        _, status, headers, self.idle_seconds = known
        self._stays_open = True
        if future is not None and not future.done():
            response = Response(status, headers)
            response.body = data[end:]
            future.set_result(response)
        self._finish()
        return True

    def _remember(self, data: bytes) -> None:
        """Of `data`, in which the parser has found one whole answer and nothing else, keep the head."""
        head = data[: data.find(b"\r\n\r\n") + 4]
        length = int(self._headers[b"content-length"])
        # Unless there is an interim answer before it.
        if len(head) > _HEAD_BYTES_MAX or len(head) + length != len(data):
            return
        if len(self._heads) == _HEADS_MAX:
            del self._heads[next(iter(self._heads))]
        self._heads[head] = length, self._status, self._headers, self.idle_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._is_ended_by_close() and exc is None:
            self.on_message_complete()
        elif self._response is None:
            self._fail("it closed the connection without an answer")
        else:
            self._fail("the connection broke in the middle of the answer")
        self._poll = None
        self._on_lost(self)

    # What the parser calls, within `data_received`.

    def on_message_begin(self) -> None:
        if self._future is None:
            self._fail("it answered although nothing was asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers_size += len(name) + len(value)
        if self._headers_size > HEADERS_BYTES_MAX:
            self._fail(f"its answer's headers are larger than {HEADERS_BYTES_MAX} bytes")
        elif self._response is None:  # what comes after the body is of no interest
            key = name.lower()
            if key in self._headers:
                value = self._headers[key] + b", " + value
            self._headers[key] = value

    def on_headers_complete(self) -> None:
        self._overhead = 0
        future, headers = self._future, self._headers
        if future is None:
            return None
        status = self._status = self._parser.get_status_code()
        self._is_interim = status < 200
        if self._is_interim:
            return None
        self._stays_open = self._parser.should_keep_alive()
        if b"keep-alive" in headers:
            promised = _keep_alive(headers[b"keep-alive"])
            self.idle_seconds = float(promised[1]) - 1.0 if promised is not None else None
        response = self._response = Response(status, headers)
        coding = headers.get(b"content-encoding")
        if coding is not None and coding.strip().lower() not in (b"identity", b""):
            return self._fail(
                "its answer is compressed, which was not asked for (`Accept-Encoding: identity`)"
            )
        if headers.get(b"content-type", b"")[:17].lower() == b"text/event-stream":
            response.stream = Stream(self)
            self._future = None
            if not future.done():
                future.set_result(response)
        elif int(headers.get(b"content-length", b"0")) > self._body_bytes_max:
            self._fail(self._too_large(), too_large=True)
        return None

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        response = self._response
        if response is None:
            return
        if response.stream is not None:
            response.stream.push(data)
            return
        self._size += len(data)
        if self._draining is not None:
            if self._size > DRAIN_BYTES_MAX:
                self.abort()
        else:
            self._parts.append(data)
            if self._size > self._room:
                self._ask_for_room(response)

    def _ask_for_room(self, response: Response) -> None:
        """The body is a large one: read on when there is room for it."""
        if self._size > self._body_bytes_max:
            self._fail(self._too_large(), too_large=True)
            return
        assert self._new_hold is not None
        hold = response.hold = self._hold = self._hold or self._new_hold()
        # Of one that says its length, all of it at once: so nobody waits in the middle of it.
        size = max(self._size, int(response.headers.get(b"content-length", b"0")) - LARGE_BYTES)
        if hold.grow(size, self._read_on):
            self._room = min(hold.size, self._body_bytes_max)
        else:
            self.pause()

    def _read_on(self) -> None:
        assert self._hold is not None
        self._room = min(self._hold.size, self._body_bytes_max)
        self.resume()

    def _let_go(self) -> None:
        """The body is over, or of no more interest."""
        assert self._hold is not None
        self._hold.leave()
        self._hold, self._room = None, self._room_least

    def on_message_complete(self) -> None:
        self._overhead = 0
        if self._is_interim:
            self._is_interim, self._headers = False, {}
            return
        response = self._response
        if response is None:
            return
        if response.stream is not None:
            # The connection is free only once the reader has left: it may still be reading.
            response.stream.end()
            return
        future = self._future
        if future is not None:
            parts = self._parts
            response.body = parts[0] if len(parts) == 1 else b"".join(parts)
            # Of a body that says its length, and a connection that goes on, the head is worth remembering.
            self._whole = self._stays_open and b"content-length" in response.headers
            if not future.done():
                future.set_result(response)
        self._finish()

    def _finish(self) -> None:
        """The answer is over: serve again, or end."""
        if self._hold is not None:
            self._let_go()
        self._future = self._response = None
        self._parts = []
        self.used = True
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        if not self.usable:
            return
        if self._stays_open:
            self._on_free(self)
        else:
            self.usable = False
            assert self._transport is not None
            self._transport.close()

    def _is_ended_by_close(self) -> bool:
        """Whether the body under way has no other end than the connection's (RFC 9112, 6.3)."""
        response = self._response
        return (
            response is not None
            and b"content-length" not in response.headers
            and b"transfer-encoding" not in response.headers
        )

    def _too_large(self) -> str:
        limit = f"{self._body_bytes_max} bytes"
        return f"its answer is larger than {limit} (`limits: {{message: ...}}` in its manifest)"

    def _fail(self, reason: str, *, too_large: bool = False) -> None:
        """No usable answer: whoever waits for it learns why, and the connection ends."""
        future, response = self._future, self._response
        if self._hold is not None:
            self._let_go()
        self._future = self._response = None
        self._parts = []
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        if future is not None and not future.done():
            future.set_exception(LinkError(reason, too_large=too_large))
        elif response is not None and response.stream is not None and not response.stream.ended:
            response.stream.end(LinkError(reason))
        self.abort()
