"""Agents that send the bytes they are told and give back the bytes they got, over HTTP and over a pipe.

The whole hub stands behind, in this process, without a socket on the agents' side.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol

import anyio
import httptools

from hub.server import Front, HttpApp, Wire, serve_stream
from hub.server.wire_connection import Connection

Era = Literal["modern", "legacy"]

SECONDS = 30
STAMP = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
INITIALIZE = {
    "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"},
}  # fmt: skip


class RawAgent(Protocol):
    async def ask(self, method: str, name: str, params: str) -> bytes:
        """Send a request and return the whole message that answers it.

        Args:
            name: What the params name, which HTTP repeats in a header.
            params: JSON text of an object.
        """
        ...

    async def tell(self, method: str) -> None:
        """Send a notification."""
        ...


def request(method: str, params: str, id: int = 1) -> bytes:
    text = f'{{"jsonrpc":"2.0","id":{id},"method":{json.dumps(method)},"params":{params}}}'
    return text.encode("utf-8", "surrogatepass")


class _Ends(asyncio.Transport):
    """The client's end of a connection without a socket: what is written to it is parsed as an answer."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._parser = httptools.HttpResponseParser(self)
        self._closing = False
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.whole = anyio.Event()
        connection.connection_made(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name] = value

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.whole.set()

    def next(self) -> None:
        self.headers, self.body, self.whole = {}, [], anyio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._parser.feed_data(data)

    def write_eof(self) -> None:
        pass  # Whatever answers has its length.

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass  # A request comes whole, and nothing before its answer.

    resume_reading = pause_reading


class HttpAgent:
    """Sends the bytes of requests to a connection as the hub makes one, without a socket.

    As any client, it connects anew when the hub has closed a connection that was idle.
    """

    def __init__(self, app: HttpApp, token: str, era: Era) -> None:
        self._wire = Wire(app)
        self._wire.loop = asyncio.get_running_loop()
        self._connect()
        self._era = era
        self._headers = {
            "host": "127.0.0.1",
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28" if era == "modern" else "2025-11-25",
        }

    def _connect(self) -> None:
        self._connection = Connection(self._wire)
        self._ends = _Ends(self._connection)

    def close(self) -> None:
        self._ends.close()

    async def open(self) -> None:
        """Shake hands, in the era that does."""
        if self._era == "legacy":
            _, headers = await self._post(request("initialize", json.dumps(INITIALIZE)))
            self._headers["mcp-session-id"] = headers[b"mcp-session-id"].decode()
            await self._post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    async def ask(self, method: str, name: str, params: str) -> bytes:
        if self._era == "modern":
            self._headers |= {"mcp-method": method, "mcp-name": name}
        answered, headers = await self._post(request(method, params))
        if headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            lines = [line for line in answered.replace(b"\r\n", b"\n").split(b"\n") if line[:5] == b"data:"]
            answered = lines[-1][5:].strip()
        return answered

    async def tell(self, method: str) -> None:
        """Send a notification."""
        await self._post(json.dumps({"jsonrpc": "2.0", "method": method}).encode())

    async def _post(self, body: bytes) -> tuple[bytes, dict[bytes, bytes]]:
        named = {**self._headers, "content-length": str(len(body))}
        lines = [f"{name}: {value}\r\n".encode() for name, value in named.items()]
        if self._ends.is_closing():
            self._connect()
        ends = self._ends
        ends.next()
        self._connection.data_received(b"".join([b"POST /mcp HTTP/1.1\r\n", *lines, b"\r\n", body]))
        with anyio.fail_after(SECONDS):
            await ends.whole.wait()
        return b"".join(ends.body), ends.headers


class PipeAgent:
    """The other end of a pipe."""

    def __init__(self, era: Era) -> None:
        self._era = era
        self.send_in, self.receive_in = anyio.create_memory_object_stream[bytes](16)
        self.send_out, self.receive_out = anyio.create_memory_object_stream[bytes](16)

    async def open(self) -> None:
        """Shake hands, in the era that does."""
        if self._era == "legacy":
            await self.ask("initialize", "", json.dumps(INITIALIZE))
            await self.send_in.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    async def tell(self, method: str) -> None:
        """Send a notification."""
        await self.send_in.send(json.dumps({"jsonrpc": "2.0", "method": method}).encode() + b"\n")

    def close(self) -> None:
        for stream in (self.send_in, self.receive_in, self.send_out, self.receive_out):
            stream.close()

    async def ask(self, method: str, name: str, params: str) -> bytes:
        with anyio.fail_after(SECONDS):
            await self.send_in.send(request(method, params) + b"\n")
            buffered = b""
            while True:
                buffered += await self.receive_out.receive()
                *lines, buffered = buffered.split(b"\n")
                for line in lines:
                    if b'"id":1' in line[:40]:
                        return line


@asynccontextmanager
async def raw_agent(
    front: Front, app: HttpApp, token: str, agent: Any, wire: str, era: Era
) -> AsyncIterator[RawAgent]:
    """An agent that is connected."""
    if wire == "http":
        over_http = HttpAgent(app, token, era)
        try:
            await over_http.open()
            yield over_http
        finally:
            over_http.close()
        return
    over_pipe = PipeAgent(era)
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            await serve_stream(front, agent, over_pipe.receive_in.receive, over_pipe.send_out.send)

        tasks.start_soon(serve)
        await over_pipe.open()
        yield over_pipe
        tasks.cancel_scope.cancel()
    over_pipe.close()
