"""What the hub holds in memory: idle, with 100 servers of 1,000 tools, and for each connected agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import gateways, load, versions
from benchmarks.homes import SERVER, Home
from benchmarks.processes import rss_bytes
from benchmarks.wire import Connection

__all__ = ["measure"]

MIB = 1024 * 1024
SERVERS, TOOLS_EACH = 100, 10
AGENTS = 500
STREAMS_EACH = 8
"""Open streams that the hub grants one agent: for streams, several agents come."""


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """RSS of the hub and all that it started. For an agent: the slope, after as many had come before.

    In KiB an agent: `legacy_kib` a session with no connection; `modern_kib` an agent that has asked,
    with no connection; `socket_kib` an idle connection; `stream_kib` a session with an open GET stream.
    """
    if rss_bytes(0) is None:
        return {"not_measured": ["memory: there is no /proc here"]}
    agents = AGENTS // 5 if quick else AGENTS
    figures: dict[str, Any] = {"agents": agents}
    async with gateways.echo(folder) as echo:
        none = Home.make(folder / "none", {}, {"bench": ["*"]})
        async with none.started({}) as idle:
            figures["idle_mib"] = _mib(idle.pid)
        async with gateways.hub(echo.port, folder) as hub:
            figures["modern_kib"] = await _slope(hub.pid, agents, _modern(hub))
            figures["legacy_kib"] = await _slope(hub.pid, agents, _legacy(hub))
            async with AsyncExitStack() as stack:
                figures["socket_kib"] = await _slope(hub.pid, agents, _socket(hub, stack))
        figures["stream_kib"] = await _streams(echo.port, folder, 2 if quick else 16)
        servers = {
            name: SERVER.format(name=name, port=echo.port, path=f"/many/{TOOLS_EACH}/{name}/mcp")
            for name in (f"s{number:03}" for number in range(SERVERS))
        }
        many = Home.make(folder / "many", servers, {"bench": ["*"]})
        headers = await many.headers()
        async with many.started(headers) as hub:
            connection = await Connection.open(hub.port)
            await load.ask(connection, load.Target(hub.port, "modern", headers), "tools/list", {})
            connection.close()
            figures["servers_mib"] = _mib(hub.pid)
    return figures


def _mib(pid: int) -> float:
    return round((rss_bytes(pid) or 0) / MIB, 1)


async def _slope(pid: int, agents: int, come: Callable[[], Awaitable[None]]) -> float:
    """KiB for each of `agents`, after as many that warm up what grows once."""
    for _ in range(agents):
        await come()
    before = rss_bytes(pid) or 0
    for _ in range(agents):
        await come()
    return round(((rss_bytes(pid) or 0) - before) / agents / 1024, 2)


def _modern(hub: gateways.Gateway) -> Callable[[], Awaitable[None]]:
    async def come() -> None:
        connection = await Connection.open(hub.port)
        await load.ask(connection, load.Target(hub.port, "modern", hub.headers), "tools/list", {})
        connection.close()

    return come


def _legacy(hub: gateways.Gateway) -> Callable[[], Awaitable[None]]:
    async def come() -> None:
        await _session(hub)

    return come


async def _session(hub: gateways.Gateway) -> load.Target:
    connection = await Connection.open(hub.port)
    target = await load.open_session(connection, load.Target(hub.port, "legacy", hub.headers))
    await load.ask(connection, target, "tools/list", {})
    connection.close()
    return target


def _socket(hub: gateways.Gateway, stack: AsyncExitStack) -> Callable[[], Awaitable[None]]:
    async def come() -> None:
        connection = await Connection.open(hub.port)
        stack.callback(connection.close)
        await load.ask(connection, load.Target(hub.port, "modern", hub.headers), "tools/list", {})

    return come


async def _streams(echo_port: int, folder: Path, agents: int) -> float:
    """KiB for a session with an open GET stream."""
    names = [f"agent-{number}" for number in range(agents)]
    server = SERVER.format(name="echo", port=echo_port, path="/mcp")
    home = Home.make(folder / "streams", {"echo": server}, {name: ["echo__*"] for name in names})
    tokens = [await home.headers(name) for name in names]
    async with home.started({}) as hub, AsyncExitStack() as stack:
        each = iter([headers for headers in tokens for _ in range(STREAMS_EACH)])

        async def come() -> None:
            target = await _session(replace(hub, headers=next(each)))
            await stack.enter_async_context(_opened(target))

        return await _slope(hub.pid, agents * STREAMS_EACH // 2, come)


@asynccontextmanager
async def _opened(target: load.Target) -> AsyncIterator[None]:
    """A GET stream, from its answer's head on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    told = {**target.headers, **versions.headers_of("legacy", "tools/list")}
    lines = ["GET /mcp HTTP/1.1", f"Host: 127.0.0.1:{target.port}", "Accept: text/event-stream"]
    lines += [f"{name}: {value}" for name, value in told.items()]
    writer.write("\r\n".join([*lines, "\r\n"]).encode())
    first = await asyncio.wait_for(reader.readline(), 10)
    if b" 200 " not in first:
        raise RuntimeError(f"GET: {first!r}")
    try:
        yield
    finally:
        writer.close()
