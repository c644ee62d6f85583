"""The heads of requests that one connection has brought before, so that they are not parsed again.

Agents send the same head call after call, and to parse one takes 5 us. Only bytes count: a head is known
if it is, byte for byte and whole, what the parser has read before, but for the digits of its length; and
only where the request is whole in one piece and nothing follows it. So nothing is understood in another
way than the parser would.
"""

from __future__ import annotations

import re
from typing import Final

from hub.server.wire_request import Head

__all__ = ["Memory"]

HEADS_MAX: Final = 4
HEAD_BYTES_MAX: Final = 4096
"""How many heads are remembered, and how large ones."""

_length = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([0-9]{1,9})\r\n")


class _Known:
    """The bytes round the digits of its length, and what they said."""

    __slots__ = ("after", "before", "head")

    def __init__(self, before: bytes, after: bytes, head: Head) -> None:
        self.before = before
        self.after = after
        self.head = head


class Memory:
    """For one connection, and gone with it: heads hold credentials."""

    __slots__ = ("_known", "_last", "_last_length")

    def __init__(self) -> None:
        self._known: list[_Known] = []
        """The one that came last is first."""
        self._last = b""
        """Its very bytes, whose body was so long: the next one is often as long."""
        self._last_length = 0

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head and the body of `data`, if it is one whole request with a head that is known."""
        if self._last and len(data) == len(self._last) + self._last_length and data.startswith(self._last):
            return self._known[0].head, data[len(self._last) :]
        for place, known in enumerate(self._known):
            if not data.startswith(known.before):
                continue
            at = len(known.before)
            end = data.find(b"\r", at, at + 10)
            if end < 0 or not data.startswith(known.after, end):
                continue
            digits, body = data[at:end], data[end + len(known.after) :]
            if digits.isdigit() and int(digits) == len(body):
                if place:
                    self._known.insert(0, self._known.pop(place))
                self._last, self._last_length = data[: end + len(known.after)], len(body)
                return known.head, body
        return None

    def keep(self, data: bytes, head: Head) -> None:
        """Remember the head of `data`, in which the parser has found exactly one request and nothing else."""
        end = data.find(b"\r\n\r\n") + 4
        found = _length.search(data, 0, end)
        if end > HEAD_BYTES_MAX or found is None or len(data) != end + int(found[1]) or head.waits:
            return
        self._last, self._last_length = data[:end], int(found[1])
        del self._known[HEADS_MAX - 1 :]
        self._known.insert(0, _Known(data[: found.start(1)], data[found.end(1) : end], head))
