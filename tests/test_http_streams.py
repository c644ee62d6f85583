"""Over HTTP in the modern era: streams of changes and of calls."""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from connectors.base import Json
from tests.http_room import Room
from tests.http_scripts import CALL, linked, reply, stream_of
from tests.servers.fault_http import SSE_END, SSE_HEAD, Request, event, http, modern, saying

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(60):
        yield Room(tmp_path)


async def test_a_stream_of_changes_takes_no_call_s_place_and_says_nothing_of_itself(room: Room) -> None:
    """`subscriptions/listen` lasts as long as the link: with `concurrent: 1`, calls would wait for ever."""

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.message["method"] == "tools/call":
            writer.write(http(200, json.dumps(reply(request.message["id"])).encode()))
            return
        meta = {"io.modelcontextprotocol/subscriptionId": request.message["id"]}
        tools = {"method": "notifications/tools/list_changed", "params": {"_meta": meta}}
        resources = {"method": "notifications/resources/list_changed", "params": {"_meta": {**meta, "x": 1}}}
        acknowledged = {"method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta}}
        messages = [{"jsonrpc": "2.0", **each} for each in (acknowledged, tools, resources)]
        writer.write(SSE_HEAD + b"".join(event(message) for message in messages))

    got: list[str] = []
    wanted = {"notifications": {"toolsListChanged": True}}
    async with linked(room, modern(answer), concurrent_max=1) as (link, server):
        async with anyio.create_task_group() as tasks:
            listening = partial(link.request, on_notify=lambda method, _: got.append(method))
            tasks.start_soon(listening, "subscriptions/listen", wanted)
            assert await room.heard("notifications/tools/list_changed") == [{}]
            assert await room.heard("notifications/resources/list_changed") == [{"_meta": {"x": 1}}]
            assert await link.request("tools/call", CALL) == {}
            tasks.cancel_scope.cancel()
        assert server.of("subscriptions/listen")[0].headers["mcp-method"] == "subscriptions/listen"
    assert got == ["notifications/subscriptions/acknowledged"]


async def test_a_call_s_own_stream_gives_the_asker_what_is_its_own_and_the_hub_the_rest(room: Room) -> None:
    messages = [
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 2, "progress": 1}},
        {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": "2", "progress": 2},
        },
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 9, "progress": 3}},
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "log"}},
        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
        reply(2),
    ]
    got: list[tuple[str, Json]] = []
    async with linked(room, modern(saying(stream_of(*messages)))) as (link, _):
        params = {**CALL, "_meta": {"progressToken": "mine"}}
        await link.request("tools/call", params, on_notify=lambda *notification: got.append(notification))
    assert got == [
        ("notifications/progress", {"progressToken": "mine", "progress": 1}),
        ("notifications/message", {"data": "log"}),
    ]
    assert room.notifications == [("notifications/tools/list_changed", {})]


async def test_the_answer_is_there_before_its_stream_has_ended(room: Room) -> None:
    async with linked(room, modern(saying(SSE_HEAD + event(reply(2))))) as (link, _):
        assert await link.request("tools/call", CALL) == {}


async def test_its_connection_serves_again_when_the_stream_does_end(room: Room) -> None:
    answered = asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        writer.write(SSE_HEAD + event(reply(request.message["id"])))
        await answered.wait()
        writer.write(SSE_END)

    async with linked(room, modern(answer), concurrent_max=1) as (link, server):
        for _ in range(3):
            assert await link.request("tools/call", CALL) == {}
            answered.set()
        assert server.connections == 1
