"""Log levels, completion, and what the hub says that it can do: in both eras, for each agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import ConnectMode
from mcp_types import LoggingMessageNotificationParams, PromptReference, ResourceTemplateReference

from hub.model import Json
from tests.hub_room import Room, asker, room
from tests.pipes import pipe

pytestmark = pytest.mark.anyio

MODES: tuple[ConnectMode, ...] = ("2026-07-28", "legacy")
LOGS = {"modern": "modern__test_tool_with_logging", "legacy": "legacy__test_tool_with_logging"}


@asynccontextmanager
async def both(home: Path, everything: str, **more: Any) -> AsyncIterator[Room]:
    connect = {"url": everything}
    servers: dict[str, Json] = {era: {"era": era, "connect": connect} for era in LOGS}
    async with room(home, servers, **more) as it:
        yield it


def said(events: list[Any]) -> list[str]:
    """What was logged among all that came on a stream."""
    return [each["params"]["data"] for each in events if each.get("method") == "notifications/message"]


@pytest.mark.parametrize("server", LOGS)
async def test_a_legacy_agent_hears_from_the_level_on_that_it_set_for_its_session(
    tmp_path: Path, everything: str, server: str
) -> None:
    async with both(tmp_path, everything) as it, it.session({}) as agent, it.session({}) as other:

        async def hear(who: Any) -> list[str]:
            async with who.asking("tools/call", {"name": LOGS[server]}) as stream:
                return said([each async for each in stream])

        assert (await agent.request("logging/setLevel", {"level": "info"}))["result"] == {}
        assert len(await hear(agent)) == 3
        assert (await other.request("logging/setLevel", {"level": "error"}))["result"] == {}
        assert (await other.post_call(LOGS[server])).headers["content-type"] == "application/json"
        assert (await agent.request("logging/setLevel", {"level": "loud"}))["error"]["code"] == -32602
        assert len(await hear(agent)) == 3


async def test_over_a_pipe_a_level_holds_for_the_session(tmp_path: Path, everything: str) -> None:
    async with both(tmp_path, everything) as it, pipe(it, tmp_path) as client:

        async def ask(method: str, params: Any) -> list[Any]:
            await client.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            came = [await client.receive()]
            while "id" not in came[-1]:
                came.append(await client.receive())
            return came

        await ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}})
        await ask("logging/setLevel", {"level": "debug"})
        assert len(said(await ask("tools/call", {"name": LOGS["modern"]}))) == 3
        await ask("logging/setLevel", {"level": "critical"})
        assert said(await ask("tools/call", {"name": LOGS["modern"]})) == []


async def test_a_level_outlives_a_restart_of_the_hub(tmp_path: Path, everything: str) -> None:
    async with both(tmp_path, everything) as it, it.session({}) as agent:
        await agent.request("logging/setLevel", {"level": "info"})
        session = agent.id
    async with both(tmp_path, everything) as it, it.session({}) as agent:
        agent.resume(session)
        async with agent.asking("tools/call", {"name": LOGS["modern"]}) as stream:
            assert len(said([each async for each in stream])) == 3


@pytest.mark.parametrize("server", LOGS)
async def test_a_modern_agent_hears_what_each_request_asks_for(
    tmp_path: Path, everything: str, server: str
) -> None:
    heard: list[Any] = []

    async def listen(params: LoggingMessageNotificationParams) -> None:
        heard.append(params.data)

    async with both(tmp_path, everything) as it:
        for level, count in (("info", 3), ("error", 0), (None, 0)):
            async with it.client("2026-07-28", logging_callback=listen, log_level=level) as client:
                await client.call_tool(LOGS[server], {})
            assert len(heard) == count
            heard.clear()
        async with it.http() as http:
            answer = await it.ask(http, "logging/setLevel", {"level": "info"}, {})
            assert answer["error"]["code"] == -32601


@pytest.mark.parametrize("server", LOGS)
@pytest.mark.parametrize("mode", MODES)
async def test_completions_come_from_the_server_whose_prompt_or_template_it_is(
    tmp_path: Path, everything: str, mode: ConnectMode, server: str
) -> None:
    async with both(tmp_path, everything) as it, it.client(mode) as client:
        prompt = PromptReference(type="ref/prompt", name=f"{server}__test_prompt_with_arguments")
        found = await client.complete(prompt, {"name": "arg1", "value": "par"})
        assert found.completion.values == ["paris", "park", "party"]
        template = next(
            each.uri_template
            for each in (await client.list_resource_templates()).resource_templates
            if each.uri_template.startswith("hub+") == (server == "modern")
        )
        reference = ResourceTemplateReference(type="ref/resource", uri=template)
        found = await client.complete(reference, {"name": "id", "value": "12"})
        assert found.completion.values == ["12", "123"]


async def test_a_completion_of_what_an_agent_may_not_use_is_one_of_what_does_not_exist(
    tmp_path: Path, everything: str
) -> None:
    agents = {"me": ["*"], "other": ["modern__*"]}
    async with both(tmp_path, everything, agents=agents) as it, it.http("other") as http:
        answers = []
        for name in ("legacy__test_prompt_with_arguments", "legacy__none"):
            params = {"ref": {"type": "ref/prompt", "name": name}, "argument": {"name": "a", "value": ""}}
            answer = await it.ask(http, "completion/complete", params, {})
            answers.append(answer["error"]["message"].replace(name, ""))
            assert answer["error"]["code"] == -32602
        assert answers == ["Unknown prompt: "] * 2


async def test_the_hub_says_that_it_can_do_what_the_servers_can_that_an_agent_may_use(
    tmp_path: Path, everything: str
) -> None:
    agents = {"me": ["*"], "other": ["asker__*"]}
    servers: dict[str, Json] = {
        "everything": {"connect": {"url": everything}},
        "asker": {"connect": asker(tmp_path / "log")},
    }
    own = {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "prompts": {"listChanged": True},
        "logging": {},
    }
    async with room(tmp_path, servers, agents=agents) as it:
        async with it.http() as mine, it.http("other") as theirs:
            whole = (await it.ask(mine, "server/discover", {}, {}))["result"]
            part = (await it.ask(theirs, "server/discover", {}, {}))["result"]
        async with it.session({}) as mine, it.session({}, agent="other") as theirs:
            assert theirs.declared == part["capabilities"] == own
            # What extensions an era is told of is `hub.extensions`' to say.
            assert {**mine.declared, "extensions": {}} == {**whole["capabilities"], "extensions": {}}
        extensions = whole["capabilities"].pop("extensions")
        assert extensions["io.modelcontextprotocol/skills"] == {"directoryRead": True}
        assert whole["capabilities"] == {**own, "completions": {}}
        assert "instructions" not in part and "conformance suite" in whole["instructions"]
