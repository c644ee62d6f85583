"""A small server that asks what its caller tells it to, and writes down all that it is sent.

`python asker.py LOG` speaks 2025-11-25 over stdio, `python asker.py LOG --modern` 2026-07-28. Its one
tool is `ask`: `method` and `params` of the question, and how many `times` it is asked (modern) or only
wants to be called again (`silent`). It checks nothing of what its client declared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TOOL = {"name": "ask", "inputSchema": {"type": "object"}}
FORM = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}

LOG = Path(sys.argv[1])
IS_MODERN = "--modern" in sys.argv
SAID = {"capabilities": {"tools": {}}, "serverInfo": {"name": "asker", "version": "1"}}

asked: dict[str, Any] = {}
"""By question, the call that asks it."""


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def question(arguments: Any) -> Any:
    return {
        "method": arguments.get("method", "elicitation/create"),
        "params": arguments.get("params", FORM),
    }


def answered(answer: Any) -> Any:
    return {"content": [{"type": "text", "text": json.dumps(answer)}], "resultType": "complete"}


def call(id: Any, params: Any) -> None:
    arguments = params.get("arguments", {})
    rounds = int(params.get("requestState", 0))
    if not IS_MODERN:
        asked[f"of {id}"] = id
        send(id=f"of {id}", **question(arguments))
    elif rounds < arguments.get("times", 1):
        state = str(rounds + 1)
        asking = {"inputRequests": {"it": question(arguments)}} if not arguments.get("silent") else {}
        send(id=id, result={"resultType": "input_required", "requestState": state, **asking})
    else:
        send(id=id, result=answered(params.get("inputResponses")))


def take(message: Any) -> None:
    method, id, params = message.get("method"), message.get("id"), message.get("params", {})
    if method is None:
        if id in asked:
            send(id=asked.pop(id), result=answered(message.get("result", message.get("error"))))
    elif method == "tools/call":
        call(id, params)
    elif method == "tools/list":
        send(id=id, result={"tools": [TOOL]})
    elif method == "initialize" and not IS_MODERN:
        send(id=id, result={"protocolVersion": "2025-11-25", **SAID})
    elif method == "server/discover" and IS_MODERN:
        send(id=id, result={"supportedVersions": ["2026-07-28"], **SAID})
    elif id is not None:
        send(id=id, error={"code": -32601, "message": "Method not found"})


with LOG.open("a") as log:
    for line in sys.stdin:
        log.write(line)
        log.flush()
        take(json.loads(line))
