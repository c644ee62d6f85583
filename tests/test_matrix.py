"""Every feature in every crossing: agents of both eras, over HTTP and pipes, at servers of both eras.

Each cell is a test with a real server and a real client, through one real `hub serve`. What the first
generation of the SDK has no way to do is tried at `OURS` only.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import MCPError
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    ElicitCompleteNotification,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    EmbeddedResource,
    ImageContent,
    PromptReference,
    ResourceTemplateReference,
)

from tests.homes import done
from tests.matrix import AGENTS, NEW, SERVERS, Agent, Matrix, matrix, said, uri
from tests.matrix_changes import CHANGES, hearing, listed, older, until_listed

pytestmark = pytest.mark.anyio


SECONDS = 60

# What the first generation of the SDK has no way to do.
OURS = tuple(name for name in SERVERS if not name.startswith("sdk1"))

each_agent = pytest.mark.parametrize("who", AGENTS)
each_server = pytest.mark.parametrize("server", SERVERS)
each_of_ours = pytest.mark.parametrize("server", OURS)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: its hub and its sessions live as long."""
    return "asyncio"


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Matrix]:
    async with matrix(tmp_path_factory.mktemp("matrix")) as place:
        yield place


@pytest.fixture
async def agent(place: Matrix, who: str) -> Agent:
    agent = place.agents[who]
    for heard in (agent.told, agent.logged, agent.asked):
        heard.clear()
    return agent


async def call(agent: Agent, server: str, tool: str, arguments: Any = None, **more: Any) -> Any:
    with anyio.fail_after(SECONDS):
        return await agent.client.call_tool(f"{server}__{tool}", arguments or {}, **more)


@each_server
@each_agent
async def test_tools_are_listed_and_called(agent: Agent, server: str) -> None:
    listed = {tool.name: tool for tool in (await agent.client.list_tools()).tools}
    assert f"{server}__test_simple_text" in listed
    schema = listed[f"{server}__test_elicitation"].input_schema
    assert schema["required"] == ["message"]
    assert (
        said(await call(agent, server, "test_simple_text")) == "This is a simple text response for testing."
    )


@each_of_ours
@each_agent
async def test_content_of_every_type_passes(agent: Agent, server: str) -> None:
    types = [ImageContent, AudioContent, EmbeddedResource]
    for tool, type in zip(["image_content", "audio_content", "embedded_resource"], types, strict=True):
        content = (await call(agent, server, f"test_{tool}")).content
        assert [item.__class__ for item in content] == [type]


@each_server
@each_agent
async def test_a_failed_tool_is_a_result(agent: Agent, server: str) -> None:
    result = await call(agent, server, "test_error_handling")
    assert result.is_error
    assert "This tool intentionally returns an error for testing" in said(result)


@each_of_ours
@each_agent
async def test_an_error_of_the_protocol_is_the_servers_own(agent: Agent, server: str) -> None:
    with pytest.raises(MCPError) as refused:
        await call(agent, server, "test_elicitation")
    assert (refused.value.code, str(refused.value)) == (-32602, "Missing arguments: message")


@each_server
@each_agent
async def test_resources_are_listed_and_read(agent: Agent, server: str) -> None:
    listed = [resource.uri for resource in (await agent.client.list_resources()).resources]
    name = uri(server, "test://static-text")
    assert name in listed
    (contents,) = (await agent.client.read_resource(name)).contents
    assert contents.uri == name
    assert getattr(contents, "text", "") == "This is the content of the static text resource."


@each_of_ours
@each_agent
async def test_a_binary_resource_keeps_its_bytes(agent: Agent, server: str) -> None:
    (contents,) = (await agent.client.read_resource(uri(server, "test://static-binary"))).contents
    assert isinstance(contents, BlobResourceContents)
    assert contents.blob.startswith("iVBORw0KGgo")


@each_server
@each_agent
async def test_a_template_is_listed_and_read(agent: Agent, server: str) -> None:
    listed = [it.uri_template for it in (await agent.client.list_resource_templates()).resource_templates]
    assert uri(server, "test://template/{id}/data") in listed
    (contents,) = (await agent.client.read_resource(uri(server, "test://template/7/data"))).contents
    assert json.loads(getattr(contents, "text", ""))["data"] == "Data for ID: 7"


@each_server
@each_agent
async def test_prompts_are_listed_and_got(agent: Agent, server: str) -> None:
    name = f"{server}__test_prompt_with_arguments"
    listed = {prompt.name: prompt for prompt in (await agent.client.list_prompts()).prompts}
    assert [argument.name for argument in listed[name].arguments or []] == ["arg1", "arg2"]
    got = await agent.client.get_prompt(name, {"arg1": "tea", "arg2": "pot"})
    assert getattr(got.messages[0].content, "text", "") == "Prompt with arguments: arg1='tea', arg2='pot'"


@each_server
@each_agent
async def test_arguments_are_completed(agent: Agent, server: str) -> None:
    prompt = PromptReference(name=f"{server}__test_prompt_with_arguments")
    found = await agent.client.complete(prompt, {"name": "arg1", "value": "par"})
    assert found.completion.values == ["paris", "park", "party"]
    template = ResourceTemplateReference(uri=uri(server, "test://template/{id}/data"))
    found = await agent.client.complete(template, {"name": "id", "value": "12"})
    assert found.completion.values == ["12", "123"]


@each_server
@each_agent
async def test_progress_reaches_the_call_that_asked_for_it(agent: Agent, server: str) -> None:
    reported: list[tuple[float, float | None, str | None]] = []

    async def report(done: float, total: float | None, message: str | None) -> None:
        reported.append((done, total, message))

    await call(agent, server, "test_tool_with_progress", progress_callback=report)
    assert reported == [(done, 100, f"{done} of 100") for done in (0, 50, 100)]


@each_server
@each_agent
async def test_log_messages_reach_the_agent_that_wants_them(agent: Agent, server: str) -> None:
    """The modern era asks for them in each request, the older one once (`logging/setLevel`)."""
    if not agent.modern:
        with older():
            await agent.client.set_logging_level("info")
    await call(agent, server, "test_logging_tool")
    await agent.until(lambda: len(agent.logged) >= 3)
    said = [str(message.data) for message in agent.logged]
    assert said == ["Tool execution started", "Tool processing data", "Tool execution completed"]


@each_server
@each_agent
async def test_a_call_that_is_cancelled_ends_at_the_server(agent: Agent, server: str) -> None:
    before = int(said(await call(agent, server, "cancellations")))
    began = anyio.Event()

    async def report(done: float, total: float | None, message: str | None) -> None:
        began.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(call, agent, server, "hang", progress_callback=report))
        with anyio.fail_after(SECONDS):
            await began.wait()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(SECONDS):
        while int(said(await call(agent, server, "cancellations"))) == before:
            await anyio.lowlevel.checkpoint()


@each_server
@each_agent
async def test_a_form_is_filled_in_in_the_middle_of_a_call(agent: Agent, server: str) -> None:
    result = await call(agent, server, "test_elicitation", {"message": "Who are you?"})
    assert "action=accept" in said(result)
    assert '"email":"tea@example.com"' in said(result)
    (asked,) = agent.asked
    assert isinstance(asked, ElicitRequestFormParams)
    assert asked.message == "Who are you?"
    assert set(asked.requested_schema["properties"]) == {"username", "email"}


@each_server
@each_agent
async def test_a_user_is_sent_to_an_address_in_the_middle_of_a_call(agent: Agent, server: str) -> None:
    """The older era gives such a question an id; the newer has none, so the hub makes one up."""
    assert said(await call(agent, server, "ask_url")) == "The user did: accept"
    (asked,) = agent.asked
    assert isinstance(asked, ElicitRequestURLParams)
    assert asked.url == "https://example.com/sign-in?for=tests"
    if not agent.modern:
        assert asked.elicitation_id
        await agent.until(lambda: asked.elicitation_id in completed(agent))


def completed(agent: Agent) -> list[str]:
    """The visits that an older agent was told the end of."""
    return [it.params.elicitation_id for it in agent.told if isinstance(it, ElicitCompleteNotification)]


@each_server
@each_agent
async def test_the_agents_model_is_asked_in_the_middle_of_a_call(agent: Agent, server: str) -> None:
    result = await call(agent, server, "test_input_required_result_sampling")
    assert said(result) == "The model said: Paris"
    (asked,) = agent.asked
    assert "capital of France" in str(asked.messages)


@each_server
@each_agent
async def test_the_agents_folders_are_asked_for_in_the_middle_of_a_call(agent: Agent, server: str) -> None:
    result = await call(agent, server, "test_input_required_result_list_roots")
    assert said(result) == "You work in: file:///tea, file:///pot"


@each_of_ours
@each_agent
async def test_questions_may_follow_one_another_and_come_several_at_once(agent: Agent, server: str) -> None:
    assert said(await call(agent, server, "test_input_required_result_multi_round"))
    assert len(agent.asked) == 2
    assert said(await call(agent, server, "test_input_required_result_multiple_inputs")).startswith("Paris, ")
    assert len(agent.asked) == 5


@each_server
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_agent_is_not_asked_what_it_cannot_answer(place: Matrix, era: str, server: str) -> None:
    """The server is told that nobody is there, or is refused; the call ends at once either way."""
    with anyio.fail_after(SECONDS):
        try:
            result = await place.mute[era].call_tool(f"{server}__test_elicitation", {"message": "Who?"})
        except MCPError as refused:
            assert refused.code == -32021
        else:
            assert result.is_error


@each_server
async def test_changed_lists_are_told_to_every_agent_and_listed(place: Matrix, server: str) -> None:
    """All agents and kinds in one test for each server: a server's lists are read at most once a second."""
    changing = place.mute["modern"]
    async with AsyncExitStack() as stack:
        for agent in place.agents.values():
            await stack.enter_async_context(hearing(agent, lists=True))
        for present in (True, False):
            for agent in place.agents.values():
                agent.told.clear()
            for trigger, _ in CHANGES.values():
                await changing.call_tool(f"{server}__{trigger}", {})
            for agent in place.agents.values():
                for kind in CHANGES:
                    await until_listed(agent, server, kind, present)


async def test_a_change_that_only_one_session_is_told_of_is_told_to_every_agent(place: Matrix) -> None:
    """Servers of the first generation tell the session that made the change: here, one agent's own link."""
    server, changing = "sdk1-http", place.agents["legacy-http"]
    async with AsyncExitStack() as stack:
        for agent in place.agents.values():
            await stack.enter_async_context(hearing(agent, lists=True))
        for present in (True, False):
            for agent in place.agents.values():
                agent.told.clear()
            await call(changing, server, CHANGES["tool"][0])
            for agent in place.agents.values():
                await until_listed(agent, server, "tool", present)


async def test_what_changes_in_a_sessions_own_process_is_not_listed(place: Matrix) -> None:
    """A known gap: what is listed is what the process that all share has."""
    agent, server = place.agents["legacy-http"], "old-pipe"
    await call(agent, server, CHANGES["tool"][0])
    await anyio.to_thread.run_sync(done, place.home, "servers", "check", server)
    assert f"{server}__{CHANGES['tool'][1]}" not in await listed(agent, "tool")
    await call(agent, server, CHANGES["tool"][0])


@each_of_ours
@each_agent
async def test_an_updated_resource_is_told_to_who_watches_it(agent: Agent, server: str) -> None:
    name = uri(server, "test://watched-resource")
    async with hearing(agent, name):
        await call(agent, server, "test_trigger_resource_update")
        await agent.until(lambda: any(name in str(told) for told in agent.told))
        (contents,) = (await agent.client.read_resource(name, cache_mode="refresh")).contents
        assert getattr(contents, "text", "").startswith("Version ")


@each_agent
async def test_the_servers_words_about_their_use_are_told_together(agent: Agent) -> None:
    told = agent.client.instructions or ""
    for server in SERVERS:
        assert f"# {server}\n" in told
    assert NEW[0] in told
