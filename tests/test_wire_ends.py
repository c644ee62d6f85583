"""The hub's own HTTP/1.1 on bare sockets: how long it waits, who is slow or gone, how it ends."""

from __future__ import annotations

import socket

import anyio
import pytest

from tests.wire_room import SECONDS, Room, get, post, serving

pytestmark = [pytest.mark.anyio, pytest.mark.both_loops]


async def test_slow_heads_and_idle_connections_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.server.wire.TICK_SECONDS", 0.01)
    monkeypatch.setattr("hub.server.wire_connection.HEAD_TICKS", 5)
    monkeypatch.setattr("hub.server.wire_connection.IDLE_TICKS", 5)
    async with serving() as room:
        async with room.client() as client:
            await client.send(get("/a")[:20])
            assert await client.status() == 408
            assert await client.rest() == b""
        async with room.client() as client:
            await client.send(get("/a"))
            assert await client.status() == 200
            assert await client.rest() == b""
        async with room.client() as client:  # says nothing at all
            assert await client.rest() == b""
        async with room.client() as client:  # is answered, and never ends its body
            await client.send(post("/early", b"x" * 100)[:-50])
            assert await client.status() == 401
            assert await client.rest() == b""


async def test_a_call_may_take_longer_than_an_idle_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.server.wire.TICK_SECONDS", 0.01)
    monkeypatch.setattr("hub.server.wire_connection.IDLE_TICKS", 2)
    monkeypatch.setattr("hub.server.wire_connection.HEAD_TICKS", 2)
    async with serving() as room, room.client() as client:
        await client.send(get("/gate"))
        await room.begun.wait()
        async with room.client() as idle:
            assert await idle.rest() == b""  # as many ticks have gone by as an idle connection is given
        room.gate.set()
        assert await client.status() == 200


async def test_whoever_writes_waits_for_a_reader_that_does_not_read() -> None:
    async with serving() as room, room.client() as client:
        await client.send(get("/torrent"))
        await room.begun.wait()
        before = -1
        while before != room.written:
            before = room.written
            await anyio.sleep(0.05)
        assert room.written < 20_000_000
        await client.until(b"x" * 50_000)
        await client.stream.aclose()
        await room.ended.wait()


async def test_a_client_that_leaves_is_noticed_at_once() -> None:
    async with serving() as room:
        async with room.client() as client:
            await client.send(post("/hang"))
            await room.begun.wait()
        await room.gone.wait()
    async with serving() as room:
        async with room.client() as client:
            await client.send(post("/a", b"half of it")[:-4])
            while not room.heads:
                await anyio.lowlevel.checkpoint()
        await room.gone.wait()


@pytest.mark.parametrize("path", ["/crash", "/nothing"])
async def test_an_answer_that_is_not_given_ends_the_connection(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as room:
        async with room.client() as client:
            await client.send(get(path))
            assert (await client.rest()).startswith(b"HTTP/1.1 500" if path == "/crash" else b"")
        async with room.client() as client:
            await client.send(get("/a"))
            assert await client.status() == 200
    assert ("on purpose" in caplog.text) == (path == "/crash")


# The end.


async def test_stopping_answers_what_runs_and_takes_nothing_new() -> None:
    async with serving() as room, room.client() as idle, room.client() as busy, room.client() as half:
        await idle.send(get("/a"))
        assert await idle.status() == 200
        await half.send(post("/a", b"body")[:-2])
        await busy.send(get("/gate"))
        await room.begun.wait()
        room.wire.stop()
        assert await idle.rest() == b""
        with pytest.raises(OSError):
            await anyio.connect_tcp("127.0.0.1", room.listener.getsockname()[1])
        await half.send(b"dy")
        assert await half.status() == 200 and b"connection: close" in half.head
        assert not room.wire.ended.is_set()
        room.gate.set()
        assert await busy.status() == 200 and b"connection: close" in busy.head
        assert await busy.rest() == b""
        await room.wire.ended.wait()


async def test_what_does_not_end_is_cut_at_the_end() -> None:
    room = Room()
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(room.wire.serve, room.listener)
            async with room.client() as client:
                await client.send(get("/hang"))
                await room.begun.wait()
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await room.wire.ended.wait()
                    assert await client.rest() == b""
    assert room.ended.is_set() and not room.wire.tasks


async def test_answers_do_not_wait_for_more() -> None:
    async with serving() as room, room.client() as client:
        await client.send(get("/a"))
        assert await client.status() == 200
        (connection,) = room.wire.connections
        link = connection._transport.get_extra_info("socket")
        assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
