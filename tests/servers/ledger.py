"""A server that keeps a ledger on disk: what really happened at a server, whatever became of the hub.

    python ledger.py FOLDER [--stubborn]

Each start adds its process id to FOLDER/starts. `append` writes its `key` to FOLDER/receipts, works for
5 ms, and answers, but not where it is to be `open`; `look` changes nothing and says so; `tick` reports
progress every 20 ms until it is cancelled, and writes its `key` to FOLDER/cancelled then. `--stubborn`
stays when its stdin has ended.
Raw JSON, modern era.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
SCHEMA = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
TOOLS = [
    {"name": "look", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True}},
    {"name": "append", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": False}},
    {"name": "tick", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True}},
]
TICK_SECONDS = 0.02
WORK_SECONDS = 0.005

speaking = threading.Lock()
ticking: dict[Any, threading.Event] = {}


def say(message: dict[str, Any]) -> None:
    with speaking:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def answer(id: Any, result: dict[str, Any]) -> None:
    say({"id": id, "result": {**result, "resultType": "complete"}})


def write(file: str, line: str) -> None:
    # One write to a file opened for appending is whole, also when this process is killed after it.
    descriptor = os.open(FOLDER / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode() + b"\n")
    os.close(descriptor)


def tick(id: Any, token: Any, key: str) -> None:
    steps, ended = 0, ticking[id]
    while not ended.wait(TICK_SECONDS):
        steps += 1
        say({"method": "notifications/progress", "params": {"progressToken": token, "progress": steps}})
    write("cancelled", key)


def call(id: Any, params: dict[str, Any]) -> None:
    name, key = params["name"], params["arguments"]["key"]
    if name == "tick":
        ticking[id] = threading.Event()
        given = (id, params["_meta"].get("progressToken"), key)
        threading.Thread(target=tick, args=given, daemon=True).start()
        return
    if name == "append":
        write("receipts", key)
        if params["arguments"].get("open"):
            return
        time.sleep(WORK_SECONDS)
    answer(id, {"content": [{"type": "text", "text": key}]})


write("starts", str(os.getpid()))
for line in sys.stdin:
    message = json.loads(line)
    method, params = message["method"], message.get("params", {})
    if method == "notifications/cancelled":
        if params["requestId"] in ticking:
            ticking[params["requestId"]].set()
    elif method == "server/discover":
        about = {"io.modelcontextprotocol/serverInfo": {"name": "ledger", "version": "1"}}
        answer(
            message["id"],
            {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "_meta": about},
        )
    elif method == "tools/list":
        answer(message["id"], {"tools": TOOLS})
    elif method == "tools/call":
        call(message["id"], params)
if "--stubborn" in sys.argv:
    signal.pause()
