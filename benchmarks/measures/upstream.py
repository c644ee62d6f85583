"""How often the server behind the hub is asked, for a call and for a list, once its connection stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from benchmarks import gateways, load
from benchmarks.versions import Era
from benchmarks.wire import Connection

__all__ = ["measure"]

TIMES = 100
ERAS: tuple[Era, ...] = ("modern", "legacy")


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """Requests of any method at the server, for each call and each list of an agent."""
    figures: dict[str, Any] = {}
    async with gateways.echo(folder) as echo, gateways.hub(echo.port, folder) as hub:
        for era in ERAS:
            target = await load.connect(hub.port, era, hub.headers)
            # The first call of a session of the older era begins one at the server too: two requests more.
            await load.run(target, concurrency=1, calls=2)
            before = await _asked(echo.port)
            await load.run(target, concurrency=1, calls=TIMES)
            called = await _asked(echo.port)
            connection = await Connection.open(hub.port)
            for _ in range(TIMES):
                await load.ask(connection, target, "tools/list", {})
            connection.close()
            listed = await _asked(echo.port)
            figures[f"per_call_{era}"] = (called - before) / TIMES
            figures[f"per_list_{era}"] = (listed - called) / TIMES
    return figures


async def _asked(port: int) -> int:
    connection = await Connection.open(port)
    try:
        counts: dict[str, int] = orjson.loads((await connection.get(port, "/counts")).body)
        return sum(counts.values())
    finally:
        connection.close()
