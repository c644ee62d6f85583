"""A loopback proxy that adds headers to every request, for a client that cannot send its own.

The bytes of requests and responses pass as they are, streams and disconnects included. Three things
differ, all in the head of a request: the added headers, and `Host` and `Origin` where they name the
proxy: they name its target then, as if the client had gone there directly. HTTP/1.1 without TLS only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

HEAD_BYTES_MAX = 64 * 1024
CHUNK_LINE_BYTES_MAX = 1024
PIECE_BYTES = 64 * 1024

ENDED = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError)


@asynccontextmanager
async def adding_headers(url: str, headers: Mapping[str, str]) -> AsyncIterator[str]:
    """Serve `url` on a port of localhost while the block runs, and yield the URL to use instead.

    Args:
        url: `http://HOST:PORT/PATH` of the target.
        headers: what every request is to carry besides its own headers.
    """
    target = urlsplit(url)
    assert target.scheme == "http" and target.hostname is not None and target.port is not None
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    netloc = f"localhost:{listener.extra(SocketAttribute.local_port)}"
    rewriting = Rewriting(
        added=b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items()),
        own=netloc.encode(),
        target=target.netloc.encode(),
    )

    async def serve(client: SocketStream) -> None:
        assert target.hostname is not None and target.port is not None
        async with client, await anyio.connect_tcp(target.hostname, target.port) as server:
            await forward(client, server, rewriting)

    async with listener, anyio.create_task_group() as serving:
        serving.start_soon(listener.serve, serve)
        yield target._replace(netloc=netloc).geturl()
        serving.cancel_scope.cancel()


@dataclass(frozen=True)
class Rewriting:
    """What changes in the head of a request."""

    added: bytes
    own: bytes
    target: bytes

    def apply(self, head: bytes) -> bytes:
        """A request head, from its first byte to the empty line, as the target is to see it."""
        first, *lines = head.split(b"\r\n")
        rewritten = [
            line.replace(self.own, self.target) if _name(line) in (b"host", b"origin") else line
            for line in lines
        ]
        return first + b"\r\n" + self.added + b"\r\n".join(rewritten)


async def forward(client: ByteStream, server: ByteStream, rewriting: Rewriting) -> None:
    """Carry bytes both ways until one side is gone; then both are closed by the caller."""

    async def up() -> None:
        try:
            await _forward_requests(BufferedByteReceiveStream(client), server, rewriting)
        except ENDED:
            both.cancel_scope.cancel()

    async def down() -> None:
        try:
            while True:
                await client.send(await server.receive(PIECE_BYTES))
        except ENDED:
            both.cancel_scope.cancel()

    async with anyio.create_task_group() as both:
        both.start_soon(up)
        both.start_soon(down)


async def _forward_requests(
    client: BufferedByteReceiveStream, server: ByteStream, rewriting: Rewriting
) -> None:
    while True:
        head = await client.receive_until(b"\r\n\r\n", HEAD_BYTES_MAX) + b"\r\n\r\n"
        await server.send(rewriting.apply(head))
        headers = {_name(line): line.partition(b":")[2].strip() for line in head.split(b"\r\n")[1:]}
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            await _forward_chunks(client, server)
        else:
            await _forward_exactly(client, server, int(headers.get(b"content-length", b"0")))


async def _forward_chunks(client: BufferedByteReceiveStream, server: ByteStream) -> None:
    """A chunked body, trailers excepted: nobody here sends them."""
    size = -1
    while size != 0:
        line = await client.receive_until(b"\r\n", CHUNK_LINE_BYTES_MAX)
        size = int(line.partition(b";")[0], 16)
        await server.send(line + b"\r\n")
        await _forward_exactly(client, server, size + len(b"\r\n"))


async def _forward_exactly(client: BufferedByteReceiveStream, server: ByteStream, size: int) -> None:
    while size > 0:
        piece = await client.receive(min(size, PIECE_BYTES))
        await server.send(piece)
        size -= len(piece)


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].strip().lower()
