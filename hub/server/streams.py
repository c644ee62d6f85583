"""Answers that are streams of server-sent events: of one call, of a subscription, of a session.

Each has an end of its own, a comment every 15 s so that nothing between closes it, and a bound on
what waits for a slow reader. They run in the task of their request and start nothing that outlives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import anyio

from connectors import sse
from connectors.base import SUBSCRIPTION_ID_KEY
from connectors.jsonrpc import encode, notification
from hub.model import Json, Notify
from hub.server.changes import Watch
from hub.server.era import SERVER_INFO
from hub.server.methods import answer
from hub.server.running import Work

__all__ = [
    "HEADERS",
    "EventStream",
    "Outbox",
    "acknowledged",
    "closing",
    "serve_call",
    "serve_session",
    "serve_watch",
]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

KEEP_ALIVE_SECONDS: Final = 15.0
OUTBOX_MAX: Final = 256

_KEEP_ALIVE: Final = b": keep-alive\n\n"
HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """A response of server-sent events. Writing is bounded by its work's patience with a slow peer."""

    def __init__(self, send: Send, work: Work) -> None:
        self._send = send
        self._work = work

    async def start(self) -> None:
        self._work.started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})

    async def write(self, data: bytes, *, last: bool = False) -> None:
        self._work.waits_for_peer(True)
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        self._work.waits_for_peer(False)


class Outbox:
    """What one call tells its agent before the answer: at most 256 notes wait, the oldest go first.

    Args:
        silenced: Methods that the agent did not ask for.
    """

    def __init__(self, silenced: frozenset[str]) -> None:
        self._silenced = silenced
        self._notes: deque[tuple[str, Json]] = deque(maxlen=OUTBOX_MAX)
        self.filled = anyio.Event()

    def put(self, method: str, params: Json) -> None:
        if method not in self._silenced:
            self._notes.append((method, params))
            self.filled.set()

    def take(self) -> list[bytes]:
        notes = [notification(method, params) for method, params in self._notes]
        self._notes.clear()
        self.filled = anyio.Event()
        return notes


async def serve_call(
    stream: EventStream,
    outbox: Outbox,
    respond: Callable[[Notify], Awaitable[tuple[int, bytes]]],
) -> tuple[int, bytes] | None:
    """Run a call; stream from its first note on, or after 15 s of silence.

    Returns:
        The answer, where nothing was streamed: it is still to be sent. `None`: all is sent.
    """
    outcome: list[tuple[int, bytes]] = []
    started = False

    async def run() -> None:
        outcome.append(await respond(outbox.put))
        outbox.filled.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while True:
            with anyio.move_on_after(KEEP_ALIVE_SECONDS):
                await outbox.filled.wait()
            notes = outbox.take()
            if outcome and not notes and not started:
                return outcome[0]
            if not started:
                await stream.start()
                started = True
            messages = [*notes, outcome[0][1]] if outcome else notes
            data = b"".join([sse.encode(message) for message in messages]) or _KEEP_ALIVE
            await stream.write(data, last=bool(outcome))
            if outcome:
                break
    return None


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
    meta = {"_meta": {SUBSCRIPTION_ID_KEY: id}}
    await _relay(stream, watch, meta)
    await stream.write(sse.encode(closing(id)) if watch.ended == "closing" else b"", last=True)


async def serve_session(stream: EventStream, watch: Watch) -> None:
    """A legacy session's own stream, until its agent closes it or the hub ends it."""
    await stream.start()
    await stream.write(_KEEP_ALIVE)
    await _relay(stream, watch, {})
    await stream.write(b"", last=True)


async def _relay(stream: EventStream, watch: Watch, params: Json) -> None:
    while watch.ended is None:
        methods = await watch.next(KEEP_ALIVE_SECONDS)
        if methods:
            await stream.write(b"".join([sse.encode(notification(method, params)) for method in methods]))
            await watch.pause()
        elif watch.ended is None:
            await stream.write(_KEEP_ALIVE)
