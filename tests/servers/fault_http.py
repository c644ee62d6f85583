"""A tiny HTTP/1.1 server that a test scripts byte by byte: whatever real ones do wrong, it can do.

It reads requests properly, keeps them for the test to look at, and leaves the answer to a
function of the test. Also a forward proxy and a CONNECT proxy, for the ways around.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

Found = TypeVar("Found")


@dataclass
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """Which connection it came on, counted from 1."""

    @property
    def message(self) -> dict[str, Any]:
        """Its JSON-RPC message; `{}` without a body."""
        loaded: dict[str, Any] = json.loads(self.body or b"{}")
        return loaded


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Faulty:
    """The server while it runs."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    """Connections that are open now."""
    open_most: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/mcp"

    def of(self, method: str) -> list[Request]:
        """The requests with this JSON-RPC method."""
        return [request for request in self.requests if request.message.get("method") == method]

    async def until(self, what: Callable[[], Found | None]) -> Found:
        """What this gives once it gives something; asked again whenever anything comes or ends."""
        async with self.changed:
            while True:
                found = what()
                if found:
                    return found
                await self.changed.wait()

    async def all_closed(self) -> None:
        await self.until(lambda: self.open == 0)


@asynccontextmanager
async def serve(answer: Answer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Faulty]:
    """Run it on a free port of this machine."""
    state = Faulty(scheme="https" if tls else "http")

    async def notify() -> None:
        async with state.changed:
            state.changed.notify_all()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        state.open += 1
        state.open_most = max(state.open, state.open_most)
        state.writers.append(writer)
        number = state.connections
        await notify()
        try:
            while (request := await read_request(reader, number)) is not None:
                state.requests.append(request)
                await notify()
                await answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            state.open -= 1
            await notify()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=tls, limit=2**20)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for writer in state.writers:
            writer.transport.abort()
        await asyncio.wait_for(state.all_closed(), 5)


@asynccontextmanager
async def nobody_at(port: int) -> AsyncIterator[None]:
    """Nothing listens where a server was: whatever else starts on this machine is given another port."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", port))
        yield


async def read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, f"{name} twice"
        headers[name.lower()] = value
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, connection)


def http(
    status: int, body: bytes = b"", *headers: str, content_type: str | None = "application/json"
) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} Some Words", *headers, f"Content-Length: {len(body)}"]
    if content_type is not None and body:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def result(request: Request, value: Any) -> bytes:
    """The body of a result."""
    return json.dumps({"jsonrpc": "2.0", "id": request.message["id"], "result": value}).encode()


def error(code: int, message: str, id: Any = None) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).encode()


def saying(*parts: bytes, close: bool = False) -> Answer:
    """Answers every request with these bytes, each part written by itself."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SSE_END = b"0\r\n\r\n"


def event(message: Any, id: str | None = None) -> bytes:
    """One event in a chunk of its own; a string is its data as it is."""
    data = message if isinstance(message, str) else json.dumps(message)
    text = (f"id: {id}\r\n" if id is not None else "").encode() + f"data: {data}\r\n\r\n".encode()
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


def discovered(request: Request, **capabilities: Any) -> bytes:
    """How a modern server answers `server/discover`."""
    return http(200, result(request, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities}))


def initialized(request: Request, session: str | None = "s-1", **capabilities: Any) -> bytes:
    """How a legacy server answers `initialize`."""
    info = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": {"name": "old"}}
    headers = [f"Mcp-Session-Id: {session}"] if session is not None else []
    return http(200, result(request, info), *headers)


def modern(on_call: Answer) -> Answer:
    """A modern server that answers `server/discover`, and leaves the rest to `on_call`."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.message.get("method") == "server/discover":
            writer.write(discovered(request))
        else:
            await on_call(request, writer)

    return answer


def legacy(on_call: Answer, *, session: str | None = "s-1") -> Answer:
    """A legacy server with a session and no GET stream; the rest is left to `on_call`."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        method = request.message.get("method")
        if method == "server/discover":
            writer.write(http(400, error(-32600, "Bad Request: Missing session ID", "server-error")))
        elif method == "initialize":
            writer.write(initialized(request, session))
        elif method == "notifications/initialized":
            writer.write(http(202))
        elif request.method == "GET" and "last-event-id" not in request.headers:
            writer.write(http(405))
        elif request.method == "DELETE":
            writer.write(http(200))
        else:
            await on_call(request, writer)

    return answer


@asynccontextmanager
async def serve_connect_proxy(status: str = "200 Connection established") -> AsyncIterator[Faulty]:
    """A proxy for https: makes a tunnel to whatever CONNECT names on this machine."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    state = Faulty()
    tunnels: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader, 0)
        if request is None:
            return
        state.requests.append(request)
        writer.write(f"HTTP/1.1 {status}\r\nVia: test\r\n\r\n".encode())
        state.writers.append(writer)
        if not status.startswith("2"):
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection(
            "127.0.0.1", int(request.target.rpartition(":")[2])
        )
        state.writers.append(there_writer)
        tunnels.add(asyncio.create_task(pump(there_reader, writer)))
        await pump(reader, there_writer)

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for writer in state.writers:
            writer.transport.abort()
        await asyncio.wait([*tunnels, asyncio.create_task(asyncio.sleep(0))], timeout=5)
