"""HTTP servers whose answers are scripted byte by byte, and a link to one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from connectors.base import Json, Link
from tests.http_room import Room
from tests.servers.fault_http import SSE_END, SSE_HEAD, Answer, Faulty, event, serve

CALL: Json = {"name": "tea", "arguments": {}}

JSON = "application/json"


@asynccontextmanager
async def linked(room: Room, answer: Answer, **changes: Any) -> AsyncIterator[tuple[Link, Faulty]]:
    config = changes.pop("config", None)
    async with serve(answer) as server, room.open(server.url, config, **changes) as link:
        yield link, server


def stream_of(*messages: Any) -> bytes:
    return SSE_HEAD + b"".join(event(message) for message in messages) + SSE_END


def reply(id: Any, **more: Any) -> Json:
    return {"jsonrpc": "2.0", "id": id, "result": {}, **more}
