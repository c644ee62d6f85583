"""HTTP/1.1 connections: kept, bounded, given up in time. Real sockets. Claims: RFC 9110 and 9112, or ours."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
from asyncio import StreamWriter
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from connectors.base import LinkError
from connectors.http_connect import Address, Route
from connectors.http_pool import Pool
from tests.pools import GET, POST, pool_of
from tests.servers.fault_http import Request, http, nobody_at, saying, serve

pytestmark = [pytest.mark.anyio, pytest.mark.both_loops]


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
        with anyio.fail_after(20):
            for _ in range(2):
                assert pool.take_idle() or await pool.acquire()


async def test_a_place_handed_over_in_the_moment_of_cancelling_goes_to_the_next() -> None:
    async with serve(saying()) as server, anyio.create_task_group() as tasks:
        # It never answers the TLS handshake, so whoever has the place is connecting until cancelled.
        address = Address("https", "127.0.0.1", server.port, "/")
        pool = Pool(Route(address, ssl.create_default_context(), None), body_bytes_max=1, connections_max=1)
        with anyio.fail_after(20):

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
    refused = f"could not connect to 127.0.0.1:{server.port}: .*refused"
    async with nobody_at(server.port):
        with pytest.raises(LinkError, match=refused) as failed:
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
