"""A server that keeps what it was sent and answers what it was told, to the byte. Both eras, stdio and HTTP.

Over stdio: `python dictated.py modern|legacy NAME FOLDER`; what a use of anything is answered stands in
FOLDER/answer (`"result": …` or `"error": …`), and the line that asked goes to FOLDER/asked. Over HTTP the
two are fields of `Dictated`, in the process of the test.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

Era = Literal["modern", "legacy"]

SECONDS = 5

CAPABILITIES: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}}
USES = ("tools/call", "resources/read", "prompts/get", "completion/complete")


def offered(name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """By list: the key of its result, and the one thing that stands in it. URIs are the server's own."""
    return {
        "tools/list": ("tools", {"name": "echo", "inputSchema": {"type": "object"}}),
        "resources/list": ("resources", {"uri": f"{name}://one", "name": "one"}),
        "resources/templates/list": ("resourceTemplates", {"uriTemplate": f"{name}://{{id}}", "name": "any"}),
        "prompts/list": ("prompts", {"name": "greet"}),
    }


def outcome(era: Era, name: str, method: str) -> str | None:
    """What everything is answered that uses nothing; `None` for what does."""
    if method in USES:
        return None
    result: dict[str, Any] | None = None
    if method == "server/discover" and era == "modern":
        result = {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "resultType": "complete"}
    elif method == "initialize" and era == "legacy":
        info = {"name": "dictated", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": info}
    elif method in (lists := offered(name)):
        key, only = lists[method]
        result = {key: [only], "resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    elif method == "ping":
        result = {}
    if result is None:
        return '"error":{"code":-32601,"message":"Method not found"}'
    return f'"result":{json.dumps(result)}'


class Dictated:
    """One server. `lists` is what it answers instead of what it offers, as JSON text by method."""

    def __init__(self, era: Era, name: str) -> None:
        self.era: Era = era
        self.name = name
        self.answer = '"result":{}'
        self.asked = b""
        self.lists: dict[str, str] = {}
        self.head = ""
        """The newest request's over HTTP, in lower case."""
        self.heard: list[str] = []
        """The method of every message so far."""
        self._serving: set[asyncio.Task[None] | None] = set()

    def reply(self, body: bytes) -> str | None:
        """The text that answers one message; `None` for a notification."""
        message = json.loads(body)
        self.heard.append(message.get("method", ""))
        if "id" not in message:
            return None
        method = message["method"]
        said = self.lists.get(method) or outcome(self.era, self.name, method)
        if said is None:
            self.asked, said = body, self.answer
        return f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},{said}}}'

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with as many requests as come."""
        task: asyncio.Task[None] | None = asyncio.current_task()
        self._serving.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = head.partition("content-length:")[2].partition("\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                self.head = head
                said = self.reply(body) if head.startswith("post") else ""
                if said:
                    text = said.encode("utf-8", "surrogatepass")
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                    writer.write(b"content-length: %d\r\n\r\n" % len(text) + text)
                else:
                    status = b"202 Accepted" if head.startswith("post") else b"405 Method Not Allowed"
                    writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self._serving.discard(task)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serve on a port of localhost while the block runs, and yield the URL."""
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
            server.close()
            # Whoever connected has left by now; what they left behind is closed before the loop is.
            if serving := [task for task in self._serving if task is not None]:
                await asyncio.wait(serving, timeout=SECONDS)


def main(era: Era, name: str, folder: Path) -> None:
    """Over stdio, until the input ends."""
    server = Dictated(era, name)
    for line in sys.stdin.buffer:
        server.answer = (folder / "answer").read_text("utf-8")
        server.asked = b""
        said = server.reply(line)
        if server.asked:
            (folder / "asked").write_bytes(server.asked)
        if said is not None:
            sys.stdout.buffer.write(said.encode("utf-8", "surrogatepass") + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main("modern" if sys.argv[1] == "modern" else "legacy", sys.argv[2], Path(sys.argv[3]))
