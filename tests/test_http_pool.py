"""HTTP/1.1 connections: kept, bounded, given up in time. Real sockets. Claims: RFC 9110 and 9112, or ours."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from connectors.base import LinkError
from connectors.http_connect import Address, Route
from connectors.http_connection import HEADERS_BYTES_MAX
from connectors.http_pool import CLOSE_SECONDS, Pool
from connectors.http_response import Stream
from tests.servers.fault_http import SSE_END, SSE_HEAD, Answer, Faulty, Request, event, http, serve

pytestmark = pytest.mark.anyio

POST = b"POST /mcp HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}"
GET = b"GET /mcp HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture(params=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@asynccontextmanager
async def pool_of(answer: Answer, **options: Any) -> AsyncIterator[tuple[Pool, Faulty]]:
    with anyio.fail_after(10):
        async with serve(answer) as server:
            route = Route(Address("http", "127.0.0.1", server.port, "/mcp"), None, None)
            pool = Pool(route, body_bytes_max=options.pop("body_bytes_max", 1000), **options)
            try:
                yield pool, server
            finally:
                await pool.close()
                assert len(pool) == 0


def saying(*parts: bytes, close: bool = False) -> Answer:
    """Answers every request with these bytes, each written by itself."""

    async def answer(request: Request, writer: StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


async def stream_of(pool: Pool) -> Stream:
    stream = (await pool.exchange(POST)).stream
    assert stream is not None
    return stream


async def read_all(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    stream.close()
    return b"".join(parts)


async def test_a_connection_is_used_again() -> None:
    async with pool_of(saying(http(200, b"one"))) as (pool, server):
        for _ in range(3):
            response = await pool.exchange(POST)
            assert (response.status, response.body) == (200, b"one")
        assert server.connections == 1
        assert [(each.method, each.target, each.body) for each in server.requests] == [
            ("POST", "/mcp", b"{}")
        ] * 3


async def test_it_makes_no_difference_how_an_answer_is_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    text = head + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: u\r\n\r\n"
    async with pool_of(saying(*[bytes([byte]) for byte in text])) as (pool, server):
        for _ in range(2):
            response = await pool.exchange(POST)
            assert (response.body, response.header(b"x-a")) == (b"abcdefg", "b")
            assert response.header(b"t") == ""
        assert server.connections == 1


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-A: early\r\n\r\n"
    async with pool_of(saying(interim, http(200, b"real"))) as (pool, _):
        response = await pool.exchange(POST)
        assert (response.status, response.body, response.header(b"x-a")) == (200, b"real", "")


@pytest.mark.parametrize("version", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_body_without_a_length_ends_with_its_connection(version: bytes) -> None:
    async with pool_of(saying(version + b"some ", b"words", close=True)) as (pool, server):
        assert (await pool.exchange(POST)).body == b"some words"
        assert (await pool.exchange(POST)).body == b"some words"
        assert server.connections == 2


async def test_connections_are_bounded_and_who_waits_gets_one_in_turn() -> None:
    async with pool_of(saying(http(200, b"x")), connections_max=3) as (pool, server):
        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(pool.exchange, POST)
        assert len(server.requests) == 30
        assert server.open_most <= 3


async def test_who_gives_up_waiting_takes_no_place_with_them() -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        arrived.set()
        await release.wait()
        writer.write(http(200, b"x"))

    async with pool_of(answer, connections_max=1) as (pool, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.exchange, POST)
            await arrived.wait()
            for _ in range(5):
                with anyio.move_on_after(0.01) as scope:
                    await pool.exchange(POST)
                assert scope.cancelled_caught
            release.set()
        assert (await pool.exchange(POST)).body == b"x"
        assert len(server.requests) == 2


async def test_no_place_is_lost_however_requests_and_connections_end() -> None:
    """Cancelled while waiting, connecting or sending; kept, or closed by the server."""

    async def answer(request: Request, writer: StreamWriter) -> None:
        await asyncio.sleep(0.001 * (len(server.requests) % 3))
        if not writer.is_closing():
            writer.write(http(200, b"x"))
        if len(server.requests) % 2:
            writer.close()

    async def impatient(milliseconds: int) -> None:
        with anyio.move_on_after(milliseconds / 1000), contextlib.suppress(LinkError):
            await pool.exchange(POST)

    async with pool_of(answer, connections_max=2) as (pool, server):
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(impatient, number % 50)
        with anyio.fail_after(2):
            for _ in range(2):
                assert pool.take_idle() or await pool.acquire()


async def test_a_place_handed_over_in_the_moment_of_cancelling_goes_to_the_next() -> None:
    async with serve(saying()) as server, anyio.create_task_group() as tasks:
        # It never answers the TLS handshake, so whoever has the place is connecting until cancelled.
        address = Address("https", "127.0.0.1", server.port, "/")
        pool = Pool(Route(address, ssl.create_default_context(), None), body_bytes_max=1, connections_max=1)
        with anyio.fail_after(5):

            async def give_up_together() -> None:
                try:
                    await pool.exchange(POST)
                finally:
                    # Its place was handed to the second just now, which has not yet gone on with it.
                    second.cancel()

            first = asyncio.ensure_future(give_up_together())
            await server.until(lambda: server.connections == 1)
            second = asyncio.ensure_future(pool.exchange(POST))
            await anyio.lowlevel.checkpoint()
            first.cancel()
            await asyncio.wait([first, second])
            tasks.start_soon(pool.exchange, POST)
            await server.until(lambda: server.connections == 2)
        tasks.cancel_scope.cancel()
    await pool.close()


async def test_an_idle_connection_is_closed_in_time() -> None:
    async with pool_of(saying(http(200, b"x")), idle_seconds=0.05) as (pool, server):
        await pool.exchange(POST)
        await server.all_closed()
        await pool.exchange(POST)
        assert server.connections == 2


async def test_spare_connections_grow_old_because_the_last_used_is_used_first() -> None:
    async with pool_of(saying(http(200, b"x"))) as (pool, server):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(pool.exchange, POST)
        del server.requests[:]
        for _ in range(4):
            await pool.exchange(POST)
        assert len({request.connection for request in server.requests}) == 1


async def test_a_connection_that_was_closed_while_idle_is_not_written_to() -> None:
    async with pool_of(saying(http(200, b"x"), close=True)) as (pool, server):
        for _ in range(3):
            await pool.exchange(POST)
            await server.all_closed()
        assert len(server.requests) == 3


async def test_a_connection_that_closed_in_this_very_moment_is_not_written_to() -> None:
    """The event loop has not noticed yet: the socket itself is looked at, so that no POST is lost."""
    async with pool_of(saying(http(200, b"x"))) as (pool, server):
        await pool.exchange(POST)
        with socket.socket(fileno=os.dup(server.writers[0].get_extra_info("socket").fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
        assert (await pool.exchange(POST)).body == b"x"
        assert [request.connection for request in server.requests] == [1, 2]


async def test_a_connection_is_not_used_again_when_its_server_is_about_to_close_it() -> None:
    """`Keep-Alive: timeout=5`, says node, and closes after 5 s: a second before, it counts as closed."""
    for said, connections in (("timeout=1", 2), ("max=9, timeout=5", 1), ("max=1", 1)):
        async with pool_of(saying(http(200, b"x", f"Keep-Alive: {said}"))) as (pool, server):
            await pool.exchange(POST)
            await pool.exchange(POST)
            assert server.connections == connections


def closing_on_the_second(request: Request, writer: StreamWriter, *, seen: list[Request]) -> Any:
    seen.append(request)
    if len(seen) == 2:
        writer.transport.abort()
    else:
        writer.write(http(200, b"x"))
    return asyncio.sleep(0)


async def test_a_post_that_may_have_arrived_is_not_sent_again() -> None:
    async with pool_of(functools.partial(closing_on_the_second, seen=[])) as (pool, server):
        await pool.exchange(POST)
        with pytest.raises(LinkError, match="without an answer") as failed:
            await pool.exchange(POST)
        assert failed.value.sent
        assert len(server.requests) == 2


async def test_what_may_arrive_twice_is_sent_again_once_on_a_new_connection() -> None:
    async with pool_of(functools.partial(closing_on_the_second, seen=[])) as (pool, server):
        await pool.exchange(GET)
        assert (await pool.exchange(GET, repeatable=True)).body == b"x"
        assert [request.connection for request in server.requests] == [1, 1, 2]


async def test_sent_again_it_does_not_meet_another_old_connection() -> None:
    """Where one was closed, the others that were kept are likely to be."""
    seen: set[int] = set()

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.connection in seen:
            writer.transport.abort()
        else:
            seen.add(request.connection)
            writer.write(http(200, b"x"))

    async with pool_of(answer) as (pool, server):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(pool.exchange, GET)
        assert (await pool.exchange(GET, repeatable=True)).body == b"x"
        assert server.connections == 4


async def test_a_new_connection_that_breaks_is_an_error_at_once() -> None:
    async with pool_of(saying(close=True)) as (pool, server):
        with pytest.raises(LinkError, match="without an answer"):
            await pool.exchange(GET, repeatable=True)
        assert len(server.requests) == 1


async def test_nothing_was_sent_where_nobody_listens() -> None:
    async with serve(saying()) as server:
        pass
    pool = Pool(Route(Address("http", "127.0.0.1", server.port, "/"), None, None), body_bytes_max=10)
    with pytest.raises(LinkError, match=f"could not connect to 127.0.0.1:{server.port}: .*refused") as failed:
        await pool.exchange(POST)
    assert not failed.value.sent
    await pool.close()


async def test_cancelling_closes_the_connection() -> None:
    arrived = asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        arrived.set()

    async with pool_of(answer) as (pool, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.exchange, POST)
            await arrived.wait()
            tasks.cancel_scope.cancel()
        await server.all_closed()


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
        with anyio.fail_after(1):
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
