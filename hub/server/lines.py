"""What streams of older sessions have said, so that a client whose connection broke can have the rest.

A line is one such stream. It outlives its connection: whoever comes back with the id of the last
event it saw hears what came after. Lines are in memory only, within bounds. Event ids name their
line and, where it answers a request, that request: of a line that is not kept any longer, a client
can still be told that the answer is lost, so that it does not wait for it.

Source: specification 2025-11-25, basic/transports, "Resumability and Redelivery".
"""

from __future__ import annotations

import base64
import re
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

import anyio

from connectors import sse
from connectors.jsonrpc import Budget, Malformed, encode, parse
from hub.env import Env

__all__ = ["BYTES_MAX", "EVENTS_MAX", "KEEP_SECONDS", "LINES_MAX", "Line", "Lines", "Resumed"]

EVENTS_MAX: Final = 256
BYTES_MAX: Final = 1024 * 1024
"""How much of one line is kept; its newest event always is."""
ALL_BYTES_MAX: Final = 64 * 1024 * 1024
LINES_MAX: Final = 1000
KEEP_SECONDS: Final = 300.0
"""How long a line is kept after its end."""
RETRY_MILLISECONDS: Final = 1000
"""How long a client is asked to wait before it comes back."""

_REQUEST_LENGTH_MAX: Final = 256
_ID_BUDGET: Final = Budget(1024, 1)
_event_id = re.compile(r"([0-9a-f]{16})((?:\.[A-Za-z0-9_-]+)?)-([0-9]{1,15})")


class Line:
    """One stream of a session. Events are numbered from 1 on."""

    def __init__(self, lines: Lines, session: str, request: int | str | None, name: str) -> None:
        self.session = session
        self.request = request
        """The id of the request that it answers; `None` for a session's own stream."""
        self.name = name
        self.ended = False
        self.holder: object = None
        """The connection that it is said on now: the newest."""
        self.size = 0
        self.ended_at = 0.0
        self._lines = lines
        self._number = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self.moved = anyio.Event()
        """Set (and replaced) when something was said, it ended, or another connection holds it."""

    def say(self, message: bytes, retry_milliseconds: int | None = None) -> bytes:
        """The next event, kept; empty messages only give its id."""
        self._number += 1
        id = f"{self.name}-{self._number}"
        event = sse.encode(message, id=id, retry_milliseconds=retry_milliseconds)
        self._kept.append((self._number, event))
        self._grow(len(event))
        while len(self._kept) > EVENTS_MAX or (self.size > BYTES_MAX and len(self._kept) > 1):
            self._drop_oldest()
        self.stir()
        return event

    def since(self, number: int) -> tuple[int, bytes]:
        """All events after that one that are kept, and the number of the last."""
        return self._number, b"".join(event for at, event in self._kept if at > number)

    def end(self) -> None:
        """Nothing more will be said."""
        if not self.ended:
            self.ended = True
            self._lines.ended(self)
            self.stir()

    def stir(self) -> None:
        moved, self.moved = self.moved, anyio.Event()
        moved.set()

    def hold(self, holder: object) -> None:
        """From now on it is said on this connection."""
        self.holder = holder
        self.stir()

    def _drop_oldest(self) -> None:
        self._grow(-len(self._kept.popleft()[1]))

    def _grow(self, size: int) -> None:
        self.size += size
        self._lines.grow(self, size)


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a `Last-Event-ID` stands for."""

    line: Line | None
    """`None`: it is not kept, not any longer, or another session's."""
    number: int
    request: int | str | None
    """The id of the request that the line answers; `None` for a session's own stream."""


class Lines:
    """All lines that a client may come back to."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._bytes = 0
        self._open: dict[str, Line] = {}
        """By name, the oldest first."""
        self._ended: OrderedDict[str, Line] = OrderedDict()
        """By name, the one that ended longest ago first."""

    def __len__(self) -> int:
        return len(self._open) + len(self._ended)

    def open(self, session: str, request: int | str | None) -> Line:
        """A new line.

        Args:
            request: The id of the request that it answers; `None` for a session's own stream.
        """
        name = self._env.random_bytes(8).hex()
        if request is not None:
            text = base64.urlsafe_b64encode(encode(request)).rstrip(b"=").decode()
            if len(text) <= _REQUEST_LENGTH_MAX:
                name += f".{text}"
        line = self._open[name] = Line(self, session, request, name)
        self._trim()
        return line

    def find(self, last_event_id: str, session: str) -> Resumed | None:
        """What a client of this session may go on with; `None` for what is no id of ours."""
        found = _event_id.fullmatch(last_event_id)
        if found is None:
            return None
        request = _request_of(found[2])
        if found[2] and request is None:
            return None
        self._trim()
        name = found[1] + found[2]
        line = self._open.get(name) or self._ended.get(name)
        if line is not None and line.session != session:
            line = None
        return Resumed(line, int(found[3]), request)

    def close(self, session: str) -> None:
        """The session is over, and its lines with it."""
        for line in [*self._open.values(), *self._ended.values()]:
            if line.session == session:
                self._forget(line)
                line.end()

    def ended(self, line: Line) -> None:
        line.ended_at = self._env.monotonic()
        if self._open.pop(line.name, None) is not None:
            self._ended[line.name] = line
        self._trim()

    def grow(self, line: Line, size: int) -> None:
        if line.name in self._open or line.name in self._ended:
            self._bytes += size
            if size > 0 and self._bytes > ALL_BYTES_MAX:
                self._trim()

    def _forget(self, line: Line) -> None:
        """Nobody can come back to it; where it is in use, it goes on."""
        self._open.pop(line.name, None)
        self._ended.pop(line.name, None)
        self._bytes -= line.size

    def _trim(self) -> None:
        old = self._env.monotonic() - KEEP_SECONDS
        while self._ended and next(iter(self._ended.values())).ended_at < old:
            self._forget(next(iter(self._ended.values())))
        while len(self) > LINES_MAX or self._bytes > ALL_BYTES_MAX:
            self._forget(next(iter((self._ended or self._open).values())))


def _request_of(text: str) -> int | str | None:
    """The id of a request as an event's id has it."""
    try:
        id = parse(base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4)), _ID_BUDGET)
    except (ValueError, Malformed):
        return None
    return id if type(id) is int or type(id) is str else None
