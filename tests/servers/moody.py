"""A server whose moods are chosen by its tools; raw JSON, legacy era, so that it starts in no time.

    python moody.py [FILE] [--slow-start] [--die]

Each start adds a line to FILE. Tools: `echo` gives its arguments back as JSON text; `crash` ends the
process; `hang` never answers; `grow` adds a tool and says so; `count` gives how many calls came.
`--slow-start` waits until FILE.go exists before it answers anything; `--die` ends at once with words.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FILE = Path(sys.argv[1])
with FILE.open("a") as file:
    file.write(f"{os.getpid()}\n")
if "--die" in sys.argv:
    sys.exit("the cellar is flooded")
if "--slow-start" in sys.argv:
    while not FILE.with_suffix(".go").exists():
        time.sleep(0.01)

tools = ["echo", "crash", "hang", "grow", "count"]
calls = 0


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    global calls
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "moody", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in tools]}
    calls += 1
    name, arguments = params["name"], params.get("arguments", {})
    if name == "crash":
        sys.exit("tripped over the cat")
    if name == "grow":
        tools.append(arguments["name"])
        say({"method": "notifications/tools/list_changed"})
    text = str(calls) if name == "count" else json.dumps(arguments)
    return {"content": [{"type": "text", "text": text}]}


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    if message["method"] == "server/discover":
        say({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
    elif message["method"] != "tools/call" or message["params"]["name"] != "hang":
        say({"id": message["id"], "result": answer(message["method"], message.get("params", {}))})
