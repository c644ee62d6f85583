"""An agent run is cut in the middle, and another process goes on with what the hub tells it of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from hub.count import tokens
from tests.commands import SECONDS
from tests.homes import token
from tests.test_kill import furnish, lines, started

pytestmark = pytest.mark.anyio

Turn = Callable[[str], list[Any]]
"""From what the last tool said to what the model does next."""


class Script:
    """A model that does one thing after another."""

    def __init__(self, *turns: Turn) -> None:
        self._turns = [*turns]

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        said = [str(part.content) for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        return ModelResponse(parts=self._turns.pop(0)("\n".join(said)))


def use(tool: str, /, **arguments: Any) -> Turn:
    return lambda said: [ToolCallPart(tool, arguments)]


async def run(url: str, credential: str, script: Script) -> str:
    toolset: MCPToolset[Any] = MCPToolset(url, headers={"Authorization": f"Bearer {credential}"})
    async with Agent(FunctionModel(script), toolsets=[toolset]) as worker:
        return (await worker.run("Append a, b and c.")).output


async def test_an_agent_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    home, briefs = furnish(tmp_path), list[str]()
    with started(home) as hub:
        hub.until("ledger: ready")
        credential = token(home)

        def cut(said: str) -> list[Any]:
            hub.end(signal.SIGKILL)
            return [ToolCallPart("ledger__append", {"key": "b"})]

        script = Script(
            use("hub__session", action="open", name="job", goal="Append a, b and c"),
            use("ledger__append", key="a"),
            use("hub__session", action="note", text="a is there; b is next"),
            cut,
        )
        with anyio.fail_after(SECONDS), pytest.raises(BaseException, match=r".") as ended:
            await run(hub.url, credential, script)
        assert not isinstance(ended.value, TimeoutError)
    assert lines(tmp_path / "receipts") == ["a"]

    def after_the_brief(said: str) -> list[Any]:
        briefs.append(said)
        assert "Append a, b and c" in said and "b is next" in said and '{"key":"a"}: done -> a' in said
        return [ToolCallPart("ledger__append", {"key": "b"})]

    with started(home) as hub, anyio.fail_after(SECONDS):
        script = Script(
            use("hub__session", action="resume", name="job"),
            use("hub__context", tokens=300),
            after_the_brief,
            use("ledger__append", key="c"),
            lambda said: [TextPart("all are there")],
        )
        assert await run(hub.url, credential, script) == "all are there"
    assert lines(tmp_path / "receipts") == ["a", "b", "c"]
    assert tokens(briefs[0]) <= 300
