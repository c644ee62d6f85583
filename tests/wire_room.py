"""The hub's own HTTP/1.1 on a socket, what answers on it by the path, and a client that speaks bytes."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketStream

from hub.server.wire import Wire
from hub.server.wire_request import BrokenBody, Gone, Head, Request, TooLarge

SECONDS = 30
BYTES_MAX = 100_000
HOST = b"Host: localhost\r\n"


class Room:
    """A wire, and what answers on it: by the path of a request."""

    def __init__(self, **given: Any) -> None:
        self.wire = Wire(self.answer, **given)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.heads: list[Head] = []
        self.gate = anyio.Event()
        self.begun = anyio.Event()
        self.gone = anyio.Event()
        self.ended = anyio.Event()
        self.written = 0

    async def answer(self, request: Request) -> None:
        self.heads.append(request.head)
        path = request.head.path
        if path == "/early":
            request.answer(401, b'"no"')
            return
        try:
            body = await request.body(BYTES_MAX)
        except TooLarge:
            request.answer(413, b'"large"')
            return
        except BrokenBody as error:
            request.answer(400, json.dumps(str(error)).encode())
            return
        except Gone:
            self.gone.set()
            return
        self.begun.set()
        request.on_gone(self.gone.set)
        try:
            await self._answer(request, path, body)
        finally:
            self.ended.set()

    async def _answer(self, request: Request, path: str, body: bytes) -> None:
        if path == "/crash":
            raise ZeroDivisionError("on purpose")
        if path == "/gate":
            await self.gate.wait()
        elif path == "/hang":
            await anyio.sleep_forever()
        elif path == "/nothing":
            return
        elif path == "/empty":
            request.answer(204)
        elif path == "/stream":
            request.start(b"content-type: text/event-stream\r\n")
            request.write(b"one")
            await self.gate.wait()
            request.write(b"two")
            request.write(b"", last=True)
        elif path == "/torrent":
            request.start(b"content-type: text/event-stream\r\n")
            while not request.gone:
                request.write(b"x" * 50_000)
                self.written += 50_000
                await request.room()
        request.answer(200, json.dumps([request.head.method, path, body.decode()]).encode())

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with await anyio.connect_tcp("127.0.0.1", self.listener.getsockname()[1]) as stream:
            yield Client(stream)


class Client:
    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.seen = b""

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a segment of its own, as far as the hub has taken the one before."""
        for piece in pieces:
            await self.stream.send(piece)
            if len(pieces) > 1:
                await anyio.lowlevel.checkpoint()

    async def until(self, *wanted: bytes) -> bytes:
        """What has come, once these have, in order; they and what stood before are done with then."""
        taken = b""
        for each in wanted:
            while each not in self.seen:
                self.seen += await self.stream.receive()
            before, _, self.seen = self.seen.partition(each)
            taken += before + each
        return taken

    async def status(self) -> int:
        """The status of the next answer, whose body is JSON or text of a known length."""
        head = await self.until(b"\r\n\r\n")
        if b"content-length: " in head:
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(self.seen) < length:
                self.seen += await self.stream.receive()
            self.body, self.seen = self.seen[:length], self.seen[length:]
        self.head = head
        return int(head.split()[1])

    async def rest(self) -> bytes:
        """All up to the end of the connection, which comes."""
        try:
            while True:
                self.seen += await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return self.seen


@asynccontextmanager
async def serving(**given: Any) -> AsyncIterator[Room]:
    room = Room(**given)
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(room.wire.serve, room.listener)
            yield room
            tasks.cancel_scope.cancel()


def post(path: str, body: bytes = b"", *lines: bytes) -> bytes:
    head = b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def get(path: str, *lines: bytes, version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    head = method + b" " + path.encode() + b" HTTP/" + version + b"\r\n" + HOST
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def chunked(path: str, *chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end
