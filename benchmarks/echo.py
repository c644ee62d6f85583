"""The MCP servers behind every gateway here, all in one process, in both eras; it counts what it is asked.

`/mcp` has the tools of `TOOLS`. `/many/N/ANY/mcp` is a server with N tools, for lists; `/counts` says how
often each method was asked for. Raw asyncio and httptools, JSON answers only. It checks nothing: it must cost
next to nothing.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from functools import lru_cache
from typing import Any, Final, cast

import httptools
import orjson
import uvloop

from benchmarks import versions

__all__ = ["LARGE_BYTES", "TOOLS", "main", "result_of"]

LARGE_BYTES: Final = 1024 * 1024

TOOLS: Final = {
    "echo": "Says what it was told.",
    "change": "Says what it was told, and could have changed something.",
    "large": "One text of 1 MiB.",
    "hang": "Never answers.",
}
"""Descriptions by name. A gateway may rename a tool, and is expected to leave its description alone."""

INFO = {"name": "echo", "version": "1.0.0"}
LASTING = {"ttlMs": 3_600_000, "cacheScope": "public"}
LARGE = "x" * LARGE_BYTES


def tool(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return {"name": name, "description": description, "inputSchema": schema}


@lru_cache
def tools_of(many: int) -> list[dict[str, Any]]:
    """Of a server for lists; each is about 600 bytes, as definitions are. 0: the tools of `TOOLS`."""
    if not many:
        return [tool(name, description) for name, description in TOOLS.items()]
    words = "Finds the entries that fit what was asked for, and says of each where it is and what it holds. "
    found = [tool(f"t{number:02}", words * 3) for number in range(many)]
    for each in found:
        each["inputSchema"]["properties"]["limit"] = {
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "description": "How many at most.",
        }
    return found


def result_of(method: str, params: dict[str, Any], many: int = 0) -> dict[str, Any] | None:
    """`None` where there is no such method."""
    if method == "tools/call":
        text = LARGE if params["name"] == "large" else params["arguments"]["text"]
        return {"content": [{"type": "text", "text": text}], "resultType": "complete"}
    if method == "tools/list":
        return {"tools": tools_of(many), "resultType": "complete", **LASTING}
    if method == "server/discover":
        return {
            "supportedVersions": [versions.MODERN],
            "capabilities": {"tools": {}},
            "resultType": "complete",
            "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
            **LASTING,
        }
    if method == "initialize":
        return {"protocolVersion": versions.LEGACY, "capabilities": {"tools": {}}, "serverInfo": INFO}
    return {} if method == "ping" else None


class Echo(asyncio.Protocol):
    """One connection."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.parts: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        body, self.parts = b"".join(self.parts), []
        if self.url == b"/counts":
            self.answer(orjson.dumps(self.counts))
            return
        if self.parser.get_method() != b"POST":
            self.transport.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        message = orjson.loads(body)
        method, params = message["method"], message.get("params") or {}
        self.counts[method] += 1
        if "id" not in message:
            self.transport.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            return
        if method == "tools/call" and params["name"] == "hang":
            return
        many = int(self.url.split(b"/")[2]) if self.url.startswith(b"/many/") else 0
        result = result_of(method, params, many)
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        if result is None:
            answer["error"] = {"code": -32601, "message": "Method not found"}
        else:
            answer["result"] = result
        self.answer(orjson.dumps(answer))

    def answer(self, written: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(written), written)
        )


async def serve(port: int) -> None:
    counts: Counter[str] = Counter()
    server = await asyncio.get_running_loop().create_server(lambda: Echo(counts), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.echo", description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    uvloop.run(serve(arguments.parse_args().port))


if __name__ == "__main__":
    main()
