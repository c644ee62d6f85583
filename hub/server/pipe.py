"""Connected local sockets as byte streams: what came, and room for what goes.

Beneath anyio on purpose: its streams have the system watch the socket anew for each piece, and wait
a turn of the loop for each read and write.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final, cast

import anyio

__all__ = ["Pipe", "serve_pipes"]

_AHEAD_BYTES_MAX: Final = 64 * 1024
"""How much is read before anybody asks for it."""


class Pipe(asyncio.Protocol):
    """Called by the event loop. `receive` and `send` are for one task each at a time."""

    def __init__(self, opened: Callable[[Pipe], object]) -> None:
        self._opened = opened
        self._transport: asyncio.Transport
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._lost = False
        self._full = False
        self._came: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def receive(self) -> bytes:
        """All that has come. Raises `anyio.EndOfStream` at the end."""
        while not self._pieces:
            if self._ended:
                raise anyio.EndOfStream
            self._came = asyncio.get_running_loop().create_future()
            await self._came
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        was_paused = self._size > _AHEAD_BYTES_MAX
        self._pieces, self._size = [], 0
        if was_paused and not self._transport.is_closing():
            self._transport.resume_reading()
        return data

    def send(self, data: bytes) -> Awaitable[None] | None:
        """Write; what has to be awaited until all of it has left, or `None`.

        Raises:
            anyio.BrokenResourceError: nobody reads any longer. What is awaited may raise it as well.
        """
        if self._lost:
            raise anyio.BrokenResourceError
        self._transport.write(data)
        return self._drained() if self._full else None

    async def _drained(self) -> None:
        while self._full and not self._lost:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if self._lost:
            raise anyio.BrokenResourceError

    def end(self) -> None:
        """Take no more: `receive` raises as if the other side had closed its end."""
        self._ended = True
        _wake(self._came)

    def close(self) -> None:
        """Close it; what was not awaited is not sent."""
        if self._full:
            self._transport.abort()
        else:
            self._transport.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # Full is what could not be written at once.
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        before, self._size = self._size, self._size + len(data)
        self._pieces.append(data)
        if before <= _AHEAD_BYTES_MAX < self._size:
            self._transport.pause_reading()
        _wake(self._came)

    def eof_received(self) -> bool:
        self.end()
        return True  # Its answers are still to be sent.

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.end()
        _wake(self._room)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        _wake(self._room)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def serve_pipes(listener: socket.socket, handle: Callable[[Pipe], Awaitable[None]]) -> None:
    """Run `handle` for each connection, and close it after that. Until cancelled."""

    async def run(pipe: Pipe) -> None:
        try:
            await handle(pipe)
        finally:
            pipe.close()

    async with anyio.create_task_group() as tasks:
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: Pipe(lambda pipe: tasks.start_soon(run, pipe)), sock=listener
        )
        try:
            await anyio.sleep_forever()
        finally:
            server.close()
