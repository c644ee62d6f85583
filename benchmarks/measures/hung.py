"""Whether calls that never end hold up the others."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import gateways, load, versions
from benchmarks.wire import Connection, head

__all__ = ["measure"]

HUNG, CONCURRENCY = 32, 8


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """p99 of calls at concurrency 8, without and with 32 calls to the same server that hang. Medians."""
    calls, rounds = (800, 1) if quick else (4000, 5)
    without: list[float] = []
    beside: list[float] = []
    async with gateways.echo(folder) as echo, gateways.hub(echo.port, folder) as hub:
        target = await load.connect(hub.port, "modern", hub.headers)
        await load.run(target, concurrency=CONCURRENCY, calls=calls)
        for _ in range(rounds):
            without.append((await load.run(target, concurrency=CONCURRENCY, calls=calls)).p99_ms)
            connections, hanging = await _hang(target)
            try:
                beside.append((await load.run(target, concurrency=CONCURRENCY, calls=calls)).p99_ms)
                if ended := sum(each.done() for each in hanging):
                    raise RuntimeError(f"{ended} calls that were to hang have ended")
            finally:
                for each in hanging:
                    each.cancel()
                for connection in connections:
                    connection.close()
                await asyncio.sleep(0)  # They are closed in the loop's next round; the hub waits for calls.
    return {
        "p99_ms": round(statistics.median(without), 3),
        "p99_ms_beside": round(statistics.median(beside), 3),
        "ratio": round(statistics.median(b / w for b, w in zip(beside, without, strict=True)), 2),
    }


async def _hang(target: load.Target) -> tuple[list[Connection], list[asyncio.Task[Any]]]:
    hang = replace(target, tool=(await load.connect(target.port, "modern", target.headers, tool="hang")).tool)
    told = {**target.headers, **versions.headers_of("modern", "tools/call", hang.tool)}
    sent, body = head(target.port, "/mcp", told), load.request(hang).replace(b'"ID"', b"1")
    connections = [await Connection.open(target.port) for _ in range(HUNG)]

    async def wait(connection: Connection) -> None:
        with suppress(ConnectionError):
            await connection.post(sent, body)

    hanging = [asyncio.create_task(wait(connection)) for connection in connections]
    await asyncio.sleep(0.1)
    return connections, hanging
