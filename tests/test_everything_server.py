"""What our own server of everything does beyond the conformance suite: stdio, changes, task notifications.

The suite speaks HTTP only and does not look at change events of legacy sessions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from mcp import StdioServerParameters
from mcp.client import Client, ClientRequestContext
from mcp_types import (
    ElicitRequestParams,
    ElicitResult,
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    TextContent,
    ToolListChangedNotification,
)

from tests.conformance import REPOSITORY, running_everything

pytestmark = pytest.mark.anyio

REVISION = "2026-07-28"
WATCHED = "test://watched-resource"


@pytest.fixture
async def everything() -> AsyncIterator[str]:
    async with running_everything() as url:
        yield url


async def fill_in(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """A person who fills in each form in the same way."""
    return ElicitResult(action="accept", content={"name": "Tea", "color": "green"})


@pytest.mark.parametrize(("mode", "revision"), [("auto", REVISION), ("legacy", "2025-11-25")])
async def test_over_stdio_a_tool_asks_twice_in_either_era(mode: str, revision: str) -> None:
    """Ours: the same tool asks by `input_required` or by requests, as its client's era has it."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "tests.servers.everything", "--stdio"], cwd=REPOSITORY
    )
    with anyio.fail_after(30):
        async with Client(command, mode=mode, elicitation_callback=fill_in) as client:
            assert client.protocol_version == revision
            result = await client.call_tool("test_input_required_result_multi_round")
    assert result.content == [TextContent(text="Tea likes green.")]


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_legacy_session_hears_of_list_changes_and_of_what_it_subscribed_to(everything: str) -> None:
    """2025-11-25: the capabilities announce listChanged and subscribe, so both must come."""
    heard: list[type] = []
    news = anyio.Event()
    expected = {ToolListChangedNotification, ResourceListChangedNotification, ResourceUpdatedNotification}

    async def listen(message: object) -> None:
        heard.append(type(message))
        if expected <= set(heard):
            news.set()

    with anyio.fail_after(30):
        async with Client(everything, mode="legacy", message_handler=listen) as client:
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.tools.list_changed
            await client.call_tool("test_trigger_resource_update")
            await client.subscribe_resource(WATCHED)
            await client.call_tool("test_trigger_resource_update")
            await client.call_tool("test_trigger_tool_change")
            await client.call_tool("test_trigger_resource_change")
            await news.wait()
            names = [tool.name for tool in (await client.list_tools()).tools]
    assert heard.count(ResourceUpdatedNotification) == 1
    assert "test_dynamic_tool" in names


async def test_a_listener_hears_of_its_own_tasks_only(everything: str) -> None:
    """SEP-2663: `taskIds` of subscriptions/listen, acknowledged first, each with the whole task."""
    async with httpx.AsyncClient(timeout=30) as http:
        mine = await call(
            http, everything, "tools/call", {"name": "confirm_delete", "arguments": {"filename": "a"}}
        )
        other = await call(
            http, everything, "tools/call", {"name": "confirm_delete", "arguments": {"filename": "b"}}
        )
        listening = request("subscriptions/listen", {"notifications": {"taskIds": [mine["taskId"]]}})
        async with http.stream("POST", everything, **listening) as stream:
            frames = frames_of(stream)
            acknowledged = await anext(frames)
            assert acknowledged["params"]["notifications"] == {"taskIds": [mine["taskId"]]}
            for task in (other, mine):
                await call(http, everything, "tasks/cancel", {"taskId": task["taskId"]})
            told = (await anext(frames))["params"]
    assert (told["taskId"], told["status"]) == (mine["taskId"], "cancelled")


async def test_listening_to_tasks_without_the_extension_is_refused(everything: str) -> None:
    """SEP-2663: the error is -32021 and names the extension."""
    async with httpx.AsyncClient(timeout=30) as http:
        listening = request("subscriptions/listen", {"notifications": {"taskIds": ["x"]}}, extensions={})
        error = (await http.post(everything, **listening)).json()["error"]
    assert error["code"] == -32021
    assert error["data"] == {"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


def request(method: str, params: dict[str, Any], extensions: dict[str, Any] | None = None) -> dict[str, Any]:
    """A modern request as keyword arguments for httpx; by default its client can handle tasks."""
    capabilities = {
        "elicitation": {},
        "extensions": {"io.modelcontextprotocol/tasks": {}} if extensions is None else extensions,
    }
    meta = {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": REVISION,
        "Mcp-Method": method,
    }
    if (name := params.get("name") or params.get("taskId")) is not None:
        headers["Mcp-Name"] = name
    body = {"jsonrpc": "2.0", "id": method, "method": method, "params": {**params, "_meta": meta}}
    return {"json": body, "headers": headers}


async def call(http: httpx.AsyncClient, url: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of a request that answers at once."""
    answer = (await http.post(url, **request(method, params))).json()
    result: dict[str, Any] = answer["result"]
    return result


async def frames_of(stream: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON of each event of an SSE stream."""
    async for line in stream.aiter_lines():
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))
