"""A server that tells of changes, as its tools say; raw JSON, so that it starts in no time.

    python teller.py FILE [--modern] [--refuse URI] [--late URI]

Adds a line to FILE for each start and each request but tool calls: its method, and what it asks for.
Tools: `say` prints a notification, some times over; `add` and `drop` change its resources without a
word; `storm` prints as many as asked for a second, from a thread; `crash` ends the process; `echo`.
`--refuse`: it does not tell of this one. `--late`: it has this one too, from the first listener on.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

FILE, MODERN = Path(sys.argv[1]), "--modern" in sys.argv
LATE = sys.argv[sys.argv.index("--late") + 1] if "--late" in sys.argv else None
REFUSED = sys.argv[sys.argv.index("--refuse") + 1] if "--refuse" in sys.argv else None
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
KINDS = ("tools", "prompts", "resources")
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True, "listChanged": True}}

resources = ["note://one", "note://two"]
streams: dict[int, dict[str, Any]] = {}
subscribed: set[str] = set()
lock = threading.Lock()


def note(line: str) -> None:
    with FILE.open("a") as file:
        file.write(line + "\n")


def say(message: dict[str, Any]) -> None:
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def marks(method: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    """The `_meta` of each copy of a notification that somebody asked for."""
    uri = params.get("uri", "")
    if not MODERN:
        return [{}] if method != "notifications/resources/updated" or uri in subscribed else []
    kind = method.split("/")[1]
    return [
        {SUBSCRIPTION: id}
        for id, wanted in streams.items()
        if (wanted.get(f"{kind}ListChanged") if "list" in method else uri in wanted["resourceSubscriptions"])
    ]


def tell(method: str, params: dict[str, Any]) -> None:
    for mark in marks(method, params):
        meta = {**params.get("_meta", {}), **mark}
        say({"method": method, "params": {**params, **({"_meta": meta} if meta else {})}})


def storm(method: str, params: dict[str, Any], seconds: float, each_second: int) -> None:
    began = time.monotonic()
    for tick in range(int(seconds * 100)):
        for mark in marks(method, params):
            line = json.dumps({"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": mark}})
            with lock:
                sys.stdout.write((line + "\n") * (each_second // 100))
                sys.stdout.flush()
        time.sleep(max(0.0, began + (tick + 1) / 100 - time.monotonic()))
    note("storm is over")


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if name == "crash":
        sys.exit("tripped over the cat")
    if name == "say":
        for _ in range(arguments.get("times", 1)):
            tell(arguments["method"], arguments.get("params", {}))
    if name == "add":
        resources.append(arguments["uri"])
    if name == "drop":
        resources.remove(arguments["uri"])
    if name == "storm":
        threading.Thread(target=storm, kwargs=arguments, daemon=True).start()
    return {"content": [{"type": "text", "text": json.dumps(arguments)}]}


def listen(id: int, wanted: dict[str, Any]) -> None:
    uris = [uri for uri in wanted.get("resourceSubscriptions", []) if uri != REFUSED]
    note(f"listen {' '.join(uris)}".strip())
    if LATE is not None and LATE not in resources:
        resources.append(LATE)
    agreed = {**wanted, "resourceSubscriptions": uris}
    streams[id] = agreed
    about = {"_meta": {SUBSCRIPTION: id}, "notifications": agreed}
    say({"method": "notifications/subscriptions/acknowledged", "params": about})


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "server/discover":
        return {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES}
    if method == "initialize":
        version, about = params["protocolVersion"], {"name": "teller", "version": "1"}
        return {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": about}
    if method == "tools/list":
        names = ("say", "add", "drop", "storm", "crash", "echo")
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
    if method == "resources/list":
        return {"resources": [{"uri": uri, "name": uri} for uri in resources]}
    if method == "resources/templates/list":
        return {"resourceTemplates": []}
    if method == "resources/read":
        return {"contents": [{"uri": params["uri"], "text": "a note"}]}
    return {}


note("start")
for line in sys.stdin:
    message = json.loads(line)
    method, params, id = message["method"], message.get("params", {}), message.get("id")
    if method == "notifications/cancelled":
        streams.pop(params["requestId"], None)
    if id is None:
        continue
    if method == "tools/call":
        say({"id": id, "result": call(params["name"], params.get("arguments", {}))})
        continue
    if method == "subscriptions/listen" and MODERN:
        listen(id, params["notifications"])
        continue
    uri = params.get("uri", "")
    note(f"{method} {uri}".strip())
    if (method == "server/discover") != MODERN and method in ("server/discover", "initialize"):
        say({"id": id, "error": {"code": -32601, "message": "Method not found"}})
    elif method == "resources/subscribe" and uri == REFUSED:
        say({"id": id, "error": {"code": -31007, "message": "not this one"}})
    else:
        if method == "resources/subscribe":
            subscribed.add(uri)
        if method == "resources/unsubscribe":
            subscribed.discard(uri)
        say({"id": id, "result": answer(method, params)})
