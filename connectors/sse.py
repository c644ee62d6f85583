"""Server-sent events: read them out of bytes as they come, and write one.

Works on bytes: what an event carries goes to the JSON parser, which is the one that judges its
text. Knows nothing of HTTP or JSON-RPC. Shared by the HTTP link (reading) and the hub's own
server (writing).

Source: WHATWG HTML, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["ID_BYTES_MAX", "Event", "Reader", "TooLarge", "encode"]

ID_BYTES_MAX: Final = 1024
"""A longer id is ignored: it could not be sent back in a header."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was dispatched."""

    data: bytes
    """Its lines, joined by LF; not yet decoded."""
    name: str = "message"


class TooLarge(Exception):
    """A line or an event is larger than the reader allows."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"an event of more than {bytes_max} bytes")
        self.bytes_max = bytes_max


class Reader:
    """Turns chunks into events, wherever the chunks were cut.

    An event that its stream's end cut off is never dispatched. Takes time in proportion to what
    is fed, and memory for one event.

    Args:
        event_bytes_max: How large one line, and the lines of one event together, may be.
    """

    def __init__(self, event_bytes_max: int) -> None:
        self._max = event_bytes_max
        self._open: list[bytes] = []
        """The line that has not ended yet, in pieces: a long one is joined once only."""
        self._open_size = 0
        self._after_cr = False
        self._started = False
        self._data: list[bytes] = []
        self._size = 0
        self._name = b""
        self._next_id = b""
        self.last_id = b""
        """Where a new stream would go on (`Last-Event-ID`); empty where the server gives no ids."""
        self.retry_milliseconds: int | None = None
        """How long the server asks to wait before connecting again."""

    @property
    def unfinished(self) -> int:
        """How much of an event has come that is not whole."""
        return self._open_size + self._size

    def restart(self) -> None:
        """A new connection goes on with the stream: what was cut off is forgotten, `last_id` stays."""
        self._open, self._open_size, self._after_cr, self._started = [], 0, False, False
        self._data, self._size, self._name, self._next_id = [], 0, b"", self.last_id

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that this chunk completes, in order. Use them all up before the next `feed`.

        Raises:
            TooLarge: after the events that came before it. The reader is of no further use.
        """
        # A CR ends its line at once, so that an event is never held back for what may follow.
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if end:
            self._after_cr = end == len(chunk) and chunk[-1] == 0x0D
            complete, rest = (chunk, b"") if end == len(chunk) else (chunk[:end], chunk[end:])
            if self._open:
                complete = b"".join([*self._open, complete])
                self._open, self._open_size = [], 0
            for line in complete.splitlines():
                event = self._take(line)
                if event is not None:
                    yield event
        else:
            rest = chunk
        if rest:
            self._open.append(rest)
            self._open_size += len(rest)
            if self._open_size > self._max:
                raise TooLarge(self._max)

    def _take(self, line: bytes) -> Event | None:
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        if len(line) > self._max:
            raise TooLarge(self._max)
        field, _, value = line.partition(b":")
        if not field:
            return None  # a comment, sent to keep the connection alive
        self._size += len(line)
        if self._size > self._max:
            raise TooLarge(self._max)
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value
        elif field == b"id":
            if b"\0" not in value and len(value) <= ID_BYTES_MAX:
                self._next_id = value
        elif field == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_milliseconds = int(value)
        return None

    def _dispatch(self) -> Event | None:
        data, name = self._data, self._name
        self._size, self._name, self.last_id = 0, b"", self._next_id
        if not data:
            return None
        self._data = []
        body = data[0] if len(data) == 1 else b"\n".join(data)
        return Event(body, name.decode(errors="replace")) if name else Event(body)


_line_end = re.compile(rb"\r\n|\r|\n")


def encode(
    data: bytes, *, event: str | None = None, id: str | None = None, retry_milliseconds: int | None = None
) -> bytes:
    """One event as bytes. Line ends within `data` reach the reader as LF.

    Raises:
        ValueError: `event` or `id` holds a line end or NUL, which no stream can carry.
    """
    lines = [b"data: " + line for line in _line_end.split(data)] if b"\n" in data or b"\r" in data else None
    if lines is None and event is None and id is None and retry_milliseconds is None:
        return b"data: " + data + b"\n\n"
    head = []
    for field, value in (("event", event), ("id", id)):
        if value is not None:
            if not _carriable(value):
                raise ValueError(f"a server-sent event's {field!r} holds no line end and no NUL")
            head.append(f"{field}: {value}".encode())
    if retry_milliseconds is not None:
        head.append(b"retry: %d" % retry_milliseconds)
    return b"\n".join([*head, *(lines or [b"data: " + data]), b"", b""])


def _carriable(value: str) -> bool:
    return not any(character in value for character in "\r\n\0")
