"""Answers that are streams of server-sent events: of one call, of a subscription, of a session.

Each has an end of its own, a comment every 15 s so that nothing between closes it, and a bound on
what waits for a slow reader. They run in the task of their request and start nothing that outlives it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from connectors import sse
from connectors.base import LET_GO, SUBSCRIPTION_ID_KEY
from connectors.jsonrpc import encode, notification
from hub.model import Json, Notify
from hub.server.changes import Watch
from hub.server.era import SERVER_INFO, Say
from hub.server.methods import answer
from hub.server.running import Work
from hub.server.wire_request import Request

__all__ = [
    "HEADERS",
    "KEEP_ALIVE",
    "EventStream",
    "Notes",
    "Outbox",
    "acknowledged",
    "closing",
    "serve_call",
    "serve_watch",
    "stamped",
]

KEEP_ALIVE_SECONDS: Final = 15.0
OUTBOX_MAX: Final = 256
OUTBOX_BYTES_MAX: Final = 4 * 1024 * 1024

KEEP_ALIVE: Final = b": keep-alive\n\n"
HEADERS: Final = (
    b"content-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\nx-accel-buffering: no\r\n"
)


class EventStream:
    """A response of server-sent events. Writing is bounded by its work's patience with a slow peer."""

    def __init__(self, request: Request, work: Work) -> None:
        self._request = request
        self._work = work

    async def start(self) -> None:
        self._request.start(HEADERS)

    async def write(self, data: bytes, *, last: bool = False) -> None:
        request = self._request
        request.write(data, last=last)
        if request.is_full and not last:
            self._work.waits_for_peer(True)
            await request.room()
            self._work.waits_for_peer(False)

    async def say(self, messages: Sequence[bytes], *, last: bool = False) -> None:
        """Messages; where there is none yet, a sign of life."""
        await self.write(b"".join([sse.encode(message) for message in messages]) or KEEP_ALIVE, last=last)

    async def let_go(self, retry_milliseconds: int | None) -> None:
        """The server behind wants its client to come back later for the rest."""

    def end(self) -> None:
        """Nothing more is said, whether all was said or not."""


class Notes:
    """What a reader is told if it keeps up: the newest so many, and so much of them; one at least."""

    def __init__(self) -> None:
        self._kept: deque[bytes] = deque()
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, note: bytes) -> None:
        self._kept.append(note)
        self._size += len(note)
        while len(self._kept) > OUTBOX_MAX or (self._size > OUTBOX_BYTES_MAX and len(self._kept) > 1):
            self._size -= len(self._kept.popleft())

    def take(self) -> list[bytes]:
        taken = [*self._kept]
        self._kept.clear()
        self._size = 0
        return taken


class Outbox:
    """What one call tells its agent before the answer: at most 256 notes wait, or 4 MiB; the oldest go first.

    Args:
        silenced: Methods that the agent did not ask for.
    """

    def __init__(self, silenced: frozenset[str]) -> None:
        self.filled: anyio.Event | None = None
        """For whoever writes; made when somebody does, which is rare."""
        self.on_first: Callable[[], None] | None = None
        """Called once, when there is something."""
        self.let_go: list[int | None] = []
        """The server behind has ended its connection: how long it wants to be left alone, in ms."""
        self._silenced = silenced
        self._notes = Notes()
        self._messages: list[bytes] = []
        """Questions, and what else must not be left out."""

    def put(self, method: str, params: Json) -> None:
        if method == LET_GO:
            self.let_go = [params.get("retry")]
            self.fill()
        elif method not in self._silenced:
            self._notes.add(notification(method, params))
            self.fill()

    @asynccontextmanager
    async def back(self) -> AsyncIterator[Say]:
        """The way back to the agent, for questions: this very stream."""
        yield self.send

    async def send(self, message: bytes) -> None:
        self._messages.append(message)
        self.fill()

    def take(self) -> list[bytes]:
        taken = [*self._notes.take(), *self._messages]
        self._messages.clear()
        self.filled = anyio.Event()
        return taken

    def fill(self) -> None:
        """There is something."""
        if self.filled is not None:
            self.filled.set()
        if self.on_first is not None:
            self.on_first()
            self.on_first = None


async def serve_call(
    stream: EventStream,
    outbox: Outbox,
    respond: Callable[[Notify], Awaitable[tuple[int, bytes]]],
) -> tuple[int, bytes] | None:
    """Run a call; stream from its first note on, or after 15 s of silence.

    Beneath anyio on purpose: nearly all calls say nothing, and a task group for what they might say
    costs each 35 us; a timer costs one.

    Returns:
        The answer, where nothing was streamed: it is still to be sent. `None`: all is sent.
    """
    outcome: list[bytes] = []
    writing: asyncio.Task[None] | None = None
    loop = asyncio.get_running_loop()

    def start() -> None:
        nonlocal writing
        if writing is None:
            writing = loop.create_task(_write_call(stream, outbox, outcome))

    outbox.on_first = start
    silence = loop.call_later(KEEP_ALIVE_SECONDS, start)
    try:
        code, answered = await respond(outbox.put)
        if writing is None:
            return code, answered
        outcome.append(answered)
        outbox.fill()
        await writing
        return None
    finally:
        outbox.on_first = None
        silence.cancel()
        if writing is not None:
            # Where it has not ended: it says nothing more from here on.
            writing.cancel()
        stream.end()


async def _write_call(stream: EventStream, outbox: Outbox, outcome: list[bytes]) -> None:
    """What a call says, as it says it, up to its answer."""
    await stream.start()
    while True:
        messages = [*outbox.take(), *outcome]
        last = bool(outcome)
        await stream.say(messages, last=last)
        if last:
            return
        while outbox.let_go:
            await stream.let_go(outbox.let_go.pop())
        with anyio.move_on_after(KEEP_ALIVE_SECONDS):
            assert outbox.filled is not None
            await outbox.filled.wait()


def acknowledged(id: int | str, filter: Json) -> bytes:
    params = {"_meta": {SUBSCRIPTION_ID_KEY: id}, "notifications": filter}
    return notification("notifications/subscriptions/acknowledged", params)


def closing(id: int | str) -> bytes:
    """The answer to a subscription that the hub ends."""
    meta = {SUBSCRIPTION_ID_KEY: id, "io.modelcontextprotocol/serverInfo": SERVER_INFO}
    return answer(id, encode({"resultType": "complete", "_meta": meta}))


async def serve_watch(stream: EventStream, watch: Watch, id: int | str, filter: Json) -> None:
    """A `subscriptions/listen` until its agent closes it (by cancellation) or the hub ends it."""
    await stream.start()
    await stream.write(sse.encode(acknowledged(id, filter)))
    while watch.ended is None:
        notes = await watch.next(KEEP_ALIVE_SECONDS)
        if notes:
            await stream.say([notification(method, stamped(params, id)) for method, params in notes])
            await watch.pause()
        elif watch.ended is None:
            await stream.write(KEEP_ALIVE)
    await stream.write(sse.encode(closing(id)) if watch.ended == "closing" else b"", last=True)


def stamped(params: Json, id: int | str) -> Json:
    """What is said on a subscription, with its id."""
    return {**params, "_meta": {**params.get("_meta", {}), SUBSCRIPTION_ID_KEY: id}}
