"""The MCP server behind every gateway here: one tool that says what it was told, in both eras.

Raw asyncio and httptools, JSON answers only. It checks nothing: it must cost next to nothing.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, cast

import httptools
import orjson
import uvloop

from benchmarks import versions

__all__ = ["main"]

TOOL = {
    "name": "echo",
    "description": "Says what it was told.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "annotations": {"readOnlyHint": True},
}
INFO = {"name": "echo", "version": "1.0.0"}
LASTING = {"ttlMs": 3_600_000, "cacheScope": "public"}


def result_of(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """`None` where there is no such method."""
    if method == "tools/call":
        text = params["arguments"]["text"]
        return {"content": [{"type": "text", "text": text}], "resultType": "complete"}
    if method == "tools/list":
        return {"tools": [TOOL], "resultType": "complete", **LASTING}
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)
        self.parts: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        body, self.parts = b"".join(self.parts), []
        if self.parser.get_method() != b"POST":
            self.transport.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        message = orjson.loads(body)
        if "id" not in message:
            self.transport.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            return
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        result = result_of(message["method"], message.get("params") or {})
        if result is None:
            answer["error"] = {"code": -32601, "message": "Method not found"}
        else:
            answer["result"] = result
        written = orjson.dumps(answer)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(written), written)
        )


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.echo", description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    uvloop.run(serve(arguments.parse_args().port))


if __name__ == "__main__":
    main()
