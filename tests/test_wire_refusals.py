"""The hub's own HTTP/1.1 on bare sockets: what it refuses, and what becomes of the connection."""

from __future__ import annotations

import os

import anyio
import pytest

from hub.server.wire import Wire
from hub.server.wire_request import Request
from tests.wire_room import BYTES_MAX, HOST, chunked, get, post, serving

pytestmark = [pytest.mark.anyio, pytest.mark.both_loops]


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"nonsense\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00"),
        (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (400, b"GET / HTTP/1.2\r\n\r\n"),
        (505, b"GET /\r\n\r\n"),
        (400, get("/a", b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
        (400, get("/a", b"Transfer-Encoding: chunked", b"Content-Length: 3") + b"0\r\n\r\n"),
        (400, get("/a", b"Content-Length: 3", b"Content-Length: 4") + b"abcd"),
        (400, get("/a", b"Content-Length: 3", b"Content-Length: 3") + b"abc"),
        (400, get("/a", b"Content-Length: 3, 3") + b"abc"),
        (400, get("/a", b"Content-Length: +3") + b"abc"),
        (400, get("/a", b"Content-Length: " + b"9" * 30)),
        (400, get("/a", b"X: a", b" folded")),
        (400, get("/a", b" X: a")),
        (400, get("/a", b"X : a")),
        (400, get("/a", b": a")),
        (400, get("/a", b"X: a\x00b")),
        (400, get("/a", b"X: a\rY: b")),
        (400, get("/a", b"X: a\nY: b")),
        (400, get("/a").replace(b"\r\n", b"\n")),
        (501, get("/a", b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"),
        (501, get("/a", b"Transfer-Encoding: identity") + b"abc"),
        (501, get("/a", b"Transfer-Encoding: chunked", version=b"1.0") + b"0\r\n\r\n"),
        (400, chunked("/a", end=b"zz\r\n")),
        (400, chunked("/a", end=b"-1\r\n")),
        (400, chunked("/a", end=b"fffffffffffffffff\r\n")),
        (400, chunked("/a", b"abc").replace(b"abc\r\n", b"abcd\r\n")),
        (400, get("/a", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 2") + b"ab"),
        (400, b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n"),
        (431, get("/a", b"X: " + b"x" * 70_000)),
        (431, get("/a", *(b"X: y" for _ in range(101)))),
        (431, get("/" + "a" * 70_000)),
    ],
)
async def test_what_is_no_request_is_refused_and_nothing_behind_it_is_heard(
    status: int, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as room, room.client() as client:
        await client.send(request_ + get("/smuggled"))
        assert await client.status() == status
        assert b"connection: close" in client.head
        assert await client.rest() == b""
        assert "/smuggled" not in [head.path for head in room.heads]
    assert caplog.text == ""


async def test_a_head_without_an_end_is_refused_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.server.wire.TICK_SECONDS", 0.05)  # how long a client that goes on is heard
    async with serving() as room:
        for start in (
            get("/a")[:-2] + b"X: ",
            b"GET /",
            chunked("/a", end=b"0\r\nTrailer: "),
            chunked("/a", end=b"1;"),
        ):
            async with room.client() as client:
                await client.send(start)
                with pytest.raises(anyio.BrokenResourceError):
                    while True:
                        await client.send(b"x" * 16_384)
                assert not room.wire.tasks


async def test_what_is_malformed_behind_a_request_is_refused_after_its_answer() -> None:
    async with serving() as room, room.client() as client:
        await client.send(get("/gate") + b"nonsense\r\n\r\n")
        await room.begun.wait()
        room.gate.set()
        assert await client.status() == 200
        assert await client.status() == 400
        assert await client.rest() == b""


async def test_a_body_over_the_bound_is_refused_declared_or_not_and_the_connection_ends() -> None:
    async with serving() as room:
        for request in (post("/a", b"x" * (BYTES_MAX + 1)), chunked("/a", *([b"x" * 20_000] * 6))):
            async with room.client() as client:
                await client.send(request)
                assert await client.status() == 413 and b"connection: close" in client.head
                assert await client.rest() == b""
        async with room.client() as client:
            await client.send(post("/a", b"x" * (BYTES_MAX + 1))[:500])  # refused before it is sent
            assert await client.status() == 413


async def test_one_connection_too_many_is_told_so() -> None:
    async with serving(connections_max=2) as room:
        async with room.client() as one, room.client() as two:
            for client in (one, two):
                await client.send(get("/a"))
                assert await client.status() == 200
            async with room.client() as third:
                assert await third.status() == 503 and b"too many connections" in third.body
                assert await third.rest() == b""
            await one.send(get("/a"))
            assert await one.status() == 200
        while room.wire.connections:
            await anyio.lowlevel.checkpoint()
        async with room.client() as client:
            await client.send(get("/a"))
            assert await client.status() == 200


def test_connections_run_out_before_files_do() -> None:
    async def answer(request: Request) -> None: ...

    assert Wire(answer)._most <= os.sysconf("SC_OPEN_MAX") // 2
