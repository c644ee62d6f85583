"""How an agent of the matrix hears of changes, whichever way it can."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio
import anyio.lowlevel
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.matrix import Agent, uri


@contextmanager
def older() -> Iterator[None]:
    """What the newest revision has no more, the SDK warns of; the older era still has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        yield


CHANGES = {
    "tool": ("test_trigger_tool_change", "test_dynamic_tool"),
    "prompt": ("test_trigger_prompt_change", "test_dynamic_prompt"),
    "resource": ("test_trigger_resource_change", "test://dynamic-resource"),
}


async def until_listed(agent: Agent, server: str, kind: str, present: bool) -> None:
    """Return once the agent was told that its list changed, and the list shows it."""
    own = CHANGES[kind][1]
    # A URI is told apart by its server's name only while two servers offer it.
    names = {own, uri(server, own)} if kind == "resource" else {f"{server}__{own}"}
    least = 1
    while True:
        try:
            await agent.until(partial(is_told, agent, kind, least))
        except TimeoutError:
            raise AssertionError(f"{agent.name} was not told of {names}, but of {agent.told}") from None
        least += 1
        if bool(names & await listed(agent, kind)) is present:
            return


def is_told(agent: Agent, kind: str, least: int) -> bool:
    """Whether it was told so often that a list changed: the two eras' types are named alike."""
    types = [type(told).__name__.lower() for told in agent.told]
    return sum(type.startswith(kind) and "listchanged" in type for type in types) >= least


async def listed(agent: Agent, kind: str) -> set[str]:
    if kind == "tool":
        return {tool.name for tool in (await agent.client.list_tools(cache_mode="refresh")).tools}
    if kind == "prompt":
        return {prompt.name for prompt in (await agent.client.list_prompts(cache_mode="refresh")).prompts}
    return {it.uri for it in (await agent.client.list_resources(cache_mode="refresh")).resources}


@asynccontextmanager
async def hearing(agent: Agent, *uris: str, lists: bool = False) -> AsyncIterator[None]:
    """The agent is told of changes: a modern one asks for a stream of them, an older one is told anyway."""
    if not agent.modern:
        with older():
            for name in uris:
                await agent.client.subscribe_resource(name)
            yield
            for name in uris:
                await agent.client.unsubscribe_resource(name)
        return
    async with (
        agent.client.listen(
            tools_list_changed=lists,
            prompts_list_changed=lists,
            resources_list_changed=lists,
            resource_subscriptions=uris,
        ) as stream,
        anyio.create_task_group() as tasks,
    ):

        async def listen() -> None:
            async for event in stream:
                agent.hear(agent.told, event)

        tasks.start_soon(listen)
        yield
        tasks.cancel_scope.cancel()
