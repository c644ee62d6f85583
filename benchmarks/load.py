"""The load: calls of one tool over keep-alive connections, each answer checked."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks import versions
from benchmarks.wire import Answer, Connection, head

__all__ = ["Target", "Timing", "connect", "run"]

TEXT = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True, slots=True)
class Target:
    """Where to call, as whom, in which era, and by which name the tool goes there."""

    port: int
    era: versions.Era
    headers: Mapping[str, str] = field(default_factory=dict)
    tool: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    p50_ms: float
    p99_ms: float
    calls_per_second: float


async def connect(port: int, era: versions.Era, headers: Mapping[str, str]) -> Target:
    """Do what a client does before its first call: agree on the era, and find the tool by its description.

    Raises:
        RuntimeError: something in between does not answer as a server does.
    """
    connection = await Connection.open(port)
    try:
        if era == "legacy":
            offer = {
                "protocolVersion": versions.LEGACY,
                "capabilities": {},
                "clientInfo": versions.CLIENT,
            }
            answer = await _ask(connection, Target(port, era, headers), "initialize", offer)
            session = answer.headers.get("mcp-session-id")
            headers = headers if session is None else {**headers, "Mcp-Session-Id": session}
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            sent = head(port, "/mcp", {**headers, **versions.headers_of(era, "notifications/initialized")})
            noted = await connection.post(sent, orjson.dumps(ready))
            if noted.status != 202:
                raise RuntimeError(f"notifications/initialized: status {noted.status}: {noted.body!r:.500}")
        answer = await _ask(connection, Target(port, era, headers), "tools/list", {})
        tools = _message(answer)["result"]["tools"]
        names = [tool["name"] for tool in tools if tool["description"] == "Says what it was told."]
        if len(names) != 1:
            raise RuntimeError(f"the tool is not in the list: {tools!r:.500}")
        return Target(port, era, headers, names[0])
    finally:
        connection.close()


async def run(target: Target, *, concurrency: int, calls: int) -> Timing:
    """Keep `concurrency` calls under way until `calls` are done; connecting is not counted."""
    connections = [await Connection.open(target.port) for _ in range(concurrency)]
    sent = head(
        target.port,
        "/mcp",
        {**target.headers, **versions.headers_of(target.era, "tools/call", target.tool)},
    )
    before, after = _body(target).split(b'"ID"')
    seconds: list[float] = []
    ids = iter(range(1, calls + 1))

    async def work(connection: Connection) -> None:
        for id in ids:
            started = time.perf_counter()
            answer = await connection.post(sent, b"%b%d%b" % (before, id, after))
            seconds.append(time.perf_counter() - started)
            message = _message(answer)
            if message["id"] != id or message["result"]["content"][0]["text"] != TEXT:
                raise RuntimeError(f"a wrong answer to call {id}: {answer.body!r:.500}")

    try:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for connection in connections:
                tasks.create_task(work(connection))
        took = time.perf_counter() - started
    finally:
        for connection in connections:
            connection.close()
    hundredths = statistics.quantiles(seconds, n=100)
    return Timing(1000 * statistics.median(seconds), 1000 * hundredths[98], calls / took)


def _body(target: Target) -> bytes:
    params = {"name": target.tool, "arguments": {"text": TEXT}, **versions.meta_of(target.era)}
    return orjson.dumps({"jsonrpc": "2.0", "id": "ID", "method": "tools/call", "params": params})


async def _ask(connection: Connection, target: Target, method: str, params: dict[str, Any]) -> Answer:
    sent = head(target.port, "/mcp", {**target.headers, **versions.headers_of(target.era, method)})
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": method,
        "params": {**params, **versions.meta_of(target.era)},
    }
    answer = await connection.post(sent, orjson.dumps(message))
    if answer.status != 200 or "result" not in _message(answer):
        raise RuntimeError(f"{method}: status {answer.status}: {answer.body!r:.500}")
    return answer


def _message(answer: Answer) -> Any:
    """The one message of a JSON answer, or the last one of a stream."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return orjson.loads(answer.body)
    lines = [line[5:] for line in answer.body.splitlines() if line.startswith(b"data:")]
    return orjson.loads(lines[-1])
