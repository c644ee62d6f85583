"""Puts the offers together as one SDK server, and routes `tools/call`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from mcp.server.caching import CacheHint
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    EmptyResult,
    ListToolsResult,
    NotificationParams,
    PaginatedRequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from tests.servers.everything import reading, skills
from tests.servers.everything.asking import Asker, InputNeeded, ToolFailed, asker_of
from tests.servers.everything.asking_tools import ASKING_TOOLS, TASK_TOOLS
from tests.servers.everything.eras import SKILLS, TASKS, declares_tasks, missing_capability
from tests.servers.everything.matrix_tools import MATRIX_TOOLS
from tests.servers.everything.offers import OfferedTool, Use, failed
from tests.servers.everything.state import Context, State
from tests.servers.everything.tasks import TaskBook, TaskParams, TaskUpdateParams
from tests.servers.everything.tools import DYNAMIC_TOOL, PLAIN_TOOLS

NAME = "everything"

# Fixed on purpose: a question outlives a restart of this server. It guards nothing.
STATE_KEY = b"a key for tests only, known to all"

TOOLS = {offered.tool.name: offered for offered in (*PLAIN_TOOLS, *ASKING_TOOLS, *TASK_TOOLS, *MATRIX_TOOLS)}

PUBLIC = CacheHint(ttl_ms=60_000, scope="public")


class EverythingServer(Server[State]):
    """The SDK's server, which also tells legacy clients over HTTP that it announces changes."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        announced = notification_options or NotificationOptions(True, True, True)
        return super().create_initialization_options(announced, experimental_capabilities, extensions)


@asynccontextmanager
async def run_state(server: Server[State]) -> AsyncIterator[State]:
    """One run: its tasks end with it."""
    async with anyio.create_task_group() as group:
        yield State(tasks=TaskBook(group))
        group.cancel_scope.cancel()


def build_server() -> EverythingServer:
    """The whole server, ready to run over any transport."""
    server = EverythingServer(
        NAME,
        version="1.0.0",
        title="Everything",
        instructions="Offers all that the conformance suite asks for.",
        lifespan=run_state,
        cache_hints={
            "tools/list": PUBLIC,
            "prompts/list": PUBLIC,
            "resources/list": PUBLIC,
            "resources/templates/list": PUBLIC,
            "resources/read": PUBLIC,
            "server/discover": PUBLIC,
        },
        get_tool_input_schema=input_schema,
        on_list_tools=list_tools,
        on_list_resources=reading.list_resources,
        on_list_resource_templates=reading.list_templates,
        on_read_resource=reading.read_resource,
        on_list_prompts=reading.list_prompts,
        on_get_prompt=reading.get_prompt,
        on_completion=reading.complete,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_subscriptions_listen=listen,
    )
    server.middleware.append(
        RequestStateBoundary(RequestStateSecurity(keys=[STATE_KEY]), default_audience=NAME)
    )
    server.extensions = {TASKS: {}, SKILLS: {"directoryRead": True}}
    # The constructor warns of setLevel, and its type of tools/call knows no task.
    server.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
    server.add_request_handler("tools/call", CallToolRequestParams, call_tool)
    server.add_request_handler("tasks/get", TaskParams, get_task)
    server.add_request_handler("tasks/update", TaskUpdateParams, update_task)
    server.add_request_handler("tasks/cancel", TaskParams, cancel_task)
    server.add_request_handler("skills/list", PaginatedRequestParams, skills.list_skills)
    server.add_request_handler("skills/get", skills.UriParams, skills.get_skill)
    server.add_request_handler("resources/directory/read", skills.UriParams, skills.read_directory)
    server.add_notification_handler("notifications/initialized", NotificationParams, initialized)
    return server


def offered_tools(state: State) -> dict[str, OfferedTool]:
    """The tools that are here at this moment, by name."""
    return {**TOOLS, DYNAMIC_TOOL.tool.name: DYNAMIC_TOOL} if state.has_dynamic_tool else TOOLS


def input_schema(name: str) -> dict[str, Any] | None:
    """The SDK checks the Mcp-Param headers of a call by it."""
    offered = TOOLS.get(name)
    return offered.tool.input_schema if offered is not None else None


async def list_tools(context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(
        tools=[offered.tool for offered in offered_tools(context.lifespan_context).values()]
    )


async def call_tool(context: Context, params: CallToolRequestParams) -> HandlerResult:
    """Run a tool at once, or as a task where it wants to and its client can.

    Raises:
        MCPError: the tool is unknown, lacks an argument, or needs what its client did not declare.
    """
    offered = offered_tools(context.lifespan_context).get(params.name)
    if offered is None:
        raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {params.name}")
    arguments = params.arguments or {}
    missing = [name for name in offered.tool.input_schema.get("required", ()) if name not in arguments]
    if missing:
        raise MCPError(code=INVALID_PARAMS, message=f"Missing arguments: {', '.join(missing)}")
    as_task = offered.task != "never" and declares_tasks(context)
    if offered.task == "required" and not as_task:
        raise missing_capability({"extensions": {TASKS: {}}})
    use = Use(context, arguments, asker_of(context, params))
    try:
        if offered.prepare is not None:
            use = replace(use, arguments={**arguments, **await offered.prepare(use)})
        if as_task:
            state = context.lifespan_context
            return state.tasks.start(state.changes.publish, partial(work_in_task, offered, use))
        return await work(offered, use)
    except InputNeeded as needed:
        return needed.result


async def work(offered: OfferedTool, use: Use) -> CallToolResult:
    """The tool's result; its own failure is a result too."""
    try:
        return await offered.work(use)
    except ToolFailed as failure:
        return failed(str(failure))


async def work_in_task(offered: OfferedTool, use: Use, ask: Asker) -> CallToolResult:
    """The same, asking through the task."""
    return await work(offered, replace(use, ask=ask))


async def set_level(context: Context, params: SetLevelRequestParams) -> EmptyResult:
    return EmptyResult()


async def subscribe(context: Context, params: SubscribeRequestParams) -> EmptyResult:
    return await context.lifespan_context.changes.subscribe(context, params)


async def unsubscribe(context: Context, params: UnsubscribeRequestParams) -> EmptyResult:
    return await context.lifespan_context.changes.unsubscribe(context, params)


async def listen(context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
    return await context.lifespan_context.changes.listen(context, params)


async def initialized(context: Context, params: NotificationParams) -> None:
    await context.lifespan_context.changes.initialized(context, params)


async def get_task(context: Context, params: TaskParams) -> dict[str, Any]:
    return await context.lifespan_context.tasks.get(context, params)


async def update_task(context: Context, params: TaskUpdateParams) -> dict[str, Any]:
    return await context.lifespan_context.tasks.update(context, params)


async def cancel_task(context: Context, params: TaskParams) -> dict[str, Any]:
    return await context.lifespan_context.tasks.cancel(context, params)
