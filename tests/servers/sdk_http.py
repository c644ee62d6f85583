"""A real MCP server, written with the SDK, over Streamable HTTP in both eras at one URL."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from uvicorn.server import ServerState

Context = ServerRequestContext[Any, Any]

REGION_SCHEMA = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


@dataclass
class Running:
    """The server while it runs."""

    url: str
    bus: InMemorySubscriptionBus
    server: Server[Any]
    sessions: list[Any] = field(default_factory=list)
    """Legacy sessions that have called a tool."""
    started: anyio.Event = field(default_factory=anyio.Event)
    """The tool `slow` is at work."""
    cancelled: anyio.Event = field(default_factory=anyio.Event)
    """The tool `slow` was cancelled."""

    async def change_tools(self) -> None:
        """Say that the tools have changed, to everybody who listens."""
        await self.bus.publish(ToolsListChanged())
        for session in self.sessions:
            await session.send_tool_list_changed()


@asynccontextmanager
async def serve(*, port: int = 0, json_response: bool = False) -> AsyncIterator[Running]:
    """Run it in this process, on a free port or on the one given."""
    bus = InMemorySubscriptionBus()

    async def on_list_tools(
        ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        names = ("echo", "écho", "slow", "progress", "roots")
        tools = [types.Tool(name=name, input_schema={"type": "object"}) for name in names]
        tools.append(types.Tool(name="region", input_schema=REGION_SCHEMA))
        return types.ListToolsResult(tools=tools, ttl_ms=0, cache_scope="public")

    async def on_call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = params.arguments or {}
        if running.sessions.count(ctx.session) == 0 and ctx.session.protocol_version < "2026":
            running.sessions.append(ctx.session)
        if params.name == "slow":
            running.started.set()
            try:
                await anyio.sleep_forever()
            finally:
                running.cancelled.set()
        if params.name == "progress":
            for step in (1, 2, 3):
                await ctx.session.report_progress(step, 3, f"step {step}")
        if params.name == "roots":
            roots = await ctx.session.send_request(types.ListRootsRequest(), types.ListRootsResult)
            arguments = {"text": str(roots.roots[0].uri)}
        return types.CallToolResult(content=[types.TextContent(type="text", text=str(arguments.get("text")))])

    server: Server[Any] = Server(
        "referee",
        version="1.2.3",
        instructions="Say something.",
        on_list_tools=on_list_tools,
        on_call_tool=on_call_tool,
        on_subscriptions_listen=ListenHandler(bus),
    )
    app = server.streamable_http_app(json_response=json_response)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    # uvicorn's protocol without its `Server`, which takes signals, and a quarter of a second to stop.
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
    config.load()
    state = ServerState()
    protocol = functools.partial(config.http_protocol_class, config, state, {})  # type: ignore[call-arg]
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    running = Running(url, bus, server)
    async with server.session_manager.run():
        web = await asyncio.get_running_loop().create_server(protocol, sock=listener, backlog=512)
        try:
            yield running
        finally:
            web.close()
            for connection in list(state.connections):
                connection.transport.abort()
            for task in state.tasks:
                task.cancel()
            if state.tasks:
                await asyncio.wait(state.tasks, timeout=5)
