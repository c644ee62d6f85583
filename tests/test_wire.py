"""The hub's own HTTP/1.1 on bare sockets: what it keeps, and in which order it answers."""

from __future__ import annotations

import json

import pytest

from hub.server.wire_memory import Memory
from hub.server.wire_request import Head
from tests.wire_room import chunked, get, post, serving

pytestmark = [pytest.mark.anyio, pytest.mark.both_loops]


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
