"""An agent run in a process of its own: pydantic-ai with a scripted model.

    python -m tests.scripted_agent URL CREDENTIAL first|second

`first` opens the session `job`, appends `a`, notes where it is, says `cut` on stdout and thinks for ever:
whoever runs it ends it. `second` knows nothing of that but the session's name: it asks for the brief, goes on
as that says, and prints the brief and then the end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

__all__ = ["main"]

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


def think_for_ever(said: str) -> list[Any]:
    say("cut")
    time.sleep(3600)
    return []


def go_on(said: str) -> list[Any]:
    """All that is known of before is in the brief."""
    say(json.dumps(said))
    goal = said.partition("## Goal\nAppend ")[2].partition("\n")[0]
    done = [key for key in goal.split(", ") if f'{{"key":"{key}"}}: done' in said]
    assert done == ["a"], said
    return [ToolCallPart("ledger__append", {"key": goal.split(", ")[len(done)]})]


SCRIPTS: dict[str, tuple[Turn, ...]] = {
    "first": (
        use("hub__session", action="open", name="job", goal="Append a, b, c"),
        use("ledger__append", key="a"),
        use("hub__session", action="note", text="a is there; b is next"),
        think_for_ever,
    ),
    "second": (
        use("hub__session", action="resume", name="job"),
        use("hub__context", tokens=300),
        go_on,
        use("ledger__append", key="c"),
        lambda said: [TextPart("all are there")],
    ),
}


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main(url: str, credential: str, which: str) -> None:
    toolset: MCPToolset[Any] = MCPToolset(url, headers={"Authorization": f"Bearer {credential}"})
    async with Agent(FunctionModel(Script(*SCRIPTS[which])), toolsets=[toolset]) as worker:
        say((await worker.run("Do your job.")).output)


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:4]))
