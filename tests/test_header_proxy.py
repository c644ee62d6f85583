"""The proxy that carries a token for the conformance suite: what it changes, and that it changes no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.memory import MemoryObjectReceiveStream

from tests.header_proxy import adding_headers

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer t0k"}


@asynccontextmanager
async def target() -> AsyncIterator[tuple[str, MemoryObjectReceiveStream[SocketStream]]]:
    """A listening socket that hands out its connections."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    send, receive = anyio.create_memory_object_stream[SocketStream](4)

    async def accept(connection: SocketStream) -> None:
        async with connection:
            await send.send(connection)
            await anyio.sleep_forever()

    async with listener, send, receive, anyio.create_task_group() as serving:
        serving.start_soon(listener.serve, accept)
        yield f"http://localhost:{listener.extra(SocketAttribute.local_port)}/mcp", receive
        serving.cancel_scope.cancel()


async def receive_until(stream: SocketStream, end: bytes) -> bytes:
    """All bytes up to and including `end`."""
    received = b""
    while not received.endswith(end):
        received += await stream.receive()
    return received


def port_of(url: str) -> int:
    return int(url.split(":")[2].split("/")[0])


async def test_each_request_of_a_connection_gets_the_headers_and_keeps_its_bytes() -> None:
    """Ours: keep-alive, a sized body, a chunked body, and odd header spelling."""
    with anyio.fail_after(30):
        async with (
            target() as (url, connections),
            adding_headers(url, HEADERS) as proxied,
            await anyio.connect_tcp("127.0.0.1", port_of(proxied)) as client,
        ):
            await client.send(
                b"POST /mcp HTTP/1.1\r\nmCp-NaMe:   x  \r\nContent-Length: 9\r\n\r\n\r\n\r\nbody1"
            )
            server = await connections.receive()
            first = await receive_until(server, b"body1")
            chunked = b"4\r\n\r\n\r\n\r\n5;a=b\r\nbody2\r\n0\r\n\r\n"
            await client.send(b"POST /mcp HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)
            second = await receive_until(server, b"0\r\n\r\n")
            await client.send(b"GET /mcp HTTP/1.1\r\nA: b\r\n\r\n")
            third = await receive_until(server, b"A: b\r\n\r\n")
    token = b"Authorization: Bearer t0k\r\n"
    start = b"POST /mcp HTTP/1.1\r\n" + token
    assert first == start + b"mCp-NaMe:   x  \r\nContent-Length: 9\r\n\r\n\r\n\r\nbody1"
    assert second == start + b"Transfer-Encoding: chunked\r\n\r\n" + chunked
    assert third == b"GET /mcp HTTP/1.1\r\n" + token + b"A: b\r\n\r\n"


async def test_the_target_sees_its_own_name_and_a_foreign_one_stays() -> None:
    """Ours: a check of Host and Origin must come out as it does without the proxy."""
    with anyio.fail_after(30):
        async with target() as (url, connections), adding_headers(url, {}) as proxied:
            own, there = proxied.split("/")[2].encode(), url.split("/")[2].encode()
            async with await anyio.connect_tcp("127.0.0.1", port_of(proxied)) as client:
                await client.send(
                    b"GET / HTTP/1.1\r\nHost: " + own + b"\r\nOrigin: http://" + own + b"\r\n\r\n"
                )
                server = await connections.receive()
                first = await receive_until(server, b"\r\n\r\n")
                await client.send(b"GET / HTTP/1.1\r\nHost: evil.example.com\r\nX: " + own + b"\r\n\r\n")
                second = await receive_until(server, b"\r\n\r\n")
    assert first == b"GET / HTTP/1.1\r\nHost: " + there + b"\r\nOrigin: http://" + there + b"\r\n\r\n"
    assert second == b"GET / HTTP/1.1\r\nHost: evil.example.com\r\nX: " + own + b"\r\n\r\n"


async def test_a_stream_passes_piece_by_piece_and_ends_on_both_sides() -> None:
    """Ours: an event arrives before the next one is sent, and who hangs up is noticed by the other."""
    with anyio.fail_after(30):
        async with target() as (url, connections), adding_headers(url, HEADERS) as proxied:
            async with await anyio.connect_tcp("127.0.0.1", port_of(proxied)) as client:
                await client.send(b"GET /mcp HTTP/1.1\r\n\r\n")
                server = await connections.receive()
                await receive_until(server, b"\r\n\r\n")
                for event in (b"data: 1\n\n", b"data: 2\n\n"):
                    await server.send(event)
                    assert await receive_until(client, event) == event
            with pytest.raises(anyio.EndOfStream):
                await server.receive()
            async with await anyio.connect_tcp("127.0.0.1", port_of(proxied)) as client:
                await client.send(b"GET /mcp HTTP/1.1\r\n\r\n")
                server = await connections.receive()
                await receive_until(server, b"\r\n\r\n")
                await server.aclose()
                with pytest.raises(anyio.EndOfStream):
                    await client.receive()
