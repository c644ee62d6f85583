"""stdio on either side: a server that the hub starts, and an agent that uses `hub serve --stdio`."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks import gateways, load
from benchmarks.homes import Home, program
from benchmarks.processes import Failed, cpu_seconds

__all__ = ["measure"]

SERVER = """\
server: echo
connect: {{command: {command}}}
cwd: {cwd}
tools: {{override: {{"*": {{annotations: {{readOnlyHint: true}}}}}}}}
"""
CONCURRENCY = 8
SECONDS_MAX = 60.0


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """CPU us a call, at concurrency 8: of the hub's process alone; in front, of the bridge and of the hub."""
    calls = 1000 if quick else 8000
    return {**await _behind(folder, calls), **await _in_front(folder, calls)}


async def _behind(folder: Path, calls: int) -> dict[str, Any]:
    command = json.dumps([sys.executable, "-m", "benchmarks.echo_stdio"])
    root = Path(__file__).parent.parent.parent
    home = Home.make(
        folder / "stdio", {"echo": SERVER.format(command=command, cwd=root)}, {"bench": ["echo__*"]}
    )
    async with home.started(await home.headers()) as hub:
        target = await load.connect(hub.port, "modern", hub.headers)
        await load.run(target, concurrency=CONCURRENCY, calls=calls // 4)
        before = cpu_seconds(hub.pid, alone=True) or 0.0
        timing = await load.run(target, concurrency=CONCURRENCY, calls=calls)
        after = cpu_seconds(hub.pid, alone=True) or 0.0
    return {
        "behind_cpu_us": round((after - before) / calls * 1e6, 1),
        "behind_calls_per_second": round(timing.calls_per_second),
    }


async def _in_front(folder: Path, calls: int) -> dict[str, Any]:
    async with gateways.echo(folder) as echo, gateways.hub(echo.port, folder) as hub:
        home = next(folder.glob("home-*"))
        bridge = await asyncio.create_subprocess_exec(
            program("hub"), "serve", "--stdio", "--agent", "bench", "--home", str(home),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            limit=4 * 1024 * 1024,
        )  # fmt: skip
        try:
            async with asyncio.timeout(SECONDS_MAX):
                await _run(bridge, calls // 4)
                before = [cpu_seconds(pid, alone=True) or 0.0 for pid in (bridge.pid, hub.pid)]
                seconds = await _run(bridge, calls)
                after = [cpu_seconds(pid, alone=True) or 0.0 for pid in (bridge.pid, hub.pid)]
        except (TimeoutError, ConnectionError) as error:
            bridge.kill()
            said = await bridge.stderr.read() if bridge.stderr else b""
            raise Failed(f"the bridge: {error!r}: {said.decode(errors='replace')[-500:]}") from None
        finally:
            if bridge.returncode is None:
                bridge.kill()
            await bridge.wait()
    return {
        "front_bridge_cpu_us": round((after[0] - before[0]) / calls * 1e6, 1),
        "front_hub_cpu_us": round((after[1] - before[1]) / calls * 1e6, 1),
        "front_calls_per_second": round(calls / sum(seconds) * CONCURRENCY),
        "front_p50_ms": round(statistics.median(seconds) * 1000, 3),
    }


async def _run(bridge: asyncio.subprocess.Process, calls: int) -> list[float]:
    """The seconds of each call; raises `RuntimeError` at a wrong answer."""
    assert bridge.stdin is not None and bridge.stdout is not None
    target = load.Target(0, "modern", tool="echo__echo")
    before, after = load.request(target).split(b'"ID"')
    started: dict[int, float] = {}
    seconds: list[float] = []
    for id in range(1, calls + 1):
        if len(started) == CONCURRENCY:
            seconds.append(await _answered(bridge.stdout, started))
        started[id] = time.perf_counter()
        bridge.stdin.write(b"%b%d%b\n" % (before, id, after))
    while started:
        seconds.append(await _answered(bridge.stdout, started))
    return seconds


async def _answered(stdout: asyncio.StreamReader, started: dict[int, float]) -> float:
    line = await stdout.readline()
    if not line:
        raise ConnectionError("it has ended")
    message = orjson.loads(line)
    if message["result"]["content"][0]["text"] != load.TEXT:
        raise RuntimeError(f"a wrong answer: {line!r:.500}")
    return time.perf_counter() - started.pop(message["id"])
