"""A server that breaks one rule, named by its first argument. Legacy era, as most such servers are.

Before the handshake: `dies`, `silent`, `banner`, `garbage_first`.
In the handshake: `null_id`, `refuses`.
At a `tools/call`: `garbage`, `utf8`, `huge`, `json`, `nan`, `surrogate`, `string_id`, `wrong_id`, `twice`,
`no_result`, `closes_stdout`, `drip` (one byte a second), `killed`,
`late` (answers twice what was cancelled),
`torrent` (300 MB and no newline), `storm` (10,000 list_changed a second for three seconds; says how often
its list was asked for).
At a `tools/list`: `endless`, `deafens` (reads nothing any more after it has answered).
After the handshake: `changes` (20,000 list_changed), `stderr` (a flood), `asks` (pings without reading),
`deaf` (reads nothing any more), `stubborn` (ignores EOF and TERM).
"""

import json
import os
import signal
import sys
import threading
import time
from typing import Any

MODE = sys.argv[1]
HUGE = 3_000_000
TORRENT_BYTES = 300_000_000
STORM_SECONDS = 3
ANSWERS: list[str] = []
LISTED = 0
CHANGED = json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}) + "\n"


def raw(text: str | bytes) -> None:
    sys.stdout.buffer.write(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    sys.stdout.buffer.flush()


def say(message: dict[str, Any]) -> None:
    raw(json.dumps({"jsonrpc": "2.0", **message}) + "\n")


def call(id: int) -> None:
    good = {"content": [{"type": "text", "text": "good"}]}
    forged = {"content": [{"type": "text", "text": "forged"}]}
    if MODE == "garbage":
        raw("Whoops: \x1b[31mit went wrong\n")
    elif MODE == "utf8":
        raw(b'{"jsonrpc":"2.0","id":%d,"result":{"content":"\xc3\x28"}}\n' % id)
    elif MODE == "huge":
        raw("x" * HUGE)
    elif MODE == "json":
        raw('{"level":"info","msg":"a log line"}\n')
    elif MODE == "nan":
        raw(f'{{"jsonrpc":"2.0","id":{id},"result":{{"content":NaN}}}}\n')
    elif MODE == "surrogate":
        raw(f'{{"jsonrpc":"2.0","id":{id},"result":{{"content":"cut \\ud83d"}}}}\n')
    elif MODE == "string_id":
        say({"id": str(id), "result": forged})
        say({"id": id, "result": good})
    elif MODE == "wrong_id":
        say({"id": id + 1000, "result": forged})
        raw(f'{{"jsonrpc":"2.0","id":{id}.0,"result":{{}}}}\n')
        say({"id": id, "result": good})
    elif MODE == "twice":
        say({"id": id, "result": good})
        say({"id": id, "result": forged})
    elif MODE == "no_result":
        say({"id": id, "result": "text"})
    elif MODE == "closes_stdout":
        sys.stdout.flush()
        os.close(1)
        time.sleep(60)
    elif MODE == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif MODE == "asks":
        say({"id": id, "result": {"answers": len(ANSWERS)}})
    elif MODE == "torrent":
        for _ in range(TORRENT_BYTES // 1_000_000):
            raw("x" * 1_000_000)
    elif MODE == "storm":
        threading.Thread(target=storm, args=[id], daemon=True).start()
    elif MODE == "late":
        pass  # Answers at the cancellation.
    elif MODE == "drip":
        threading.Thread(target=drip, args=[id], daemon=True).start()
    else:
        say({"id": id, "result": good})


def drip(id: int) -> None:
    for letter in json.dumps({"jsonrpc": "2.0", "id": id, "result": {"content": []}}):
        raw(letter)
        time.sleep(1)


def storm(id: int) -> None:
    began = time.monotonic()
    for tick in range(STORM_SECONDS * 100):
        raw(CHANGED * 100)
        time.sleep(max(0.0, began + (tick + 1) / 100 - time.monotonic()))
    say({"id": id, "result": {"content": [{"type": "text", "text": str(LISTED)}]}})


def list_tools(id: int) -> None:
    global LISTED
    LISTED += 1
    result: dict[str, Any] = {"tools": [{"name": "act", "inputSchema": {"type": "object"}}]}
    if MODE == "endless":
        result = {"tools": [{**result["tools"][0], "name": f"act{LISTED}"}], "nextCursor": f"page {LISTED}"}
    say({"id": id, "result": result})
    if MODE == "deafens":
        time.sleep(600)


def after_handshake() -> None:
    if MODE == "changes":
        raw(CHANGED * 20_000)
    elif MODE == "stderr":
        os.write(2, b"\x1b[31mred\x1b[0m bell\x07 " + b"y" * 10_000 + b"\n")
        for _ in range(200):
            os.write(2, b"flood\n" * 1_000)
    elif MODE == "asks":
        for number in range(20_000):
            raw(f'{{"jsonrpc":"2.0","id":"{number}{"x" * 1000}","method":"ping"}}\n')
    elif MODE == "deaf":
        time.sleep(60)


if MODE == "dies":
    sys.stderr.write("starting\nno such database: tea\n")
    sys.exit(7)
if MODE == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if MODE == "banner":
    raw("Welcome to the tea server!\n\n42\n")
if MODE == "garbage_first":
    raw("rubbish\n" * 100)
for line in sys.stdin:
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    if MODE == "silent":
        continue
    if method is None:
        ANSWERS.append(id)
        continue
    if method == "initialize" and MODE == "refuses":
        sys.stderr.write("the licence has run out\n")
        sys.stderr.flush()
        say({"id": id, "error": {"code": -32000, "message": "no"}})
    elif method == "initialize":
        say(
            {
                "id": id,
                "result": {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "misbehaving", "version": "1"},
                },
            }
        )
    elif method == "notifications/initialized":
        after_handshake()
    elif method == "tools/list":
        list_tools(id)
    elif method == "tools/call":
        call(id)
    elif method == "notifications/cancelled" and MODE == "late":
        for text in ("late", "later"):
            say(
                {
                    "id": message["params"]["requestId"],
                    "result": {"content": [{"type": "text", "text": text}]},
                }
            )
    elif MODE == "null_id" and id is not None:
        say({"id": None, "error": {"code": -32600, "message": "what?"}})
    elif id is not None:
        say({"id": id, "error": {"code": -32601, "message": "Method not found"}})
while MODE == "stubborn":
    time.sleep(1)
