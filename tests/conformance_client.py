"""The hub as the client that the conformance suite examines: `python -m tests.conformance_client URL`.

The suite starts a server of its own and this program with its URL. What is judged is what arrives at that
server, so the program puts a real `hub serve` before it, comes in as an agent (the SDK's client), and has
the hub do what a client does: list what there is and use it. The suite says by environment what it is about:
`MCP_CONFORMANCE_SCENARIO`, `MCP_CONFORMANCE_PROTOCOL_VERSION`, `MCP_CONFORMANCE_CONTEXT` (JSON).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitRequestFormParams, ElicitRequestParams, ElicitResult, Tool
from pydantic import BaseModel

from tests.homes import MODERN, running, token, write

SECONDS = 60

SAMPLES: dict[str, Any] = {"integer": 2, "number": 2.5, "boolean": True, "array": [], "object": {}}


async def main(url: str) -> None:
    """Use the server at `url` through a hub as the scenario wants it used."""
    version = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", MODERN)
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    with TemporaryDirectory() as folder, anyio.fail_after(SECONDS):
        async with agent(Path(folder), url, modern=version == MODERN) as client:
            tools = (await client.list_tools()).tools
            sys.stdout.write(f"tools: {', '.join(tool.name for tool in tools)}\n")
            for call in context.get("toolCalls") or [
                {"name": tool.name, "arguments": arguments(tool, tools)} for tool in tools
            ]:
                await tell(call["name"], client.call_tool(call["name"], call["arguments"]))
            for resource in (await client.list_resources()).resources:
                await tell(resource.uri, client.read_resource(resource.uri))
            for prompt in (await client.list_prompts()).prompts:
                await tell(prompt.name, client.get_prompt(prompt.name))


@asynccontextmanager
async def agent(folder: Path, url: str, *, modern: bool) -> AsyncIterator[Client]:
    """A client of a hub that has the server behind it, under its own names."""
    write(folder, "all", agent="all", may=["*"], never=["hub__*"])
    write(
        folder, "server", server="server", connect={"url": url}, names="bare", results="whole", start="eager"
    )
    with running(folder) as hub:
        hub.until("server: (ready|failed)")
        headers = {"authorization": f"Bearer {token(folder, 'all')}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http,
            Client(
                streamable_http_client(hub.url, http_client=http),
                mode="auto" if modern else "legacy",
                elicitation_callback=fill_in,
            ) as client,
        ):
            yield client
        sys.stdout.write(hub.said)


def arguments(tool: Tool, tools: list[Tool]) -> dict[str, Any]:
    """Something for each argument that has a type; two are what the suite asks for by name."""
    properties = tool.input_schema.get("properties", {})
    made = {name: SAMPLES.get(schema.get("type"), name) for name, schema in properties.items()}
    asked = {"b": 3, "schema": tools[0].input_schema}
    return {**made, **{name: value for name, value in asked.items() if name in made}}


async def tell(name: str, use: Awaitable[BaseModel]) -> None:
    """Say what became of one use; what the server refuses is not for this program to judge."""
    try:
        said = (await use).model_dump_json(by_alias=True, exclude_none=True)[:300]
    except MCPError as error:
        said = str(error)
    sys.stdout.write(f"{name}: {said}\n")


async def fill_in(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """A person who takes every default, and says yes."""
    assert isinstance(params, ElicitRequestFormParams)
    schema: dict[str, Any] = params.requested_schema
    content = {
        name: field.get("default", SAMPLES.get(field.get("type"), "text"))
        for name, field in schema.get("properties", {}).items()
    }
    return ElicitResult(action="accept", content=content)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
