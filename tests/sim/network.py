"""The agents' network: connections between two event loops; bytes come late, in pieces, or not at all."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httptools

if TYPE_CHECKING:
    from tests.sim.clock import Loop
    from tests.sim.world import World

__all__ = ["Answer", "Client", "Gone"]


class Gone(Exception):
    """The connection ended before there was a whole answer."""


class _HubEnd(asyncio.Transport):
    """What the hub's connection writes to."""

    def __init__(self, client: Client, loop: Loop) -> None:
        super().__init__()
        self.client = client
        self.operations = client.world.operations
        self.loop = loop
        self.protocol: asyncio.Protocol
        self._closing = False
        self._lost = False
        self._reading = True
        self._waiting: list[bytes] = []

    def feed(self, data: bytes) -> None:
        if self._lost:
            return
        if self.operations.next("receive") is not None:
            self._cut()
            return
        if self._reading:
            self.protocol.data_received(data)
        else:
            self._waiting.append(data)

    def lost_before(self) -> None:
        """It broke before anybody took it."""
        self._lost = self._closing = True
        self.client.arrives(None)

    def lose(self) -> None:
        """The client has gone."""
        if not self._lost:
            self._lost = self._closing = True
            self.protocol.connection_lost(None)

    def _cut(self) -> None:
        """It breaks."""
        self._lost = self._closing = True
        self.client.arrives(None)
        self.loop.call_soon(self.protocol.connection_lost, ConnectionResetError("simulated"))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._lost and self.operations.next("send") is not None:
            self._cut()
        if not self._lost:
            self.client.arrives(bytes(data))

    def write_eof(self) -> None:
        self.client.arrives(None)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.client.arrives(None)
            self.loop.call_soon(self.lose)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.loop.call_soon(self.feed, data)

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Answer:
    """What came back for one request."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    def messages(self) -> list[dict[str, Any]]:
        """The JSON-RPC messages in it: one, or those of a stream."""
        if self.headers.get("content-type") == "text/event-stream":
            lines = self.body.split(b"\n")
            return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
        return [json.loads(self.body)] if self.body else []


class Client:
    """A client's end of one connection, in the world's loop. One request at a time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._future: asyncio.Future[Answer] | None = None
        self._parser: httptools.HttpResponseParser
        self._answer = Answer()
        self._end: _HubEnd | None = None
        self._there = 0.0
        self._here = 0.0
        self.gone = False
        self.beyond = False
        """Whether more came than was asked for."""

    def connect(self) -> None:
        """Raises `Gone`: nobody listens."""
        life = self.world.life
        if life is None or not life.loop.listeners:
            raise Gone
        self._parser = httptools.HttpResponseParser(self)
        end = self._end = _HubEnd(self, life.loop)
        factory = life.loop.listeners[0]

        def accept() -> None:
            if self.world.operations.next("accept") is not None:
                end.lost_before()
                return
            end.protocol = factory()
            end.protocol.connection_made(end)

        life.clients.append(self)
        self._there = self.world.to_hub(life.loop, self.world.latency(), accept)

    async def ask(self, head: bytes, body: bytes) -> Answer:
        """Raises `Gone`."""
        if self.gone or self._end is None:
            raise Gone
        self._answer = Answer()
        self._future = asyncio.get_running_loop().create_future()
        data = head + b"content-length: %d\r\n\r\n" % len(body) + body
        random, end = self.world.random, self._end
        cut = random.randrange(1, len(data)) if random.random() < 0.2 else len(data)
        for piece in (data[:cut], data[cut:]):
            if piece:
                at = max(self._there + 1e-6, self.world.time.now + self.world.latency())
                self._there = self.world.to_hub(end.loop, at - self.world.time.now, end.feed, piece)
        return await self._future

    def close(self) -> None:
        if not self.gone:
            self._lost()
            if self._end is not None:
                at = max(self._there + 1e-6, self.world.time.now + self.world.latency())
                self.world.to_hub(self._end.loop, at - self.world.time.now, self._end.lose)

    def arrives(self, data: bytes | None) -> None:
        """The hub has written this, or ended the connection."""
        self._here = max(self._here + 1e-6, self.world.time.now + self.world.latency())
        self.world.at(self._here, self._hear, data)

    def _hear(self, data: bytes | None) -> None:
        if self.gone:
            return
        if data is None:
            self._lost()
        else:
            self._parser.feed_data(data)

    def _lost(self) -> None:
        self.gone = True
        if self._future is not None and not self._future.done():
            self._future.set_exception(Gone())

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self._answer.body += data

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if self._future is None or self._future.done():
            self.beyond = True
        else:
            self._future.set_result(self._answer)
