"""A well-behaved server on raw JSON, so that it starts in no time.

    python echo_stdio.py modern|legacy [PATH]

Tools: `echo` gives its arguments back; `environment` gives the environment, the working directory
and the argv of the process; `progress` reports twice before it answers; `log` writes a log message
before it answers; `ask` (legacy) asks the client `elicitation/create` and gives back what it said;
`slow` answers never, but when it is cancelled a notification `notifications/noticed` names its id;
`seen` gives the params of its own request and of the handshake. `subscriptions/listen` (modern)
gets an acknowledgement and one change, and ends when a tool `end_listen` is called.
With PATH, its process id is written there.
"""

import json
import os
import sys
from typing import Any


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def result(id: object, value: dict[str, Any]) -> None:
    say({"id": id, "result": {**value, "resultType": "complete"} if MODERN else value})


def error(id: object, code: int, text: str) -> None:
    say({"id": id, "error": {"code": code, "message": text}})


def structured(id: object, value: object) -> None:
    result(id, {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": value})


def call(id: object, params: dict[str, Any]) -> None:
    name, arguments, meta = params["name"], params.get("arguments", {}), params.get("_meta", {})
    if name == "echo":
        structured(id, arguments)
    elif name == "environment":
        structured(id, {"env": dict[str, Any](os.environ), "cwd": os.getcwd(), "argv": sys.argv[1:]})
    elif name == "seen":
        structured(id, {"params": params, "handshake": SEEN})
    elif name == "progress":
        for step in (1, 2):
            say(
                {
                    "method": "notifications/progress",
                    "params": {"progressToken": meta.get("progressToken"), "progress": step},
                }
            )
        structured(id, {})
    elif name == "log":
        say({"method": "notifications/message", "params": {"level": "info", "data": "working"}})
        structured(id, {})
    elif name == "ask":
        ASKED["q1"] = id
        say({"id": "q1", "method": "elicitation/create", "params": {"message": "Your name?"}})
    elif name == "ping":
        ASKED["p1"] = id
        say({"id": "p1", "method": "ping"})
    elif name == "end_listen":
        for listen in LISTENS:
            say({"method": "notifications/cancelled", "params": {"requestId": listen}})
        structured(id, {})
    elif name == "fail":
        error(id, -32050, "out of tea")
    elif name == "exit":
        sys.stderr.write("first words\nthe tea is out\n")
        sys.stderr.flush()
        sys.exit(3)
    elif name != "slow":
        error(id, -32602, f"Unknown tool: {name}")


def answer(message: dict[str, Any]) -> None:
    method, id, params = message.get("method"), message.get("id"), message.get("params", {})
    if method is None:
        structured(ASKED.pop(str(id)), {key: message[key] for key in ("result", "error") if key in message})
    elif method == "server/discover" and MODERN:
        SEEN.append(params)
        info = {"io.modelcontextprotocol/serverInfo": {"name": "echo", "version": "1"}}
        capabilities = {"tools": {"listChanged": True}}
        result(id, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "_meta": info})
    elif method == "initialize" and not MODERN:
        SEEN.append(params)
        result(
            id,
            {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"},
                "instructions": "Say something.",
            },
        )
    elif method == "tools/list":
        result(id, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        call(id, params)
    elif method == "subscriptions/listen" and MODERN:
        LISTENS.append(id)
        meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": id}}
        say({"method": "notifications/subscriptions/acknowledged", "params": {**meta, "notifications": {}}})
        say({"method": "notifications/tools/list_changed", "params": meta})
    elif method == "notifications/cancelled":
        say({"method": "notifications/noticed", "params": params})
    elif method == "notifications/initialized":
        SEEN.append({"initialized": True})
    elif id is not None:
        error(id, -32601, f"Method not found: {method}")


MODERN = sys.argv[1] == "modern"
SEEN: list[Any] = []
ASKED: dict[str, Any] = {}
LISTENS: list[Any] = []
if len(sys.argv) > 2:
    with open(sys.argv[2], "w") as file:
        file.write(str(os.getpid()))
for line in sys.stdin:
    answer(json.loads(line))
