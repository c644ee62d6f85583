"""Servers in the hub's own process, for tests: one as it should be, and how others fail."""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("tools", version="1.2.3", instructions="Be brief.")
low = Server("low")
not_a_server = {"a": 1}
cancelled: list[anyio.Event] = []


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


@server.tool()
def half(value: float) -> float:
    return value / 2


@server.tool()
async def slow(ctx: Context) -> str:
    """Says one word of progress, then waits to be cancelled."""
    cancelled.append(anyio.Event())
    await ctx.report_progress(1, 2, "started")
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        cancelled[-1].set()
        raise
    return "done"


@server.tool()
async def was_cancelled() -> bool:
    with anyio.fail_after(20):
        await cancelled[-1].wait()
    return True


@server.tool()
def fail() -> str:
    raise ToolError("no tea left")


@server.tool()
async def grow(ctx: Context) -> str:
    """Offer one more tool, and say so."""
    server.add_tool(lambda: "new", name="grown")
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.resource("note://tea")
def tea() -> str:
    return "green"


async def _answer_what_is_no_json(ctx: Any, call_next: Any) -> Any:
    return {"resultType": "complete", "x": object()} if ctx.method == "ping/odd" else await call_next(ctx)


low.middleware.append(_answer_what_is_no_json)


def factory() -> MCPServer:
    made = MCPServer("made")

    @made.tool()
    def only() -> str:
        return "made"

    return made


def broken_factory() -> MCPServer:
    raise KeyError("TEA_KEY")


async def async_factory() -> Any:
    return server
