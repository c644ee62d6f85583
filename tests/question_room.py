"""Agents that can be asked: by callbacks of the SDK's client, or over a pipe."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client.client import ConnectMode
from mcp_types import (
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)
from pydantic import FileUrl

from hub.model import Json
from tests.hub_room import Room
from tests.pipes import Pipe, pipe

EVERYTHING = [sys.executable, "-m", "tests.servers.everything"]
SERVERS = ("new-pipe", "old-pipe", "new-http", "old-http")
"""Each the same server, reached in this era. A longer name would not fit before those of its tools."""
ERAS = {"new": "modern", "old": "legacy"}
MODES: tuple[ConnectMode, ...] = ("2026-07-28", "legacy")
FORM: Json = {"elicitation": {"form": {}}}


async def fill_in(context: Any, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(
        action="accept", content={"name": "Ada", "color": "blue", "ok": True, "context": "Ada"}
    )


async def think(context: Any, params: Any) -> CreateMessageResult:
    content = TextContent(type="text", text="Paris")
    return CreateMessageResult(role="assistant", content=content, model="tests")


async def roots(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///srv/reports"))])


CAN_ALL: dict[str, Any] = {
    "elicitation_callback": fill_in,
    "sampling_callback": think,
    "list_roots_callback": roots,
}


async def say(client: Client, name: str, arguments: dict[str, Any] | None = None) -> str:
    """The text of a tool's result."""
    result = await client.call_tool(name, arguments or {})
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


@asynccontextmanager
async def stdio_agent(it: Room, path: Path, capabilities: Any) -> AsyncIterator[Pipe]:
    async with pipe(it, path) as client:
        handshake = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {}}
        await client.ask({"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": handshake})
        yield client


def call_of(id: int) -> Any:
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "asker__ask"}}
