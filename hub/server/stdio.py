"""The hub over a pipe: one JSON-RPC message a line, both eras. For stdin and stdout, and for sockets.

Who is at the other end is known before it starts; there is no credential on the wire. Calls run
side by side and their answers leave as they are ready; what there is no room for stays unread.

Source: specification 2026-07-28 and 2025-11-25, basic/transports (stdio).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from connectors.base import MODERN_VERSIONS, SUBSCRIPTION_ID_KEY
from connectors.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    Budget,
    Malformed,
    classify,
    notification,
    parse,
)
from hub.errors import HubError
from hub.hub import METHOD_KINDS
from hub.model import Agent, Json
from hub.server.changes import METHODS, Watch
from hub.server.era import Caller, read_envelope, said_version, unsupported
from hub.server.errors import Fault, fault_of
from hub.server.front import STREAMS_MAX, VALUES_MAX, Front
from hub.server.methods import answer, failure, honoured, initialize, respond, silenced
from hub.server.standard import standard_streams
from hub.server.streams import OUTBOX_MAX, acknowledged, closing
from hub.sessions import Session

__all__ = ["serve_stdio", "serve_stream"]

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[bytes]]
Send = Callable[[bytes], Awaitable[None]]

CALLS_MAX: Final = 64
"""How many calls of one connection run at once; further messages wait unread."""

WRITE_SECONDS: Final = 30.0
"""How long the other side may take to read what is written."""

LAST_SECONDS: Final = 2.0
"""How long calls may still run once the other side has closed its end."""


async def serve_stdio(front: Front, agent: Agent) -> None:
    """Speak with `agent` on this process's stdin and stdout until it closes them."""
    with standard_streams() as (receive, send):
        await serve_stream(front, agent, receive, send)


async def serve_stream(
    front: Front, agent: Agent, receive: Receive, send: Send, *, first: bytes = b""
) -> None:
    """Speak with `agent` until it closes its end, or its access ends.

    Args:
        receive: The next bytes; raises `anyio.EndOfStream` at the end.
        send: Returns when there is room for more.
        first: Bytes that were read already.
    """
    work = front.running.add(agent)
    work.waits_for_peer(False)
    connection = _Connection(front, agent, receive, send)
    try:
        await connection.run(first)
    except asyncio.CancelledError:
        if not work.ended():
            raise
    finally:
        front.running.discard(work)
        await connection.close()


class _Connection:
    def __init__(self, front: Front, agent: Agent, receive: Receive, send: Send) -> None:
        self._front = front
        self._agent = agent
        self._receive = receive
        self._send = send
        self._budget = Budget(front.message_bytes_max, VALUES_MAX)
        self._whole = anyio.CancelScope()
        self._slots = anyio.Semaphore(CALLS_MAX)
        self._calls: dict[int | str, anyio.CancelScope] = {}
        self._session: Session | None = None
        self._legacy: Session | None = None
        """The session that `initialize` opened."""
        self._watches: set[Watch] = set()
        self._listening = 0
        self._ended = False
        """Whether the other side has closed its end."""
        self._told = False
        """Whether list changes are told to a legacy client already."""
        self._writing = anyio.Lock()
        self._write_scope: anyio.CancelScope | None = None
        self._notes: deque[bytes] = deque(maxlen=OUTBOX_MAX)
        self._noted = anyio.Event()

    async def run(self, first: bytes) -> None:
        with self._whole:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write_notes)
                async with anyio.create_task_group() as calls:
                    async for line in self._lines(first):
                        await self._take(line, calls)
                    self._ended = True
                    for watch in list(self._watches):
                        watch.end("closing")
                    calls.cancel_scope.deadline = anyio.current_time() + LAST_SECONDS
                    if self._write_scope is not None:
                        self._write_scope.deadline = calls.cancel_scope.deadline
                tasks.cancel_scope.cancel()

    async def close(self) -> None:
        if self._session is not None:
            with anyio.CancelScope(shield=True):
                try:
                    await self._front.sessions.close(self._session)
                except HubError as error:
                    log.warning("session %s could not be closed: %s", self._session.id, error)

    # In

    async def _lines(self, first: bytes) -> AsyncIterator[bytes | None]:
        """Each line without its end; `None` for one that is too long (the rest of it is skipped)."""
        pieces: list[bytes] = []
        size, skipping, chunk = 0, False, first
        while True:
            *complete, rest = chunk.split(b"\n")
            for end in complete:
                if not skipping and size + len(end) > self._budget.bytes_max:
                    yield None
                elif not skipping:
                    yield b"".join([*pieces, end])
                pieces, size, skipping = [], 0, False
            if rest and not skipping:
                pieces.append(rest)
                size += len(rest)
                if size > self._budget.bytes_max:
                    pieces, skipping = [], True
                    yield None
            try:
                chunk = await self._receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                break
        if pieces:
            yield b"".join(pieces)

    async def _take(self, line: bytes | None, calls: TaskGroup) -> None:
        if line is None:
            message = f"Message too large: at most {self._budget.bytes_max} bytes"
            await self._write(failure(Fault(INVALID_REQUEST, message)))
            return
        if not line.strip():
            return
        try:
            message = parse(line, self._budget)
            kind = classify(message)
        except Malformed as error:
            await self._write(failure(Fault(error.code, error.message), error.id))
            return
        if kind == "request":
            modern = said_version(message) is not None
            try:
                await self._request(message, calls)
            except Exception as error:
                await self._write(failure(fault_of(error, modern=modern), message["id"]))
        elif kind == "notification":
            self._notification(message, calls)

    def _notification(self, message: Json, calls: TaskGroup) -> None:
        if message["method"] == "notifications/cancelled":
            id = (message.get("params") or {}).get("requestId")
            # A number that only equals the id is not the id: 1.0 is not 1.
            scope = self._calls.get(id) if type(id) is int or type(id) is str else None
            if scope is not None:
                scope.cancel()
        elif message["method"] == "notifications/initialized" and self._legacy and not self._told:
            self._told = True
            calls.start_soon(self._tell_changes)

    async def _request(self, message: Json, calls: TaskGroup) -> None:
        """Answer at once, or start what answers. Raises what is wrong with the request."""
        id, method, params = message["id"], message["method"], message.get("params") or {}
        agent = self._front.current(self._agent)
        if agent is None:
            self._whole.cancel()
            return
        if method == "initialize":
            await self._initialize(id, agent, params)
            return
        caller = self._caller(agent, message, params)
        if method == "subscriptions/listen" and caller.modern:
            filter = honoured(params)
            if self._listening >= STREAMS_MAX:
                raise Fault(
                    INTERNAL_ERROR, f"Too many streams: at most {STREAMS_MAX}", {"reason": "too_many_streams"}
                )
            self._listening += 1
            self._start(calls, id, self._listen, id, filter)
        elif method in METHOD_KINDS:
            if caller.session is None:
                caller.session = await self._open(caller)
            await self._slots.acquire()
            self._start(calls, id, self._call, caller, id, method, params)
        else:
            await self._write((await respond(self._front, caller, id, method, params))[1])

    async def _initialize(self, id: int | str, agent: Agent, params: Json) -> None:
        before = self._session
        self._session, result = await initialize(self._front, agent, "stdio", params)
        self._legacy = self._session
        if before is not None:
            await self._front.sessions.close(before)
        await self._write(answer(id, result))

    def _caller(self, agent: Agent, message: Json, params: Json) -> Caller:
        """Who asks, in the era that the message itself says, else in that of the handshake."""
        said = said_version(message)
        legacy = self._legacy
        if said is None and (legacy is not None or message["method"] == "ping"):
            # A ping may come before the handshake.
            client, capabilities = (legacy.client, legacy.capabilities) if legacy else ({}, {})
            return Caller(agent, False, client, capabilities, legacy)
        envelope = read_envelope(params)
        if said not in MODERN_VERSIONS:
            raise unsupported(said)
        return Caller(agent, True, envelope.client, envelope.capabilities, self._session, envelope.log_level)

    async def _open(self, caller: Caller) -> Session:
        self._session = await self._front.sessions.open(
            caller.agent, kind="stdio", version=MODERN_VERSIONS[-1], client=caller.client, capabilities={}
        )
        return self._session

    # Work

    def _start(self, calls: TaskGroup, id: int | str, function: Any, *arguments: Any) -> None:
        """Run `function` so that it can be cancelled by its request's id from now on."""
        scope = self._calls[id] = anyio.CancelScope()

        async def run() -> None:
            try:
                with scope:
                    await function(*arguments)
            finally:
                if self._calls.get(id) is scope:
                    del self._calls[id]

        calls.start_soon(run)

    async def _call(self, caller: Caller, id: int | str, method: str, params: Json) -> None:
        mute = silenced(caller, method, params)
        scope = self._calls[id]

        def notify(method: str, params: Json) -> None:
            # What comes late belongs to nothing any longer.
            if mute is not None and method not in mute and self._calls.get(id) is scope:
                self._note(notification(method, params))

        try:
            answered = await respond(
                self._front, caller, id, method, params, None if mute is None else notify
            )
            await self._write(answered[1])
        finally:
            self._slots.release()

    async def _listen(self, id: int | str, filter: dict[str, str]) -> None:
        try:
            with self._watch(filter.values()) as watch:
                await self._write(acknowledged(id, dict.fromkeys(filter, True)))
                await self._relay(watch, {"_meta": {SUBSCRIPTION_ID_KEY: id}})
            if watch.ended == "closing":
                await self._write(closing(id))
        finally:
            self._listening -= 1

    async def _tell_changes(self) -> None:
        """What a legacy client is told unasked."""
        with self._watch(METHODS.values()) as watch:
            await self._relay(watch, {})

    @contextmanager
    def _watch(self, methods: Iterable[str]) -> Iterator[Watch]:
        with self._front.changes.watch(self._agent, methods, counts=False) as watch:
            self._watches.add(watch)
            if self._ended:
                watch.end("closing")
            try:
                yield watch
            finally:
                self._watches.discard(watch)

    async def _relay(self, watch: Watch, params: Json) -> None:
        while watch.ended is None:
            for method in await watch.next(math.inf):
                await self._write(notification(method, params))
            await watch.pause()

    # Out

    def _note(self, line: bytes) -> None:
        self._notes.append(line)
        self._noted.set()

    async def _write_notes(self) -> None:
        while True:
            await self._noted.wait()
            self._noted = anyio.Event()
            if self._notes:
                await self._write()

    async def _write(self, line: bytes | None = None) -> None:
        """Write one message, after all notes that wait. A line is written whole or ends the connection."""
        async with self._writing:
            lines = [*self._notes] if line is None else [*self._notes, line]
            self._notes.clear()
            try:
                with anyio.CancelScope(shield=True) as self._write_scope:
                    self._write_scope.deadline = anyio.current_time() + WRITE_SECONDS
                    await self._send(b"\n".join([*lines, b""]))
                    return
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                pass
            finally:
                self._write_scope = None
        # Nobody reads any longer, or not in time.
        self._whole.cancel()
        await anyio.lowlevel.checkpoint()
