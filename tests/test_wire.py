"""The hub's own HTTP/1.1 on bare sockets: what it keeps, what it refuses, how long it waits, how it ends."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from hub.server.wire import Wire
from hub.server.wire_memory import Memory
from hub.server.wire_request import BrokenBody, Gone, Head, Request, TooLarge

pytestmark = pytest.mark.anyio

SECONDS = 10
BYTES_MAX = 100_000
HOST = b"Host: localhost\r\n"


@pytest.fixture(params=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


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


# What is kept.


async def test_a_connection_serves_again_whatever_the_lengths_and_the_pieces() -> None:
    async with serving() as room, room.client() as client:
        for body in (b"a", b"b", b"x" * 12_345, b"", b"z" * 99_999):
            for pieces in ([post("/a", body)], [post("/a", body)[:7], post("/a", body)[7:]]):
                await client.send(*pieces)
                assert await client.status() == 200
                assert json.loads(client.body) == ["POST", "/a", body.decode()]
                assert b"connection: close" not in client.head
        request = post("/a", b"one at a time")
        await client.send(*(request[at : at + 1] for at in range(len(request))))
        assert await client.status() == 200
        assert json.loads(client.body)[2] == "one at a time"


async def test_a_head_that_came_before_is_the_same_object_and_no_other_head_is() -> None:
    async with serving() as room, room.client() as client:
        for request in (
            post("/a", b"1", b"Authorization: one"),
            post("/a", b"22", b"Authorization: one"),
            post("/a", b"1", b"Authorization: two"),
            post("/b", b"1", b"Authorization: one"),
        ):
            await client.send(request)
            assert await client.status() == 200
        first, same, token, path = room.heads
        assert same is first and token is not first and path is not first
        assert (b"authorization", b"two") in token.pairs and path.path == "/b"


def test_only_whole_requests_with_known_bytes_are_known() -> None:
    memory, head, known = Memory(), Head("POST", "/a", []), post("/a", b"12345", b"X: y")
    memory.keep(known, head)
    assert memory.find(known) == (head, b"12345")
    assert memory.find(post("/a", b"x" * 1000, b"X: y")) == (head, b"x" * 1000)
    wrong = b"Content-Length: "
    for data in (
        b"",
        known[:-1],
        known + b"G",
        known + known,
        known.replace(b"X: y", b"X: z"),
        known.replace(b"X: y", b"X:  y"),
        known.replace(wrong + b"5", wrong + b"+5"),
        known.replace(wrong + b"5", wrong + b"5, 5"),
        known.replace(wrong + b"5", wrong + b"5\r\nContent-Length: 5"),
        known.replace(wrong + b"5", wrong + b"5\r\nTransfer-Encoding: chunked"),
        known.replace(wrong + b"5", wrong),
        known.replace(wrong + b"5", wrong + b"\xb2"),
        *(known[:at] for at in range(len(known))),
    ):
        assert memory.find(data) is None, data


async def test_chunked_bodies_are_taken_with_extensions_and_trailers() -> None:
    async with serving() as room, room.client() as client:
        await client.send(chunked("/a", b"one", b"two", end=b"0\r\nTrailer: x\r\n\r\n"))
        assert await client.status() == 200 and json.loads(client.body)[2] == "onetwo"
        odd = chunked("/a", b"abc").replace(b"3\r\n", b"3;name=value\r\n")
        await client.send(*(odd[at : at + 9] for at in range(0, len(odd), 9)))
        assert await client.status() == 200 and json.loads(client.body)[2] == "abc"
        assert (b"trailer", b"x") not in room.heads[0].pairs


async def test_answers_come_in_the_order_of_the_requests() -> None:
    async with serving() as room, room.client() as client:
        await client.send(get("/gate") + post("/a", b"2") + chunked("/b", b"3") + get("/c"))
        await room.begun.wait()
        await client.send(get("/d"))
        assert len(room.heads) == 1
        room.gate.set()
        paths = []
        for _ in range(5):
            assert await client.status() == 200
            paths.append(json.loads(client.body)[1])
        assert paths == ["/gate", "/a", "/b", "/c", "/d"]


async def test_more_requests_at_once_than_may_wait_are_refused_after_the_others() -> None:
    async with serving() as room, room.client() as client:
        await client.send(get("/a") * 200)
        statuses = [await client.status() for _ in range(34)]
        assert statuses == [200] * 33 + [503] and b"too many requests" in client.body
        assert await client.rest() == b""


async def test_the_connection_ends_where_the_client_or_its_version_says_so() -> None:
    async with serving() as room:
        for request in (get("/a", b"Connection: close"), get("/a", version=b"1.0")):
            async with room.client() as client:
                await client.send(request)
                assert await client.status() == 200
                assert b"connection: close" in client.head and await client.rest() == b""
        async with room.client() as client:
            room.gate.set()
            await client.send(get("/stream", version=b"1.0"))
            assert (await client.rest()).endswith(b"\r\n\r\nonetwo")


async def test_head_and_empty_answers_have_no_body() -> None:
    async with serving() as room, room.client() as client:
        await client.send(get("/a", method=b"HEAD") + get("/empty") + get("/a"))
        head = await client.until(b"\r\n\r\n")
        assert b"content-length: 18\r\n" in head
        assert await client.status() == 204 and b"content-length" not in client.head
        assert await client.status() == 200


async def test_a_client_that_waits_to_be_told_is_told_to_go_on_only_if_its_body_is_wanted() -> None:
    expects = b"Expect: 100-continue"
    async with serving() as room:
        async with room.client() as client:
            whole = post("/a", b"body", expects)
            await client.send(whole[:-4])
            assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"body")
            assert await client.status() == 200 and json.loads(client.body)[2] == "body"
        async with room.client() as client:
            await client.send(post("/early", b"body", expects)[:-4])
            assert await client.status() == 401 and b"connection: close" in client.head


async def test_a_body_that_nobody_wants_is_read_over_if_it_is_small_and_ends_the_connection_if_not() -> None:
    async with serving() as room:
        async with room.client() as client:
            await client.send(post("/early", b"x" * 5000)[:-4000])
            assert await client.status() == 401 and b"connection: close" not in client.head
            await client.send(b"x" * 4000 + get("/a"))
            assert await client.status() == 200
        async with room.client() as client:
            await client.send(post("/early", b"x" * 500_000)[:-499_000])
            assert await client.status() == 401 and b"connection: close" in client.head
            await client.send(b"x" * 499_000)
            assert await client.rest() == b""


async def test_a_target_may_be_absolute_encoded_or_have_a_query() -> None:
    async with serving() as room, room.client() as client:
        for target in ("/mcp", "/mcp?x=1", "/%6dcp", "http://localhost/mcp"):
            await client.send(get(target))
            assert await client.status() == 200 and json.loads(client.body)[1] == "/mcp"


async def test_a_stream_arrives_piece_by_piece() -> None:
    async with serving() as room, room.client() as client:
        await client.send(get("/stream"))
        assert b"transfer-encoding: chunked" in await client.until(b"\r\n\r\n", b"3\r\none\r\n")
        room.gate.set()
        assert await client.until(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
        await client.send(get("/a"))
        assert await client.status() == 200


# What is refused.


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


# Time, and readers that are slow or gone.


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
    async with serving() as room, room.client() as client, room.client() as idle:
        await client.send(get("/gate"))
        await room.begun.wait()
        assert await idle.rest() == b""  # ten ticks and more have gone by
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


def test_connections_run_out_before_files_do() -> None:
    async def answer(request: Request) -> None: ...

    assert Wire(answer)._most <= os.sysconf("SC_OPEN_MAX") // 2
