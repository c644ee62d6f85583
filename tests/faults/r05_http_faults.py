"""R5: an HTTP server that breaks off, answers nonsense, or says when to come again."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.faults.agents import Agent, Others, opened
from tests.faults.figures import MEGABYTE, Figures, Row, Scale, at, milliseconds
from tests.faults.places import WORKER, Start
from tests.servers import fault_http
from tests.servers.fault_http import Request

__all__ = ["ROW"]

TOOL = {"name": "act", "inputSchema": {"type": "object"}}
RETRY_SECONDS = 2
BOMB = gzip.compress(b"x" * (256 * MEGABYTE), 9)

Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def _bytes(answer: bytes, *, cut: bool = False) -> Answer:
    async def say(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if cut:
            await writer.drain()
            writer.transport.abort()

    return say


async def _nothing(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _slow_head(request: Request, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" * 20:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)


FAULTS: dict[str, Answer] = {
    "500": _bytes(fault_http.http(500, b"oops", content_type="text/plain")),
    "502 with HTML": _bytes(fault_http.http(502, b"<html>Bad Gateway</html>", content_type="text/html")),
    "429": _bytes(fault_http.http(429, b"", f"Retry-After: {RETRY_SECONDS}")),
    "a redirect": _bytes(fault_http.http(302, b"", "Location: http://127.0.0.1:1/mcp")),
    "cut before the answer": _nothing,
    "cut within the stream": _bytes(fault_http.SSE_HEAD + b"20\r\ndata: {", cut=True),
    "a chunk cut short": _bytes(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
        cut=True,
    ),
    "a gzip bomb": _bytes(fault_http.http(200, BOMB, "Content-Encoding: gzip")),
    "a slow head": _slow_head,
    "no JSON": _bytes(fault_http.http(200, b"nonsense")),
}


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found = Figures()
    names = list(FAULTS)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        method = request.message.get("method")
        if method == "server/discover":
            writer.write(fault_http.discovered(request, tools={}))
        elif method == "tools/list":
            listed = {"tools": [TOOL], "resultType": "complete"}
            writer.write(fault_http.http(200, fault_http.result(request, listed)))
        elif method == "tools/call":
            await FAULTS[names[int(request.target.rpartition("/")[2])]](request, writer)

    more = {f"ill{number}": {"limits": {"call": "2s", "message": "8MiB"}} for number in range(len(names))}
    times, unanswered, advised = [], [], None
    async with (
        fault_http.serve(answer) as server,
        start(folder, {**_urls(server, len(names)), "good": WORKER}, more=more) as place,
        opened(place, "me", "me") as (agent, other),
    ):
        memory, others = place.memory(), Others()
        place.forget()
        async with others.calling(other, "good", 50):
            for number, chosen in enumerate(names):
                began = time.perf_counter()
                said = await agent.call(f"ill{number}", "act", 10)
                times.append(time.perf_counter() - began)
                if said.status <= 0 or said.good:
                    unanswered.append(chosen)
                if chosen == "429" and isinstance(said.message, dict):
                    advised = said.message.get("error", {}).get("data", {}).get("retry_after_seconds")
                asked = len(server.of("tools/call"))
        grown = place.memory("VmHWM") - memory
        follow = await _rests(agent, server)
    found.say(f"{len(FAULTS)} faults, {len(unanswered)} without an error {unanswered or ''}", not unanswered)
    found.say(
        f"errors within {milliseconds(max(times))} at most (limit 2 s)", max(times) < 2 + scale.bound(0.5)
    )
    found.say(f"429: told to come again in {advised} s", advised is not None and advised <= RETRY_SECONDS + 1)
    found.say(f"{asked} calls reached the server; of 20 more to the one of 500s: {follow}", follow < 20)
    found.say(f"memory +{grown / MEGABYTE:.0f} MB at most", grown < 40 * MEGABYTE)
    found.say(f"others: {others.errors} errors, p99 {milliseconds(at(others.times, 99))}", not others.errors)
    return found


def _urls(server: fault_http.Faulty, count: int) -> dict[str, str]:
    return {f"ill{number}": f"http://127.0.0.1:{server.port}/{number}" for number in range(count)}


async def _rests(agent: Agent, server: fault_http.Faulty) -> int:
    """How many of 20 quick calls reach a server that has failed all the while."""
    before = len(server.of("tools/call"))
    for _ in range(20):
        await agent.call("ill0", "act", 10)
    return len(server.of("tools/call")) - before


ROW = Row(
    "R5",
    "an HTTP server that breaks off, answers nonsense, or says 429",
    "an error each time, within the limit; Retry-After passed on; a server that fails on is left alone; "
    "memory +< 40 MB",
    run,
)
