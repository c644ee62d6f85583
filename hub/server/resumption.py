"""Streams of older sessions over HTTP that a client may lose and go on with.

What is said goes into a line first, and from there to the connection, if there is one still: a call
goes on without its client. Where the server behind has ended its own connection to be asked later,
the client's is ended alike.

Source: specification 2025-11-25, basic/transports, "Sending Messages", "Resumability and Redelivery".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio

from connectors import sse
from connectors.jsonrpc import INTERNAL_ERROR, notification
from hub.server.errors import Fault
from hub.server.lines import RETRY_MILLISECONDS, Line, Lines
from hub.server.methods import failure
from hub.server.running import Work
from hub.server.streams import KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream
from hub.server.voices import Voice
from hub.server.wire_request import Request
from hub.sessions import Session

__all__ = ["ResumableStream", "serve_lost", "serve_rest", "serve_voice"]

WRITE_SECONDS: Final = 30.0
"""How long a client may take to read what is written, before it is taken for gone."""

_PRIMED_SINCE: Final = "2025-11-25"
"""Clients of older versions take an event without data for a broken one."""


class ResumableStream(EventStream):
    """The stream of a call. Its connection may end before it does, and no write fails."""

    def __init__(self, request: Request, work: Work, lines: Lines, session: Session, id: int | str) -> None:
        super().__init__(request, work)
        self._lines = lines
        self._session = session
        self._id = id
        self._line: Line | None = None

    async def start(self) -> None:
        self._line = line = self._lines.open(self._session.id, self._id)
        line.hold(self)
        await super().start()
        if _is_primed(self._session):
            await self._put(line.say(b"", RETRY_MILLISECONDS))

    async def say(self, messages: Sequence[bytes], *, last: bool = False) -> None:
        line = self._line
        assert line is not None
        events = [line.say(message) for message in messages]
        if last:
            line.end()
        # Where the client came back on another connection, that one says it.
        is_ours = line.holder is self
        await self._put(b"".join(events) or KEEP_ALIVE if is_ours else b"", last=last or not is_ours)

    async def let_go(self, retry_milliseconds: int | None) -> None:
        if self._line is not None and self._line.holder is self and _is_primed(self._session):
            wait = RETRY_MILLISECONDS if retry_milliseconds is None else retry_milliseconds
            await self._put(self._line.say(b"", wait), last=True)

    def end(self) -> None:
        if self._line is not None:
            self._line.end()

    async def _put(self, data: bytes, *, last: bool = False) -> None:
        request = self._request
        request.write(data, last=last)
        if request.is_full and not last and not request.ended:
            with anyio.move_on_after(WRITE_SECONDS) as scope:
                await request.room()
            if scope.cancelled_caught:
                request.abort()


async def serve_rest(stream: EventStream, line: Line, number: int) -> None:
    """What a call's line says after that event, up to its end."""
    line.hold(stream)
    await stream.start()
    while line.holder is stream:
        moved, is_over = line.moved, line.ended
        number, data = line.since(number)
        if data or is_over:
            await stream.write(data, last=is_over)
        if is_over:
            return
        with anyio.move_on_after(KEEP_ALIVE_SECONDS):
            await moved.wait()
        if not moved.is_set():
            await stream.write(KEEP_ALIVE)
    await stream.write(b"", last=True)


async def serve_lost(stream: EventStream, request: int | str) -> None:
    """Tells who comes back for an answer that is not kept that it need not wait for it."""
    why = "The answer to this request is not kept any longer; what it did is not known"
    await stream.start()
    lost = failure(Fault(INTERNAL_ERROR, why, {"reason": "answer_lost"}), request)
    await stream.write(sse.encode(lost), last=True)


async def serve_voice(
    stream: EventStream, voice: Voice, session: Session, line: Line, number: int | None
) -> None:
    """A session's own stream, until its agent leaves it, or the session or the hub ends.

    Args:
        line: What is said goes there first.
        number: The event after which the client goes on; `None` where it begins.
    """
    line.hold(stream)
    await stream.start()
    if number is not None:
        await stream.write(line.since(number)[1] or KEEP_ALIVE)
    else:
        await stream.write(line.say(b"", RETRY_MILLISECONDS) if _is_primed(session) else KEEP_ALIVE)
    with voice.turn() as turn:
        while voice.watch.ended is None and line.holder is stream:
            notes = await turn.next(KEEP_ALIVE_SECONDS)
            if notes:
                await stream.write(b"".join([line.say(notification(*note)) for note in notes]))
                await voice.watch.pause()
            elif voice.watch.ended is None:
                await stream.write(KEEP_ALIVE)
    await stream.write(b"", last=True)


def _is_primed(session: Session) -> bool:
    return session.version >= _PRIMED_SINCE
