"""The load: calls of one tool over keep-alive connections, each answer checked."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from benchmarks import versions
from benchmarks.echo import TOOLS
from benchmarks.wire import Answer, Connection, head

__all__ = [
    "TEXT",
    "Target",
    "Timing",
    "ask",
    "connect",
    "message_of",
    "open_session",
    "request",
    "run",
    "written",
]

TEXT = "The quick brown fox jumps over the lazy dog."
LISTED_SECONDS = 10.0
"""For how long a tool may be missing: some answer lists before they have asked their servers."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to call, as whom, in which era, by which name the tool goes there, and what it answers."""

    port: int
    era: versions.Era
    headers: Mapping[str, str] = field(default_factory=dict)
    tool: str = ""
    expected: str = TEXT


@dataclass(frozen=True, slots=True)
class Timing:
    p50_ms: float
    p99_ms: float
    calls_per_second: float


async def connect(
    port: int, era: versions.Era, headers: Mapping[str, str], *, tool: str = "echo", expected: str = TEXT
) -> Target:
    """Do what a client does before its first call: agree on the era, and find the tool by its description.

    Raises:
        RuntimeError: something in between does not answer as a server does.
    """
    connection = await Connection.open(port)
    try:
        target = Target(port, era, headers, expected=expected)
        if era == "legacy":
            target = await open_session(connection, target)
        until = time.monotonic() + LISTED_SECONDS
        while True:
            tools = message_of(await ask(connection, target, "tools/list", {}))["result"]["tools"]
            names = [each["name"] for each in tools if each["description"] == TOOLS[tool]]
            if len(names) == 1:
                return replace(target, tool=names[0])
            if time.monotonic() > until:
                raise RuntimeError(f"the tool is not in the list: {tools!r:.500}")
            await asyncio.sleep(0.05)
    finally:
        connection.close()


async def open_session(connection: Connection, target: Target) -> Target:
    """`initialize` and `notifications/initialized`; the target with the session's header."""
    offer = {"protocolVersion": versions.LEGACY, "capabilities": {}, "clientInfo": versions.CLIENT}
    answer = await ask(connection, target, "initialize", offer)
    session = answer.headers.get("mcp-session-id")
    headers = target.headers if session is None else {**target.headers, "Mcp-Session-Id": session}
    told = "notifications/initialized"
    sent = head(target.port, "/mcp", {**headers, **versions.headers_of("legacy", told)})
    noted = await connection.post(sent, orjson.dumps({"jsonrpc": "2.0", "method": told}))
    if noted.status != 202:
        raise RuntimeError(f"{told}: status {noted.status}: {noted.body!r:.500}")
    return replace(target, headers=headers)


async def run(target: Target, *, concurrency: int, calls: int) -> Timing:
    """Keep `concurrency` calls under way until `calls` are done; connecting is not counted.

    Raises:
        RuntimeError: an answer is wrong.
    """
    connections = [await Connection.open(target.port) for _ in range(concurrency)]
    sent = head(
        target.port,
        "/mcp",
        {**target.headers, **versions.headers_of(target.era, "tools/call", target.tool)},
    )
    before, after = request(target).split(b'"ID"')
    seconds: list[float] = []
    ids = iter(range(1, calls + 1))

    async def work(connection: Connection) -> None:
        for id in ids:
            started = time.perf_counter()
            answer = await connection.post(sent, b"%b%d%b" % (before, id, after))
            seconds.append(time.perf_counter() - started)
            message = message_of(answer)
            if message["id"] != id or message["result"]["content"][0]["text"] != target.expected:
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


def request(target: Target) -> bytes:
    """The body of a call; its id is the string `ID`, to be replaced."""
    params = {"name": target.tool, "arguments": {"text": TEXT}, **versions.meta_of(target.era)}
    return orjson.dumps({"jsonrpc": "2.0", "id": "ID", "method": "tools/call", "params": params})


async def ask(connection: Connection, target: Target, method: str, params: dict[str, Any]) -> Answer:
    """Raises `RuntimeError` where the answer is no result."""
    answer = await connection.post(*written(target, method, params))
    if answer.status != 200 or "result" not in message_of(answer):
        raise RuntimeError(f"{method}: status {answer.status}: {answer.body!r:.500}")
    return answer


def written(target: Target, method: str, params: dict[str, Any]) -> tuple[bytes, bytes]:
    """A request's head and body."""
    sent = head(target.port, "/mcp", {**target.headers, **versions.headers_of(target.era, method)})
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": method,
        "params": {**params, **versions.meta_of(target.era)},
    }
    return sent, orjson.dumps(message)


def message_of(answer: Answer) -> Any:
    """The one message of a JSON answer, or the last one of a stream."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return orjson.loads(answer.body)
    lines = [line[5:] for line in answer.body.splitlines() if line.startswith(b"data:")]
    return orjson.loads(lines[-1])
