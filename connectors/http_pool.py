"""The connections to one origin, kept open and used again.

Bounded: who finds no place waits, in turn, as long as its own cancel scope lets it. The
connection used last is used first, so that spare ones grow old and are closed. A request whose
connection breaks is not repeated behind the caller's back, unless it was said to be repeatable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio

from connectors.base import LinkError
from connectors.http_connect import Route
from connectors.http_connection import Connection
from connectors.http_response import Response
from connectors.large import Hold

__all__ = ["CONNECTIONS_MAX", "IDLE_SECONDS", "Pool"]

CONNECTIONS_MAX: Final = 256
IDLE_SECONDS: Final = 30.0
"""Shorter than the idle time of the usual servers and balancers (60 s and more), so that it is
mostly us who close, and no request meets a connection that is just being closed."""

CLOSE_SECONDS: Final = 1.0


class Pool:
    """Connections over one route.

    Args:
        body_bytes_max: How large one answer that is no stream may be.
        hold: Where a large one takes its room from; `None`: there is no need.
    """

    def __init__(
        self,
        route: Route,
        *,
        body_bytes_max: int,
        hold: Callable[[], Hold] | None = None,
        connections_max: int = CONNECTIONS_MAX,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._route = route
        self._body_bytes_max = body_bytes_max
        self._hold = hold
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._places = connections_max
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        """Oldest first."""
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def exchange(self, request: bytes, *, repeatable: bool = False) -> Response:
        """Send one whole request and return its answer; a stream is to be closed by the caller.

        Cancelling it closes the connection.

        Args:
            repeatable: The server may get the request twice, so if a connection that was kept
                open turns out to be closed, a new one is tried (RFC 9110, 9.2.2).

        Raises:
            LinkError: with `sent=False` if nothing was written.
        """
        connection = self.take_idle() or await self.acquire()
        try:
            return await self.send(connection, request)
        except LinkError:
            if not repeatable or not connection.used or connection.answered:
                raise
        self._close_idle(0.0)  # they are likely to be closed as well
        return await self.exchange(request)

    async def send(self, connection: Connection, request: bytes) -> Response:
        """The second half of `exchange`, for who must know whether anything left: here it has."""
        try:
            return await connection.send(request)
        except LinkError:
            if self._closed is not None:
                raise LinkError("the link was closed") from None
            raise
        except BaseException:
            connection.abort()
            raise

    async def close(self) -> None:
        """Close every connection, those at work too. Takes at most `CLOSE_SECONDS`."""
        if self._closed is not None:
            return
        closed = self._closed = self._loop.create_future()
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(_closed_error())
        for connection in self._open:
            connection.abort()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            if self._open:
                await closed

    def take_idle(self) -> Connection | None:
        """A connection that can serve at once, if there is one. `send` on it, now."""
        while self._idle:
            connection = self._idle.pop()
            promised = connection.idle_seconds
            is_fresh = promised is None or self._loop.time() < connection.idle_since + promised
            if is_fresh and connection.is_quiet():
                return connection
            connection.abort()
        return None

    async def acquire(self) -> Connection:
        """A connection for one request: waits for a place, and connects.

        Raises:
            LinkError: it could not be made; `sent=False`.
        """
        while True:
            if self._closed is not None:
                raise _closed_error()
            if self._places > 0:
                self._places -= 1
                break
            handed = await self._wait()
            if handed is None:
                break
            if handed.is_quiet():
                return handed
            handed.abort()
        try:
            connection = await self._route.connect(self._make)
        except BaseException:
            self._free_place()
            raise
        if self._closed is not None or not connection.usable:
            connection.abort()
            self._free_place()
            raise LinkError("it closed the connection as soon as it was made", sent=False)
        self._open.add(connection)
        return connection

    async def _wait(self) -> Connection | None:
        """In turn: a connection that was freed, or (`None`) the place of one that is gone."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Handed over in the very moment of cancelling: it goes to the next.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                handed = waiter.result()
                if handed is None:
                    self._free_place()
                elif handed.usable:
                    self._on_free(handed)
            raise

    def _make(self) -> Connection:
        return Connection(self._on_free, self._on_lost, self._body_bytes_max, self._hold)

    def _on_free(self, connection: Connection) -> None:
        if self._closed is not None:
            connection.abort()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle_seconds, self._on_sweep)

    def _on_lost(self, connection: Connection) -> None:
        if connection not in self._open:
            return
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._closed is None:
            self._free_place()
        elif not self._open and not self._closed.done():
            self._closed.set_result(None)

    def _free_place(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._places += 1

    def _on_sweep(self) -> None:
        self._sweep = None
        self._close_idle(self._idle_seconds)
        if self._idle:
            due = self._idle[0].idle_since + self._idle_seconds
            self._sweep = self._loop.call_at(due, self._on_sweep)

    def _close_idle(self, seconds: float) -> None:
        """Close those that have been idle for so long."""
        before = self._loop.time() - seconds
        while self._idle and self._idle[0].idle_since <= before:
            self._idle.pop(0).abort()


def _closed_error() -> LinkError:
    return LinkError("the link is closed", sent=False)
