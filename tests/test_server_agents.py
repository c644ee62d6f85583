"""Real clients of both eras use the hub: what it offers, what it does for them, what they are told."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp.client.client import ConnectMode
from mcp.client.subscriptions import ToolsListChanged

from tests.house import TOOLS, House, tool

pytestmark = pytest.mark.anyio

MODES: list[ConnectMode] = ["auto", "legacy"]


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_learns_who_the_hub_is_and_what_it_can(hub: House, mode: ConnectMode) -> None:
    async with hub.client(mode) as client:
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
        assert client.server_info is not None and client.server_info.name == "hub"
        assert client.instructions == "for me"
        capabilities = client.server_capabilities
        assert capabilities is not None and capabilities.tools is not None
        assert capabilities.tools.list_changed is True
        assert capabilities.logging is not None and capabilities.completions is None


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_lists_and_uses_what_it_may(hub: House, mode: ConnectMode) -> None:
    async with hub.client(mode) as client:
        names = [each.name for each in (await client.list_tools()).tools]
        assert names == [f"box__{each['name']}" for each in TOOLS if each["name"] != "secret"]
        assert [str(each.uri) for each in (await client.list_resources()).resources] == [
            "note://one",
            "note://gone",
        ]
        assert [
            each.uri_template for each in (await client.list_resource_templates()).resource_templates
        ] == ["note://{id}"]
        assert [each.name for each in (await client.list_prompts()).prompts] == ["box__greet"]
        answer = await client.call_tool("box__echo", {"say": "tea"})
        assert answer.structured_content is not None
        assert answer.structured_content["params"]["arguments"] == {"say": "tea"}
        assert (await client.read_resource("note://one")).contents[0].text == "a note"  # type: ignore[union-attr]
        assert len((await client.get_prompt("box__greet")).messages) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_not_granted_is_unknown(hub: House, mode: ConnectMode) -> None:
    async with hub.client(mode) as client:
        for name in ("box__secret", "box__nothing"):
            with pytest.raises(MCPError) as refused:
                await client.call_tool(name, {})
            assert (refused.value.code, refused.value.message) == (-32602, f"Unknown tool: {name}")
        for uri in ("note://gone", "other://x"):
            with pytest.raises(MCPError) as refused:
                await client.read_resource(uri)
            code = -32602 if mode == "auto" else -32002
            assert (refused.value.code, refused.value.message) == (code, "Resource not found")
    assert all(call.name != "box__secret" for call in hub.server.calls)


@pytest.mark.parametrize("mode", MODES)
async def test_progress_reaches_the_agent_that_asked_for_it_in_order(hub: House, mode: ConnectMode) -> None:
    steps: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with hub.client(mode) as client:
        await client.call_tool("box__progress", {}, progress_callback=on_progress)
    assert steps == [0, 1, 2]


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_that_gives_up_cancels_its_call(hub: House, mode: ConnectMode) -> None:
    async with hub.client(mode) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "box__hang", {})
            await hub.server.until(running=1)
            tasks.cancel_scope.cancel()
        await hub.server.until(cancelled=1)
        assert (await client.call_tool("box__echo", {})).is_error is not True
    assert hub.server.cancelled == ["box__hang"]


async def test_a_log_message_reaches_the_agent_that_asked_for_its_level(hub: House) -> None:
    said: list[Any] = []

    async def on_log(params: Any) -> None:
        said.append(params.data)

    async with hub.client("auto", logging_callback=on_log, log_level="debug") as client:
        await client.call_tool("box__log", {})
        assert hub.server.calls[-1].log_level == "debug"
    async with hub.client("auto", logging_callback=on_log) as client:
        await client.call_tool("box__log", {})
    assert said == ["said"]


async def test_a_modern_agent_hears_of_changes_of_what_it_may_use_only(hub: House) -> None:
    async with (
        hub.client("auto") as client,
        client.listen(tools_list_changed=True, prompts_list_changed=True) as mine,
        hub.client("auto", agent="other") as other_client,
        other_client.listen(tools_list_changed=True, resource_subscriptions=["note://one"]) as theirs,
    ):
        assert theirs.honored.tools_list_changed is True
        assert not theirs.honored.resource_subscriptions
        hub.offer(*TOOLS, tool("new"))
        assert await anext(aiter(mine)) == ToolsListChanged()
        assert "box__new" in [each.name for each in (await client.list_tools()).tools]
        hub.offer(*TOOLS[1:], tool("new"))
        # The first note that the other agent gets is of `echo`, which it had: "new" is not for it.
        assert await anext(aiter(theirs)) == ToolsListChanged()
        assert [each.name for each in (await other_client.list_tools()).tools] == ["box__secret"]


async def test_a_legacy_agent_hears_of_changes_on_its_own_stream(hub: House) -> None:
    heard, changed = [], anyio.Event()

    async def on_message(message: Any) -> None:
        heard.append(message.method)
        changed.set()

    async with hub.client("legacy", message_handler=on_message) as client:
        await client.list_tools()
        while hub.front.changes.streams(hub.identities.local("me")) == 0:
            await anyio.lowlevel.checkpoint()
        hub.offer(*TOOLS, tool("new"))
        await changed.wait()
    assert heard == ["notifications/tools/list_changed"]


async def test_a_stream_ends_with_a_result_when_the_hub_does(hub: House) -> None:
    async with hub.client("auto") as client, client.listen(tools_list_changed=True) as stream:
        hub.front.close()
        assert [event async for event in stream] == []


async def test_lists_come_in_pages_whose_cursors_are_the_agents_own(hub: House) -> None:
    many = [tool(f"t{number:04}") for number in range(2500)]
    hub.offer(*many)
    for mode in MODES:
        async with hub.client(mode) as client:
            found, cursor, cursors = [], None, []
            while True:
                page = await client.list_tools(cursor=cursor)
                found += [each.name for each in page.tools]
                cursor = page.next_cursor
                if cursor is None:
                    break
                cursors.append(cursor)
            assert found == [f"box__{each['name']}" for each in many]
            assert len(cursors) == 2
            for bad in ("", "nonsense", cursors[0][:-2], cursors[0] + "A"):
                with pytest.raises(MCPError) as refused:
                    await client.list_tools(cursor=bad)
                assert refused.value.code == -32602
        async with hub.client(mode, agent="other") as client:
            with pytest.raises(MCPError) as refused:
                await client.list_tools(cursor=cursors[0])
            assert refused.value.code == -32602
