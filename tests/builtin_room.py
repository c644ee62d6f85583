"""Agents that use the hub's own tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from hub.model import Json
from tests.house import INITIALIZE, headers_of, message, modern
from tests.hub_room import Room, room

NAMED: Final = "hub/session"
"""The key of `_meta` that names a session."""
SHARED: Final[Json] = {
    "use": "hub__memory",
    "with": {"scope": {"enum": ["session", "agent", "shared"]}},
}
LENDS: Final[Json] = {"use": "hub__session", "with": {"with": {"type": "string"}}}
AGENTS: Final[Mapping[str, Sequence[str | Json]]] = {
    "me": ("hub__*",),
    "other": ("hub__*",),
    "sharer": ("hub__*", SHARED, LENDS),
    "reader": ("hub__memory", SHARED),
    "nobody": ("time__*",),
}


class Agent:
    """One that calls the hub's own tools, in the modern era."""

    def __init__(self, it: Room, http: httpx.AsyncClient) -> None:
        self._it = it
        self._http = http
        self.meta: Json = {}

    async def ask(self, method: str, params: Json) -> Json:
        body = modern(method, params, **self.meta)
        answer = await self._http.post(self._it.url, json=body, headers=headers_of(body))
        found: Json = answer.json()
        return found

    async def open_older(self) -> str:
        """A session of the older era; its id."""
        answer = await self._http.post(self._it.url, json=message("initialize", INITIALIZE))
        return answer.headers["mcp-session-id"]

    async def ask_older(self, session: str, params: Json) -> Any:
        """The answer to a call in a session of the older era: whatever that is, of a refusal too."""
        headers = {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
        answer = await self._http.post(self._it.url, json=message("tools/call", params), headers=headers)
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    async def use(self, tool: str, **arguments: Any) -> Json:
        """The result of one of the hub's own tools."""
        arguments = {key.removesuffix("_"): value for key, value in arguments.items()}
        answer = await self.ask("tools/call", {"name": f"hub__{tool}", "arguments": arguments})
        assert "result" in answer, answer
        found: Json = answer["result"]
        return found

    async def done(self, tool: str, **arguments: Any) -> str:
        """What it says, where it went well."""
        result = await self.use(tool, **arguments)
        assert not result.get("isError"), result
        said: str = result["content"][0]["text"]
        return said

    async def refused(self, tool: str, **arguments: Any) -> str:
        result = await self.use(tool, **arguments)
        assert result.get("isError") is True, result
        said: str = result["content"][0]["text"]
        return said


@asynccontextmanager
async def agents(
    home: Path, *names: str, grants: Mapping[str, Sequence[str | Json]] = AGENTS, **more: Any
) -> AsyncIterator[tuple[Any, ...]]:
    """The room, and an agent for each name."""
    async with room(home, {}, agents=grants, **more) as it:
        clients = [it.http(name) for name in names]
        opened = [await each.__aenter__() for each in clients]
        try:
            yield (it, *(Agent(it, http) for http in opened))
        finally:
            for each in clients:
                await each.__aexit__(None, None, None)
