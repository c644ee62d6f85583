"""A good server for the fault table: raw JSON, legacy era, a thread for each call that takes its time.

    python worker.py [FOLDER]

Tools: `echo` gives its argument `text` back; `slow` the same after `ms` milliseconds, and once the file
`until` is there, where that is given; `work` as `slow`, but one after the other; `rows` gives a JSON text of
`count` rows; `hang` never answers; `die` kills the process (SIGKILL); `note` writes
its `text` to FOLDER/receipts, then answers; `pid` gives its process id.
"""

import json
import os
import signal
import sys
import threading
import time
from typing import Any

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "."
NAMES = ("echo", "slow", "work", "rows", "hang", "die", "note", "pid")
TOOLS = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in NAMES]
speaking = threading.Lock()
rows: dict[int, str] = {}
"""By their count: as they are said."""


def say(message: dict[str, Any]) -> None:
    with speaking:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def answer(id: Any, text: str) -> None:
    say({"id": id, "result": {"content": [{"type": "text", "text": text}]}})


def slowly(id: Any, arguments: dict[str, Any]) -> None:
    time.sleep(arguments["ms"] / 1000)
    while "until" in arguments and not os.path.exists(arguments["until"]):
        time.sleep(0.01)
    answer(id, arguments.get("text", ""))


def answer_rows(id: Any, count: int) -> None:
    if count not in rows:
        table = [{"id": f"R{n}", "name": f"row {n}", "size": n, "open": n % 2 == 0} for n in range(count)]
        rows[count] = json.dumps({"content": [{"type": "text", "text": json.dumps(table)}]})
    with speaking:
        sys.stdout.write(f'{{"jsonrpc": "2.0", "id": {json.dumps(id)}, "result": {rows[count]}}}\n')
        sys.stdout.flush()


def note(text: str) -> None:
    descriptor = os.open(os.path.join(FOLDER, "receipts"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, text.encode() + b"\n")
    os.close(descriptor)


def call(id: Any, name: str, arguments: dict[str, Any]) -> None:
    if name == "slow":
        threading.Thread(target=slowly, args=(id, arguments), daemon=True).start()
        return
    if name == "rows":
        answer_rows(id, arguments["count"])
        return
    if name == "work":
        time.sleep(arguments["ms"] / 1000)
    if name == "hang":
        return
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "note":
        note(arguments["text"])
    answer(id, str(os.getpid()) if name == "pid" else arguments.get("text", ""))


for line in sys.stdin:
    message = json.loads(line)
    id, method, params = message.get("id"), message.get("method"), message.get("params", {})
    if id is None or method is None:
        continue
    if method == "tools/call":
        call(id, params["name"], params.get("arguments", {}))
    elif method == "tools/list":
        say({"id": id, "result": {"tools": TOOLS}})
    elif method == "initialize":
        about = {"name": "worker", "version": "1"}
        version = params["protocolVersion"]
        say(
            {
                "id": id,
                "result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about},
            }
        )
    elif method == "ping":
        say({"id": id, "result": {}})
    else:
        say({"id": id, "error": {"code": -32601, "message": "Method not found"}})
