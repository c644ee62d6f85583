"""A server that says far too much, over stdio, raw JSON; how is its first argument.

`wide`: one of its resources is described with 300,000 characters. `long`: its list of resources has no end,
in pages of 4 MiB. `scrawls`: it refuses that list, with line breaks and colours in what it says. `refuses`:
so it does with the handshake.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MODE = sys.argv[1]
ABLE: dict[str, Any] = {"tools": {}, "resources": {}}
SCRAWL = "no\nWARNING hub: all is well\x1b]0;owned\x07\x1b[2J\u202e\r\n"
pages = 0


def resources() -> dict[str, Any]:
    global pages
    pages += 1
    if MODE == "long":
        long = {"uri": f"x://{pages}", "name": "x", "description": "x" * (4 * 1024 * 1024)}
        return {"resources": [long], "nextCursor": str(pages)}
    wide = {"uri": "x://wide", "name": "wide", "description": "x" * 300_000}
    return {"resources": [{"uri": "x://one", "name": "one"}, wide]}


def answer(method: str) -> dict[str, Any]:
    if method == "initialize" and MODE == "refuses":
        return {"error": {"code": -32000, "message": SCRAWL}}
    if method == "initialize":
        about = {"name": "sprawling", "version": "1"}
        return {"result": {"protocolVersion": "2025-11-25", "capabilities": ABLE, "serverInfo": about}}
    if method == "tools/list":
        return {"result": {"tools": [{"name": "do", "inputSchema": {"type": "object"}}]}}
    if method == "resources/list" and MODE != "scrawls":
        return {"result": resources()}
    if method == "resources/list":
        return {"error": {"code": -32000, "message": SCRAWL}}
    return {"error": {"code": -32601, "message": "Method not found"}}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        said = {"jsonrpc": "2.0", "id": message["id"], **answer(message["method"])}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
