"""From starting the command to the first answered call, with what servers offer known from last time."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks import gateways, load, versions
from benchmarks.homes import SERVER, Home, program
from benchmarks.processes import cpu_seconds, free_port, process
from benchmarks.wire import Connection, head

__all__ = ["measure"]

SERVERS = 100
SECONDS_MAX = 30.0


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """Seconds, medians; and the CPU seconds of the hub until then. With one server, and with 100."""
    figures: dict[str, Any] = {}
    async with gateways.echo(folder) as echo:
        for many in (1, SERVERS):
            servers = {
                name: SERVER.format(name=name, port=echo.port, path="/mcp")
                for name in (f"s{number:03}" for number in range(many))
            }
            home = Home.make(folder / f"start-{many}", servers, {"bench": ["*"]})
            headers = await home.headers()
            async with home.started(headers) as hub:
                await load.ask(await Connection.open(hub.port), _target(hub.port, headers), "tools/list", {})
            taken = [await _start(home, headers) for _ in range(1 if quick else 5)]
            figures[f"seconds_{many}"] = round(statistics.median(seconds for seconds, _ in taken), 3)
            figures[f"cpu_seconds_{many}"] = round(statistics.median(cpu for _, cpu in taken), 3)
    return figures


def _target(port: int, headers: dict[str, str]) -> load.Target:
    return load.Target(port, "modern", headers, "s000__echo")


async def _start(home: Home, headers: dict[str, str]) -> tuple[float, float]:
    port = free_port()
    target = _target(port, headers)
    told = {**headers, **versions.headers_of("modern", "tools/call", target.tool)}
    sent, body = head(port, "/mcp", told), load.request(target).replace(b'"ID"', b"1")
    command = [program("hub"), "serve", "--home", str(home.path), "--host", "127.0.0.1", "--port", str(port)]
    started = time.perf_counter()
    with process(command, home.path / "hub.log") as running:
        while time.perf_counter() - started < SECONDS_MAX and running.poll() is None:
            try:
                connection = await Connection.open(port)
            except OSError:
                await asyncio.sleep(0.005)
                continue
            try:
                answer = await connection.post(sent, body)
            except ConnectionError:
                continue
            finally:
                connection.close()
            if answer.status == 200 and "result" in orjson.loads(answer.body):
                seconds = time.perf_counter() - started
                return seconds, cpu_seconds(running.pid) or 0.0
            await asyncio.sleep(0.005)
    raise RuntimeError("the hub answered no call")
