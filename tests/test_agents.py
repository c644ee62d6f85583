"""A real agent framework (pydantic-ai) uses the hub; its model is a function, so that no key is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset, load_mcp_toolsets
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.toolsets import AbstractToolset

from tests.commands import SECONDS
from tests.homes import Running, done, install, make_home, running, stdio

pytestmark = pytest.mark.anyio

GRANTED = ["notes__read_note", "notes__write_note", "time__convert_time"]
# Neither has a summer time.
CONVERT = {"source_timezone": "UTC", "time": "09:30", "target_timezone": "Asia/Tokyo"}


class Place:
    def __init__(self, hub: Running, home: Path) -> None:
        self.hub = hub
        self.home = home
        added = done(
            home, "agents", "add", "clerk", "--may", "time__*", "--may", "notes__*",
            "--never", "time__get_current_time", "--never", "notes__list_notes",
            "--never", "hub__*", "--json",
        )  # fmt: skip
        self.token: str = added.json["token"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    install("time")
    home = make_home(tmp_path_factory.mktemp("place") / "home", "time", "notes")
    with running(home) as hub:
        for name in ("time", "notes"):
            hub.until(f"{name}: ready")
        yield Place(hub, home)


class Model:
    """Asks for two tools, then says what they said; keeps which tools it was offered."""

    def __init__(self, prefix: str = "") -> None:
        self.offered: set[tuple[str, ...]] = set()
        self._prefix = prefix

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.offered.add(tuple(sorted(tool.name for tool in info.function_tools)))
        returned = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        if returned:
            said = {part.tool_name.removeprefix(self._prefix): part.content for part in returned}
            return ModelResponse(parts=[TextPart(json.dumps(said))])
        note = {"name": "clerk", "text": "tea"}
        return ModelResponse(
            parts=[
                ToolCallPart(f"{self._prefix}time__convert_time", CONVERT),
                ToolCallPart(f"{self._prefix}notes__write_note", note),
            ]
        )


async def work(place: Place, toolset: AbstractToolset[Any], model: Model, agent: str) -> None:
    """One run of an agent, which calls two tools of two servers in one turn."""
    with anyio.fail_after(SECONDS):
        async with Agent(FunctionModel(model), toolsets=[toolset]) as worker:
            said = json.loads((await worker.run("What time is it in Tokyo? Make a note.")).output)
    assert said["time__convert_time"]["time_difference"] == "+9.0h"
    assert said["notes__write_note"] == "Kept 'clerk'."
    newest = done(place.home, "calls", "list", "--limit", "2", "--json").json
    assert {(call["agent"], call["tool"], call["state"]) for call in newest} == {
        (agent, "time__convert_time", "done"),
        (agent, "notes__write_note", "done"),
    }


async def test_over_http_with_its_token_it_sees_what_it_was_granted_and_uses_it(place: Place) -> None:
    model = Model()
    toolset = MCPToolset(place.hub.url, headers={"Authorization": f"Bearer {place.token}"})
    await work(place, toolset, model, "clerk")
    assert model.offered == {tuple(GRANTED)}


async def test_over_stdio_by_its_name_it_sees_what_it_was_granted_and_uses_it(
    place: Place, tmp_path: Path
) -> None:
    model, it = Model(), stdio(place.home, "clerk")
    transport = StdioTransport(
        it.command, it.args, env=it.env, keep_alive=False, log_file=tmp_path / "stderr"
    )
    await work(place, MCPToolset(transport), model, "clerk")
    assert model.offered == {tuple(GRANTED)}


@pytest.mark.parametrize("form", [[], ["--stdio"]])
async def test_the_configuration_that_the_hub_prints_works_as_it_is(
    place: Place, tmp_path: Path, form: list[str]
) -> None:
    file, model = tmp_path / "mcp.json", Model("hub_")
    file.write_text(done(place.home, "agents", "show", "me", "--config", *form).out)
    (toolset,) = load_mcp_toolsets(file)
    await work(place, toolset, model, "me")
    (offered,) = model.offered
    theirs = [name for name in offered if not name.startswith("hub_hub__")]
    assert len(theirs) == 5 and {f"hub_{name}" for name in GRANTED} < set(theirs)
    assert "hub_hub__context" in offered
