"""`tools/list` of 10 to 5,000 tools of 100 servers, beside whoever sends the same bytes from files."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import gateways, load
from benchmarks.homes import SERVER, Home
from benchmarks.processes import Failed, Gateway, cpu_seconds
from benchmarks.versions import Era
from benchmarks.wire import Connection

__all__ = ["measure"]

SERVERS = 100
USES = {10: ["s00?__t00"], 100: ["*__t00"], 1000: ["*__t0?"], 5000: ["s*"]}
"""Each agent may use as many of the 5,000 as its name says."""
TIMES = {10: 1000, 100: 400, 1000: 80, 5000: 16}
ERAS: tuple[Era, ...] = ("modern", "legacy")

Once = Callable[[], Awaitable[None]]
Json: TypeAlias = dict[str, Any]


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """CPU and time of one whole list, all of its pages, and its bytes; by gateway and number of tools."""
    figures: dict[str, Any] = {}
    missing: list[str] = []
    files = folder / "files"
    files.mkdir()
    async with gateways.echo(folder) as echo:
        servers = {
            # So that no list has a tool of the hub's own, which reads what was kept.
            name: SERVER.format(name=name, port=echo.port, path=f"/many/{5000 // SERVERS}/{name}/mcp")
            + "results: whole\n"
            for name in (f"s{number:03}" for number in range(SERVERS))
        }
        home = Home.make(folder / "lists", servers, {f"list-{size}": use for size, use in USES.items()})
        headers = {size: await home.headers(f"list-{size}") for size in USES}
        paths: dict[int, list[str]] = {}
        async with home.started({}) as hub:
            for era in ERAS:
                for size, tokens in headers.items():
                    connection = await Connection.open(hub.port)
                    target = load.Target(hub.port, era, tokens)
                    if era == "legacy":
                        target = await load.open_session(connection, target)
                    cursors, bodies = await _pages(connection, target, size)
                    if era == "modern":
                        paths[size] = _written(bodies, files, size)
                    name = "hub" if era == "modern" else "hub, legacy"
                    once = _asking(connection, target, cursors)
                    figures.setdefault(name, {})[size] = {
                        "bytes": sum(map(len, bodies)),
                        **await _measured(hub, once, TIMES[size], quick),
                    }
                    connection.close()
        for name, start in (
            ("nginx", gateways.nginx(0, folder, files)),
            ("uvicorn", gateways.pages(files, folder)),
        ):
            try:
                async with start as gateway:
                    connection = await Connection.open(gateway.port)
                    figures[name] = {
                        size: await _measured(
                            gateway, _getting(connection, gateway.port, paths[size]), TIMES[size], quick
                        )
                        for size in USES
                    }
                    connection.close()
            except Failed as error:
                missing.append(f"{name}: {error}")
        try:
            figures["envoy, legacy"] = {size: await _envoy(echo.port, folder, size, quick) for size in USES}
        except (Failed, RuntimeError, OSError) as error:
            missing.append(f"envoy: {error}")
    return {"figures": figures, "not_measured": missing}


async def _measured(gateway: Gateway, once: Once, times: int, quick: bool) -> dict[str, Any]:
    times = max(3, times // 10) if quick else times
    # What just started has other things to do, and everything is slower the first times.
    for _ in range(max(3, times // 4)):
        await once()
    seconds = []
    before = cpu_seconds(gateway.pid)
    for _ in range(times):
        started = time.perf_counter()
        await once()
        seconds.append(time.perf_counter() - started)
    after = cpu_seconds(gateway.pid)
    cpu = None if before is None or after is None else round((after - before) / times * 1000, 4)
    return {"cpu_ms": cpu, "p50_ms": round(statistics.median(seconds) * 1000, 4)}


async def _pages(connection: Connection, target: load.Target, size: int) -> tuple[list[Json], list[bytes]]:
    """What is to be asked for each page of a list, and its body.

    Raises `RuntimeError` where the list has not `size` tools.
    """
    asked: list[Json] = [{}]
    bodies: list[bytes] = []
    found = 0
    while len(bodies) < len(asked):
        answer = await load.ask(connection, target, "tools/list", asked[-1])
        result = load.message_of(answer)["result"]
        bodies.append(answer.body)
        found += len(result["tools"])
        if "nextCursor" in result:
            asked.append({"cursor": result["nextCursor"]})
    if found != size:
        raise RuntimeError(f"a list has {found} tools where {size} were expected")
    return asked, bodies


def _written(bodies: list[bytes], files: Path, size: int) -> list[str]:
    for number, body in enumerate(bodies):
        (files / f"{size}-{number}.json").write_bytes(body)
    return [f"/{size}-{number}.json" for number in range(len(bodies))]


def _asking(connection: Connection, target: load.Target, asked: list[Json]) -> Once:
    """As `_getting`, the client only looks at the status: what it does besides would count as the time, and
    the cold caches, of whoever answers."""

    requests = [load.written(target, "tools/list", params) for params in asked]

    async def once() -> None:
        for request in requests:
            if (answer := await connection.post(*request)).status != 200:
                raise RuntimeError(f"tools/list: status {answer.status}")

    return once


def _getting(connection: Connection, port: int, paths: list[str]) -> Once:
    async def once() -> None:
        for path in paths:
            if (answer := await connection.get(port, path)).status != 200:
                raise RuntimeError(f"{path}: status {answer.status}")

    return once


async def _envoy(echo_port: int, folder: Path, size: int, quick: bool) -> dict[str, Any]:
    servers = min(SERVERS, size)
    paths = [f"/many/{size // servers}/s{number:03}/mcp" for number in range(servers)]
    async with gateways.envoy(echo_port, folder, paths) as gateway:
        connection = await Connection.open(gateway.port)
        target = await load.open_session(connection, load.Target(gateway.port, "legacy"))
        asked, _ = await _pages(connection, target, size)
        once = _asking(connection, target, asked)
        figures = await _measured(gateway, once, max(3, TIMES[size] // 10), quick)
        connection.close()
        return figures
