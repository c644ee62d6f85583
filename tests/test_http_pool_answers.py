"""Answers on a kept connection: which are none, and streams to their end. Real sockets. RFC 9112, or ours."""

from __future__ import annotations

import asyncio
from asyncio import StreamWriter

import anyio
import anyio.lowlevel
import pytest

from connectors.base import LinkError
from connectors.http_connection import HEADERS_BYTES_MAX
from connectors.http_pool import CLOSE_SECONDS, Pool
from tests.pools import POST, pool_of, read_all, stream_of
from tests.servers.fault_http import SSE_END, SSE_HEAD, Request, event, http, saying

pytestmark = [pytest.mark.anyio, pytest.mark.both_loops]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(200, b"x" * 1001), "larger than 1000 bytes .*message"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"64\r\n" + b"x" * 100 + b"\r\n64", None),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"64\r\n" + b"x" * 100 + b"\r\n") * 11,
            "1000 bytes",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEADERS_BYTES_MAX + b"\r\n\r\n", "headers are larger than"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * HEADERS_BYTES_MAX, "headers are larger than|is no HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + b"x: "
            + b"y" * 3 * HEADERS_BYTES_MAX,
            "headers",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is no HTTP/1.1"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "no HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "is no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\nContent-Length: -1\n\n", "is no HTTP/1.1"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello",
            "another protocol",
        ),
        (http(200, b"\x1f\x8b", "Content-Encoding: gzip"), "compressed, which was not asked for"),
        (http(200, b"short")[:-2], "in the middle of the answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "in the middle of the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "without an answer"),
    ],
)
async def test_what_is_no_usable_answer_is_an_error_and_ends_the_connection(
    answer: bytes, reason: str | None
) -> None:
    async with pool_of(saying(answer, close=True)) as (pool, server):
        with pytest.raises(LinkError, match=reason or "middle of the answer") as failed:
            await pool.exchange(POST)
        assert failed.value.sent
        await server.all_closed()
        assert len(server.requests) == 1


async def test_an_answer_that_was_not_asked_for_ends_the_connection() -> None:
    """A second answer in the same bytes must never become the answer to the next request."""
    for extra in (http(200, b"forged"), b"HTTP/1.1 200 OK\r\nContent-"):
        async with pool_of(saying(http(200, b"real") + extra)) as (pool, server):
            assert (await pool.exchange(POST)).body == b"real"
            assert (await pool.exchange(POST)).body == b"real"
            assert server.connections == 2


async def test_a_stream_is_given_as_it_comes() -> None:
    go_on = asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        writer.write(SSE_HEAD + event("one"))
        await go_on.wait()
        writer.write(event("two") + SSE_END)

    async with pool_of(answer) as (pool, server):
        stream = await stream_of(pool)
        assert await stream.read() == b"data: one\r\n\r\n"
        go_on.set()
        assert await read_all(stream) == b"data: two\r\n\r\n"
        await stream_of(pool)
        assert server.connections == 1


async def test_a_stream_that_is_left_before_its_end_closes_its_connection() -> None:
    async with pool_of(saying(SSE_HEAD + event("one"))) as (pool, server):
        (await stream_of(pool)).close()
        await server.all_closed()


async def test_a_stream_that_is_near_its_end_keeps_its_connection() -> None:
    end = asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        writer.write(SSE_HEAD + event("one"))
        await end.wait()
        writer.write(event("two") + SSE_END)

    async with pool_of(answer, connections_max=1) as (pool, server):
        stream = await stream_of(pool)
        await stream.read()
        stream.close(drain=True)
        end.set()
        assert await (await stream_of(pool)).read() != b""
        assert server.connections == 1


async def test_a_stream_that_was_near_its_end_but_goes_on_is_cut() -> None:
    async def answer(request: Request, writer: StreamWriter) -> None:
        writer.write(SSE_HEAD)
        while True:
            writer.write(event("x" * 1000))
            await writer.drain()

    async with pool_of(answer) as (pool, server):
        stream = await stream_of(pool)
        await stream.read()
        stream.close(drain=True)
        with anyio.fail_after(20):
            await server.all_closed()


async def test_a_stream_that_breaks_gives_what_came_and_then_the_error() -> None:
    async with pool_of(saying(SSE_HEAD + event("one"), b"20\r\nda", close=True)) as (pool, _):
        stream = await stream_of(pool)
        got = b""
        with pytest.raises(LinkError, match="in the middle"):
            while True:
                got += await stream.read()
        assert got == b"data: one\r\n\r\nda"
        stream.close()


async def test_a_stream_that_nobody_reads_holds_its_server_back() -> None:
    """Otherwise a server could fill the hub's memory with what waits to be used."""
    written = 0
    stuck = asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        nonlocal written
        writer.write(SSE_HEAD)
        block = event("x" * 1_000_000)
        for _ in range(100):
            writer.write(block)
            try:
                await asyncio.wait_for(writer.drain(), 0.3)
            except TimeoutError:
                stuck.set()
                await writer.drain()
            written += len(block)
        writer.write(SSE_END)

    async with pool_of(answer) as (pool, _):
        stream = await stream_of(pool)
        await stuck.wait()
        assert written < 30_000_000  # what the kernel's buffers hold
        assert len(await read_all(stream)) > 100_000_000


async def test_closing_the_pool_ends_what_is_under_way_and_what_waits() -> None:
    arrived = asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        arrived.set()

    async def refused(pool: Pool) -> None:
        with pytest.raises(LinkError):
            await pool.exchange(POST)

    async with pool_of(answer, connections_max=1) as (pool, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refused, pool)
            await arrived.wait()
            tasks.start_soon(refused, pool)
            await anyio.lowlevel.checkpoint()
            began = anyio.current_time()
            await pool.close()
            assert anyio.current_time() - began < CLOSE_SECONDS / 2, "it waited for what was gone"
        await server.all_closed()
        with pytest.raises(LinkError, match="closed") as failed:
            await pool.exchange(POST)
        assert not failed.value.sent
