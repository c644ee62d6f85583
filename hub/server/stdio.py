"""The hub over a pipe: one JSON-RPC message a line, both eras. For stdin and stdout, and for sockets.

Who is at the other end is known before it starts; there is no credential on the wire. Calls run
side by side and their answers leave as they are ready; what there is no room for stays unread.

Source: specification 2026-07-28 and 2025-11-25, basic/transports (stdio).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import anyio

from connectors.base import LET_GO, MODERN_VERSIONS
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
from hub.model import Agent, Json
from hub.server.changes import METHODS, Watch
from hub.server.era import Caller, Say, declared, read_envelope, said_version, unsupported
from hub.server.errors import Fault, fault_of
from hub.server.framing import messages
from hub.server.front import STREAMS_MAX, VALUES_MAX, Front
from hub.server.listening import SUBSCRIBING, Wanted, agree, honoured
from hub.server.methods import answer, failure, initialize, is_use, respond, silenced
from hub.server.standard import standard_streams
from hub.server.streams import Notes, acknowledged, closing, stamped
from hub.sessions import Session

__all__ = ["serve_stdio", "serve_stream"]

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[bytes]]
Send = Callable[[bytes], Awaitable[None] | None]

CALLS_MAX: Final = 64
"""How many calls of one connection run at once; further messages wait unread."""

WRITE_SECONDS: Final = 30.0
"""How long the other side may take to read what is written."""

LAST_SECONDS: Final = 2.0
"""How long calls may still run once the other side has closed its end."""

END_SECONDS: Final = 5.0
"""How long calls that are cancelled may take to say so in the record."""


async def serve_stdio(front: Front, agent: Agent, session: str | None = None) -> None:
    """Speak with `agent` on this process's stdin and stdout until it closes them."""
    with standard_streams() as (receive, send):
        await serve_stream(front, agent, receive, send, session=session)


async def serve_stream(
    front: Front,
    agent: Agent,
    receive: Receive,
    send: Send,
    *,
    first: bytes = b"",
    session: str | None = None,
) -> None:
    """Speak with `agent` until it closes its end, or its access ends.

    Args:
        receive: The next bytes; raises `anyio.EndOfStream` at the end.
        send: Takes bytes; what it returns is awaited until there is room for more. `None`: there is.
        first: Bytes that were read already.
        session: The name of the session that all its calls belong to; opened where there is none.
    """
    work = front.running.add(agent)
    work.waits_for_peer(False)
    if session is not None:
        await front.sessions.open_named(agent, session, version=MODERN_VERSIONS[-1], client={})
    connection = _Connection(front, agent, receive, send, session)
    try:
        await connection.run(first)
    except asyncio.CancelledError:
        if not work.ended():
            raise
    finally:
        front.running.discard(work)
        await connection.close()


class _Running:
    """One call that is under way, and whether it has one of the places for calls."""

    __slots__ = ("has_slot",)

    def __init__(self) -> None:
        self.has_slot = True


class _Connection:
    """Calls run in tasks beneath anyio on purpose: its groups, scopes and locks took 60 us a call."""

    def __init__(self, front: Front, agent: Agent, receive: Receive, send: Send, named: str | None) -> None:
        self._front = front
        self._agent = agent
        self._receive = receive
        self._send = send
        self._named = named
        self._budget = Budget(front.message_bytes_max, VALUES_MAX)
        self._whole = anyio.CancelScope()
        self._slots = asyncio.Semaphore(CALLS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: dict[int | str, asyncio.Task[None]] = {}
        """By the ids of their requests, until their answers are known."""
        self._session: Session | None = None
        self._legacy: Session | None = None
        """The session that `initialize` opened."""
        self._watches: set[Watch] = set()
        self._listening = 0
        self._ended = False
        """Whether the other side has closed its end."""
        self._told: Watch | None = None
        """What tells a legacy client of changes, from its handshake on."""
        self._writing = asyncio.Lock()
        self._notes = Notes()
        self._noted = anyio.Event()

    async def run(self, first: bytes) -> None:
        notes = self._spawn(self._write_notes())
        try:
            with self._whole:
                async for line in messages(self._receive, first, self._budget.bytes_max):
                    await self._take(line)
                self._ended = True
                for watch in [*self._watches, *([self._told] if self._told else [])]:
                    watch.end("closing")
                last = self._tasks - {notes}
                if last:
                    await asyncio.wait(last, timeout=LAST_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({notes, *self._tasks}, timeout=END_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a request failed in an unforeseen way", exc_info=error)
            self._whole.cancel()

    async def close(self) -> None:
        if self._told is not None:
            self._front.changes.discard(self._told)
        if self._session is not None:
            self._front.questions.end(self._session.id)
            with anyio.CancelScope(shield=True):
                try:
                    await self._front.sessions.close(self._session)
                except HubError as error:
                    log.warning("session %s could not be closed: %s", self._session.id, error)

    # In

    async def _take(self, line: bytes | None) -> None:
        if line is None:
            most = f"{self._budget.bytes_max} bytes (the hub's setting `message`)"
            message = f"Message too large: at most {most}"
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
                await self._request(message)
            except Exception as error:
                await self._write(failure(fault_of(error, modern=modern), message["id"]))
        elif kind == "notification":
            self._notification(message)
        elif self._legacy is not None:
            self._front.questions.answer(self._legacy.id, message)

    def _notification(self, message: Json) -> None:
        if message["method"] == "notifications/cancelled":
            id = (message.get("params") or {}).get("requestId")
            # A number that only equals the id is not the id: 1.0 is not 1.
            call = self._calls.get(id) if type(id) is int or type(id) is str else None
            if call is not None:
                call.cancel()
        elif message["method"] == "notifications/initialized":
            told = self._told
            if told is not None and told not in self._watches:
                self._watches.add(told)
                self._spawn(self._tell_changes(told))

    async def _request(self, message: Json) -> None:
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
        caller.named = self._named
        if method == "subscriptions/listen" and caller.modern:
            wanted = honoured(params)
            if self._listening >= STREAMS_MAX:
                raise Fault(
                    INTERNAL_ERROR, f"Too many streams: at most {STREAMS_MAX}", {"reason": "too_many_streams"}
                )
            if (wanted.uris or wanted.tasks) and caller.session is None:
                caller.session = await self._open(caller)
            self._listening += 1
            self._start(id, self._listen(caller, id, wanted), self._heard)
        elif is_use(self._front, caller, method) or (method in SUBSCRIBING and caller.watch is not None):
            if caller.session is None:
                caller.session = await self._open(caller)
            await self._slots.acquire()
            running = _Running()
            call = self._call(running, caller, id, method, params)
            self._start(id, call, partial(self._leave, running))
        else:
            await self._write((await respond(self._front, caller, id, method, params))[1])
            if not caller.modern and caller.session is not None:
                # A log level is the session's from now on.
                self._session = self._legacy = caller.session

    async def _initialize(self, id: int | str, agent: Agent, params: Json) -> None:
        before, told = self._session, self._told
        self._session, result = await initialize(self._front, agent, "stdio", params)
        self._legacy, self._told = self._session, self._front.changes.open(agent, METHODS.values())
        if told is not None:
            told.end("closing")
            self._front.changes.discard(told)
        if before is not None:
            self._front.questions.end(before.id)
            await self._front.sessions.close(before)
        await self._write(answer(id, result))

    def _caller(self, agent: Agent, message: Json, params: Json) -> Caller:
        """Who asks, in the era that the message itself says, else in that of the handshake."""
        said = said_version(message)
        legacy = self._legacy
        if said is None and (legacy is not None or message["method"] == "ping"):
            # A ping may come before the handshake.
            if legacy is None:
                return Caller(agent, False, {}, {})
            capabilities = declared(legacy.version, legacy.capabilities)
            caller = Caller(agent, False, legacy.client, capabilities, legacy, legacy.log_level)
            caller.watch = self._told
            return caller
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

    def _start(self, id: int | str, work: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        """Let it run, cancelled by the id of its request; then call `ended`, even if it never began."""

        def end(task: asyncio.Task[None]) -> None:
            self._over(id, task)
            ended()

        task = self._calls[id] = self._spawn(work)
        task.add_done_callback(end)

    def _over(self, id: int | str, task: asyncio.Task[Any] | None) -> None:
        """The request has its answer: nothing cancels it any more."""
        if self._calls.get(id) is task:
            del self._calls[id]

    async def _call(
        self, running: _Running, caller: Caller, id: int | str, method: str, params: Json
    ) -> None:
        mute, task = silenced(caller, method, params), asyncio.current_task()
        if not caller.modern:
            caller.back = partial(self._back, running)
        notify = None if mute is None else partial(self._tell, mute, id, task)
        answered = await respond(self._front, caller, id, method, params, notify)
        self._over(id, task)
        await self._write(answered[1])

    def _leave(self, running: _Running) -> None:
        if running.has_slot:
            self._slots.release()

    def _heard(self) -> None:
        self._listening -= 1

    def _tell(self, mute: frozenset[str], id: int | str, task: Any, method: str, params: Json) -> None:
        # What comes late belongs to nothing any longer.
        if method not in mute and method != LET_GO and self._calls.get(id) is task:
            self._note(notification(method, params))

    @asynccontextmanager
    async def _back(self, running: _Running) -> AsyncIterator[Say]:
        # Whoever waits for an answer must not keep it from being read.
        self._slots.release()
        running.has_slot = False
        yield self._write
        await self._slots.acquire()
        running.has_slot = True

    async def _listen(self, caller: Caller, id: int | str, wanted: Wanted) -> None:
        with self._watch(wanted.methods) as watch:
            await self._write(acknowledged(id, await agree(self._front, caller, watch, wanted)))
            await self._relay(watch, lambda params: stamped(params, id))
        self._over(id, asyncio.current_task())
        if watch.ended == "closing":
            await self._write(closing(id))

    async def _tell_changes(self, watch: Watch) -> None:
        """What a legacy client is told unasked, or because it subscribed."""
        try:
            await self._relay(watch, lambda params: params)
        finally:
            self._watches.discard(watch)

    @contextmanager
    def _watch(self, methods: Iterable[str]) -> Iterator[Watch]:
        with self._front.changes.watch(self._agent, methods) as watch:
            self._watches.add(watch)
            if self._ended:
                watch.end("closing")
            try:
                yield watch
            finally:
                self._watches.discard(watch)

    async def _relay(self, watch: Watch, marked: Callable[[Json], Json]) -> None:
        while watch.ended is None:
            for method, params in await watch.next(math.inf):
                await self._write(notification(method, marked(params)))
            await watch.pause()

    # Out

    def _note(self, line: bytes) -> None:
        self._notes.add(line)
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
            lines = self._notes.take() if line is None else [*self._notes.take(), line]
            try:
                waits = self._send(b"\n".join([*lines, b""]))
                if waits is not None:  # Only then: a scope and its timer cost 10 us.
                    with anyio.fail_after(WRITE_SECONDS):
                        await waits
                return
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):  # or TimeoutError
                pass
        # Nobody reads any longer, or not in time.
        self._whole.cancel()
        await anyio.lowlevel.checkpoint()
