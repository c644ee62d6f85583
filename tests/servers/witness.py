"""A server that writes down all that it is sent, and offers one of everything. Raw JSON, modern era.

    python witness.py FOLDER

Every message goes to FOLDER/received, a line each. `tell_environment` answers what a process can see of its
surroundings; what it says of itself (`describe`) stands in FOLDER/description, if that is there.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
OPEN: dict[str, Any] = {"type": "object"}
NAMES = ("read", "write", "wipe", "commit", "tell_environment", "fail", "describe")
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}, "count": {"type": "integer"}}}


def tools() -> list[dict[str, Any]]:
    file = FOLDER / "description"
    said = file.read_text() if file.exists() else "Says what it is told to"
    return [{"name": name, "inputSchema": SCHEMA, "description": said} for name in NAMES]


def outcome(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "server/discover":
        able = {"tools": {}, "resources": {"subscribe": True}, "prompts": {}, "completions": {}}
        about = {"io.modelcontextprotocol/serverInfo": {"name": "witness", "version": "1"}}
        return {"supportedVersions": ["2026-07-28"], "capabilities": able, "_meta": about}
    if method == "tools/list":
        return {"tools": tools()}
    if method == "resources/list":
        uris = ("note://public/a", "note://secret/b")
        return {"resources": [{"uri": uri, "name": uri[-1]} for uri in uris]}
    if method == "resources/templates/list":
        return {"resourceTemplates": [{"uriTemplate": "note://{+path}", "name": "any"}]}
    if method == "prompts/list":
        return {"prompts": [{"name": "greet"}, {"name": "hidden"}]}
    if method == "tools/call":
        said = json.dumps(params.get("arguments", {}))
        if params["name"] == "tell_environment":
            said = json.dumps({"own": dict(os.environ), "argv": sys.argv})
        failed = params["name"] == "fail"
        return {"content": [{"type": "text", "text": said}], "isError": failed}
    if method == "resources/read":
        return {"contents": [{"uri": params["uri"], "text": "a note"}]}
    if method == "prompts/get":
        return {"messages": [{"role": "user", "content": {"type": "text", "text": "hello"}}]}
    if method == "completion/complete":
        return {"completion": {"values": ["one"]}}
    return None


received = os.open(FOLDER / "received", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    message = json.loads(line)
    os.write(received, line.encode())
    if "id" not in message:
        continue
    result = outcome(message["method"], message.get("params", {}))
    said: dict[str, Any] = {"error": {"code": -32601, "message": "Method not found"}}
    if result is not None:
        said = {"result": {**result, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}) + "\n")
    sys.stdout.flush()
