"""A hub in front of a server with long results, and what an agent does with those."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from mcp import Client
from mcp.client.client import ConnectMode

from hub.model import Json
from tests.hub_room import Room, room
from tests.servers import long

ERAS: Final[tuple[ConnectMode, ...]] = ("auto", "legacy")

SERVER: Final = Path(long.__file__)

AGENTS: Final[Mapping[str, Sequence[str | Json]]] = {"me": ("long__*",), "other": ("long__*",)}

COUNT: Final = 900
"""Rows that are more than 25,000 tokens."""


def server(home: Path, **more: Any) -> Json:
    return {"connect": {"command": [sys.executable, str(SERVER), str(home / "taken")]}, **more}


@asynccontextmanager
async def long_room(home: Path, *, agents: Mapping[str, Any] = AGENTS, **more: Any) -> AsyncIterator[Room]:
    home.mkdir(exist_ok=True)
    async with room(home, {"long": server(home)}, agents=agents, **more) as it:
        yield it


def rows(count: int) -> Any:
    return json.loads(json.dumps(long.rows(count)))


async def use(client: Client, name: str, **arguments: Any) -> Json:
    result = await client.call_tool(name, arguments)
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def read(client: Client, id: str, **arguments: Any) -> Any:
    result = await use(client, "hub__read", id=id, **arguments)
    assert not result["isError"], result
    return json.loads(result["content"][0]["text"])


async def refused(client: Client, name: str, **arguments: Any) -> str:
    result = await use(client, name, **arguments)
    assert result["isError"], result
    said: str = result["content"][0]["text"]
    return said


def id_of(result: Json) -> str:
    id: str = result["_meta"]["hub/result"]["id"]
    return id


def taken(home: Path) -> list[Any]:
    """What the server's `take` and `count` were called with."""
    return [json.loads(line) for line in (home / "taken").read_text().splitlines()]


def names(tools: Any) -> set[str]:
    return {tool.name for tool in tools.tools}


async def calls(it: Room) -> list[Json]:
    def look(connection: sqlite3.Connection) -> list[Json]:
        cursor = connection.execute("SELECT id, tool, params, state, reason FROM calls ORDER BY id DESC")
        return [dict(zip(("id", "tool", "params", "state", "reason"), row, strict=True)) for row in cursor]

    return await it.app.store.read(look)
