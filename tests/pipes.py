"""A client's end of a hub's pipe."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketStream

from hub.server import serve_stream
from tests.house import INITIALIZE, House, message
from tests.hub_room import Room


class Pipe:
    """The client's end."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._read = b""

    async def send(self, *messages: Any) -> None:
        lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
        await self._stream.send(b"\n".join([*lines, b""]))

    async def receive(self) -> Any:
        while b"\n" not in self._read:
            self._read += await self._stream.receive()
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    async def ask(self, message: Any) -> Any:
        await self.send(message)
        return await self.receive()

    async def rest(self) -> list[Any]:
        """All that still comes, once this end is closed for writing."""
        assert isinstance(self._stream, SocketStream)
        await self._stream.send_eof()
        found = []
        try:
            while True:
                found.append(await self.receive())
        except anyio.EndOfStream:
            return found

    async def initialize(self) -> None:
        await self.ask(message("initialize", INITIALIZE))
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (await self.ask(message("ping")))["result"] == {}


@asynccontextmanager
async def pipe(hub: House | Room, tmp_path: Path, agent: str = "me") -> AsyncIterator[Pipe]:
    """A connection of `agent`; whoever leaves it has seen its end."""
    path = tmp_path / "s"

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await serve_stream(hub.front, hub.identities.local(agent), stream.receive, stream.send)

    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        async with await anyio.connect_unix(path) as stream:
            yield Pipe(stream)
        while len(hub.front.running):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    path.unlink()
