"""A server that changes by itself, a moment after it was told to. Raw JSON, legacy era.

`later` answers, and has one tool more 50 ms afterwards: `grown1`, `grown2` and so on, which say their names.
The resource `grower://size` says how many tools there are.
"""

import json
import sys
import threading
from typing import Any

LATER_SECONDS = 0.05
speaking = threading.Lock()
tools = ["later"]
watched: set[str] = set()
SIZE = "grower://size"


def say(message: dict[str, Any]) -> None:
    with speaking:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def grow() -> None:
    tools.append(f"grown{len(tools)}")
    say({"method": "notifications/tools/list_changed"})
    for uri in watched:
        say({"method": "notifications/resources/updated", "params": {"uri": uri}})


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        info = {"name": "grower", "version": "1"}
        can = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
        return {"protocolVersion": params["protocolVersion"], "capabilities": can, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in tools]}
    if method == "resources/list":
        return {"resources": [{"uri": SIZE, "name": "size"}]}
    if method == "resources/templates/list":
        return {"resourceTemplates": []}
    if method == "resources/read":
        return {"contents": [{"uri": SIZE, "text": str(len(tools))}]}
    if method == "resources/subscribe":
        watched.add(params["uri"])
    if method == "resources/unsubscribe":
        watched.discard(params["uri"])
    if method == "tools/call":
        if params["name"] == "later":
            threading.Timer(LATER_SECONDS, grow).start()
        return {"content": [{"type": "text", "text": params["name"]}]}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        say({"id": message["id"], "result": answer(message["method"], message.get("params", {}))})
