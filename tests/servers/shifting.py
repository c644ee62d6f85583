"""A server whose tools are what a file says they are; raw JSON, so that it starts in no time.

    python shifting.py FOLDER modern|legacy

Its tools are those of FOLDER/tools.json, read anew for each list; FOLDER/instructions, where there is one, is
what it says of itself. Each tool gives its arguments back as JSON text and adds its name to FOLDER/receipts:
all but `turn`, which says that the list has changed, `mute`, from which on a modern one says no more of that,
and `die`, which kills the process (SIGKILL).
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

FOLDER, MODERN = Path(sys.argv[1]), sys.argv[2] == "modern"
CHANGED = "notifications/tools/list_changed"
listens: list[Any] = []
muted = False


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def result(id: object, value: dict[str, Any]) -> None:
    say({"id": id, "result": {**value, "resultType": "complete"} if MODERN else value})


def call(id: object, name: str, arguments: dict[str, Any]) -> None:
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "turn" and not MODERN:
        say({"method": CHANGED})
    elif name == "mute":
        global muted
        muted = True
        for listen in listens:
            result(listen, {})
    elif name == "turn":
        for listen in listens:
            say({"method": CHANGED, "params": meta_of(listen)})
    else:
        with (FOLDER / "receipts").open("a") as file:
            file.write(f"{name}\n")
    result(id, {"content": [{"type": "text", "text": json.dumps(arguments)}]})


def meta_of(listen: object) -> dict[str, Any]:
    return {"_meta": {"io.modelcontextprotocol/subscriptionId": listen}}


def answer(id: Any, method: str, params: dict[str, Any]) -> None:
    capabilities = {"tools": {"listChanged": True}}
    words = FOLDER / "instructions"
    more = {"instructions": words.read_text()} if words.exists() else {}
    if method == "server/discover" and MODERN:
        info = {"io.modelcontextprotocol/serverInfo": {"name": "shifting", "version": "1"}}
        result(id, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "_meta": info, **more})
    elif method == "initialize" and not MODERN:
        about = {"name": "shifting", "version": "1"}
        version = params["protocolVersion"]
        result(id, {"protocolVersion": version, "capabilities": capabilities, "serverInfo": about, **more})
    elif method == "tools/list":
        result(id, {"tools": json.loads((FOLDER / "tools.json").read_text())})
    elif method == "tools/call":
        call(id, params["name"], params.get("arguments", {}))
    elif method == "subscriptions/listen" and muted:
        pass
    elif method == "subscriptions/listen" and MODERN:
        listens.append(id)
        wanted = params.get("notifications", {})
        said = {**meta_of(id), "notifications": wanted}
        say({"method": "notifications/subscriptions/acknowledged", "params": said})
    elif id is not None:
        say({"id": id, "error": {"code": -32601, "message": "Method not found"}})


for line in sys.stdin:
    message = json.loads(line)
    if "method" in message:
        answer(message.get("id"), message["method"], message.get("params", {}))
