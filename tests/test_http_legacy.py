"""Over HTTP in the old era: sessions that are forgotten, streams that are cut, questions."""

from __future__ import annotations

import asyncio
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.base import LET_GO, Json, LinkError, RemoteError
from tests.http_room import Room
from tests.http_scripts import CALL, linked, reply
from tests.servers.fault_http import (
    SSE_END,
    SSE_HEAD,
    Answer,
    Faulty,
    Request,
    error,
    event,
    http,
    legacy,
    saying,
)

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(60):
        yield Room(tmp_path)


@pytest.mark.parametrize(
    "forgotten",
    [
        http(404),
        http(404, error(-32001, "Session not found")),
        http(400, error(-32000, "Bad Request: No valid session ID provided")),
        http(400, b"Invalid session ID", content_type="text/plain"),
    ],
)
async def test_a_forgotten_session_ends_the_link(room: Room, forgotten: bytes) -> None:
    async with linked(room, legacy(saying(forgotten))) as (link, server):
        with pytest.raises(LinkError, match="no longer knows the session") as failed:
            await link.request("tools/call", CALL)
        assert not failed.value.sent
        assert "no longer knows the session" in await link.wait_closed()
    assert server.requests[-1].method != "DELETE"


@pytest.mark.parametrize(
    ("session", "answer"),
    [
        (None, http(404, error(-32001, "not found"))),
        ("s-1", http(404, error(-32601, "no such method"))),
        ("s-1", http(400, error(-32602, "no such tea"))),
    ],
)
async def test_another_refusal_does_not_end_it(room: Room, session: str | None, answer: bytes) -> None:
    async with linked(room, legacy(saying(answer), session=session)) as (link, _):
        for _ in range(2):
            with pytest.raises(RemoteError):
                await link.request("tools/call", CALL)


async def test_a_stream_that_was_cut_goes_on_after_the_last_event(room: Room) -> None:
    """2025-11-25: resumed by GET with `Last-Event-ID`, after the time that `retry` asks for."""
    progress = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "half"}}

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.method == "POST":
            retry = b"b\r\nretry: 20\r\n\r\n"
            writer.write(SSE_HEAD + event("", "e-1") + retry + event(progress, "e-2") + b"20\r\nda")
            writer.close()
        elif request.headers["last-event-id"] == "e-2":
            writer.write(SSE_HEAD + event("", "e-3") + SSE_END)
        else:
            writer.write(SSE_HEAD + event(reply(3), "e-4") + SSE_END)

    got: list[str] = []
    async with linked(room, legacy(answer)) as (link, server):
        assert await link.request("tools/call", CALL, on_notify=lambda method, _: got.append(method)) == {}
        resumed = [r.headers["last-event-id"] for r in server.requests if "last-event-id" in r.headers]
        assert resumed == ["e-2", "e-3"]
        # What broke is not told, but where the server ended a connection on purpose.
        assert got == ["notifications/message", LET_GO]
        assert len(server.of("tools/call")) == 1


@pytest.mark.parametrize(
    ("again", "reason", "times"),
    [
        (http(405), "ended before the answer; HTTP 405 Method Not Allowed to the rest", 1),
        (http(404), "no longer knows the session", 1),
        (SSE_HEAD + SSE_END, "event stream ended before the answer", 3),
        (b"", "going on with it failed: it closed the connection without an answer", 3),
    ],
)
async def test_a_stream_that_cannot_be_resumed_is_given_up(
    room: Room, again: bytes, reason: str, times: int
) -> None:
    async def answer(request: Request, writer: StreamWriter) -> None:
        first = SSE_HEAD + b"a\r\nretry: 1\r\n\r\n" + event("", "e-1") + SSE_END
        writer.write(first if request.method == "POST" else again)
        if not again:
            writer.close()

    async with linked(room, legacy(answer)) as (link, server):
        with pytest.raises(LinkError, match=reason) as failed:
            await link.request("tools/call", CALL)
        assert failed.value.sent, "the request was sent, whatever became of its stream"
        assert len([r for r in server.requests if "last-event-id" in r.headers]) == times


def until_cancelled() -> tuple[Answer, asyncio.Event, asyncio.Event]:
    """A server that answers no request; with what is set once one has come, and once one is cancelled."""
    arrived, told = asyncio.Event(), asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.message.get("method") == "notifications/cancelled":
            writer.write(http(202))
            told.set()
        else:
            arrived.set()

    return answer, arrived, told


async def test_a_legacy_request_that_nobody_waits_for_is_cancelled_by_its_id(room: Room) -> None:
    answer, arrived, told = until_cancelled()
    async with linked(room, legacy(answer)) as (link, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.request, "tools/call", CALL)
            await arrived.wait()
            tasks.cancel_scope.cancel()
        await told.wait()
        call, cancelled = server.of("tools/call")[0], server.of("notifications/cancelled")[0]
        assert cancelled.message["params"]["requestId"] == call.message["id"]


async def test_a_request_that_never_left_is_not_cancelled_there(room: Room) -> None:
    answer, arrived, told = until_cancelled()
    async with linked(room, legacy(answer), concurrent_max=1) as (link, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.request, "tools/call", CALL)
            await arrived.wait()
            with anyio.move_on_after(0.02) as scope:
                await link.request("tools/call", CALL)
            assert scope.cancelled_caught
            tasks.cancel_scope.cancel()
        await told.wait()
        assert len(server.of("tools/call")) == 1, "one at a time was allowed"
        cancelled = [
            request.message["params"]["requestId"] for request in server.of("notifications/cancelled")
        ]
        assert cancelled == [server.of("tools/call")[0].message["id"]]


def listening(*events: Any) -> Answer:
    """A legacy server whose GET stream says these things and stays open; it takes whatever is posted."""
    old = legacy(saying(http(202)))

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.method == "GET":
            writer.write(SSE_HEAD + b"".join(event(each) for each in events))
        else:
            await old(request, writer)

    return answer


async def posted(server: Faulty, id: Any) -> Json:
    """The answer to the question with this id, once it was posted."""

    def answer() -> Json | None:
        posted = (request.message for request in server.requests)
        return next((each for each in posted if each.get("id") == id and "method" not in each), None)

    return await server.until(answer)


async def test_what_a_legacy_server_says_without_being_asked_is_heard(room: Room) -> None:
    said = [
        {"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"} for kind in ("tools", "prompts")
    ]
    async with linked(room, listening(*said)):
        assert await room.heard("notifications/tools/list_changed") == [{}]
        assert await room.heard("notifications/prompts/list_changed") == [{}]


async def test_questions_are_answered_each_by_a_post_of_its_own(room: Room) -> None:
    async def on_request(method: str, params: Json) -> Json:
        if method == "roots/list":
            return {"roots": params["which"]}
        raise RemoteError(-1, "declined", {"why": "tea time"})

    questions = [
        {"jsonrpc": "2.0", "id": "q-1", "method": "roots/list", "params": {"which": []}},
        {"jsonrpc": "2.0", "id": 2, "method": "elicitation/create"},
        {"jsonrpc": "2.0", "id": 3, "method": "ping"},
    ]
    async with linked(room, listening(*questions), on_request=on_request) as (_, server):
        assert (await posted(server, "q-1"))["result"] == {"roots": []}
        assert (await posted(server, 2))["error"] == {
            "code": -1,
            "message": "declined",
            "data": {"why": "tea time"},
        }
        assert (await posted(server, 3))["result"] == {}


async def test_a_question_that_the_server_takes_back_is_not_answered(room: Room) -> None:
    stopped = anyio.Event()

    async def on_request(method: str, params: Json) -> Json:
        try:
            await anyio.Event().wait()
        finally:
            stopped.set()
        return {}

    said = [
        {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
    ]
    async with linked(room, listening(*said), on_request=on_request) as (_, server):
        await stopped.wait()
        await posted(server, 2)
    assert not any(
        request.message.get("id") == 1 and "result" in request.message for request in server.requests
    )
