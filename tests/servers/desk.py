"""A server on raw JSON for the tests of the command line: every kind of entry, and rude words.

    python desk.py

Tools: `typed` gives its arguments back; `fail` says that it failed; `rude` answers with what a
terminal would obey; `work` reports progress, then answers; `hang` reports progress and never
answers; `pid` gives its process id; `die` ends the process. It writes one line to stderr when it
starts.
"""

import json
import os
import sys
from typing import Any

RUDE = "\x1b[31mred\x1b[0m \x1b]0;title\x07end\x08"
TYPED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "sure": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "where": {"$ref": "#/$defs/Place"},
        "perhaps": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
    "$defs": {"Place": {"type": "object"}},
}
TOOLS = [
    {"name": "typed", "description": "Gives its arguments back", "inputSchema": TYPED},
    {"name": "fail", "description": "Fails", "inputSchema": {"type": "object"}},
    {"name": "rude", "description": f"Writes {RUDE}", "inputSchema": {"type": "object"}},
    {"name": "work", "description": "Takes a while", "inputSchema": {"type": "object"}},
    {"name": "hang", "description": "Takes for ever", "inputSchema": {"type": "object"}},
    {"name": "pid", "description": "Its process", "inputSchema": {"type": "object"}},
    {"name": "die", "description": "Ends", "inputSchema": {"type": "object"}},
]
LISTS: dict[str, dict[str, Any]] = {
    "tools/list": {"tools": TOOLS},
    "resources/list": {"resources": [{"uri": "desk://note", "name": "note", "mimeType": "text/plain"}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "desk://{id}", "name": "any"}]},
    "prompts/list": {"prompts": [{"name": "greet", "arguments": [{"name": "who", "required": True}]}]},
}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], **more}


def call(name: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if name == "typed":
        return text(json.dumps(params["arguments"]), structuredContent=params["arguments"])
    if name == "fail":
        return text("It did not work.", isError=True)
    if name == "rude":
        return text(RUDE)
    if name == "pid":
        return text(str(os.getpid()))
    if name == "die":
        os._exit(3)
    token = params["_meta"]["progressToken"]
    said = {"progressToken": token, "progress": 1, "total": 2, "message": "half done"}
    say({"method": "notifications/progress", "params": said})
    return text("done") if name == "work" else None


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "server/discover":
        capabilities: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}}
        return {
            "supportedVersions": ["2026-07-28"],
            "capabilities": capabilities,
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "desk", "version": "1"}},
        }
    if method == "tools/call":
        return call(params["name"], params)
    if method == "resources/read":
        return {"contents": [{"uri": params["uri"], "text": f"the text of {params['uri']}"}]}
    if method == "prompts/get":
        words = f"Hello {params['arguments'].get('who')}"
        return {"messages": [{"role": "user", "content": {"type": "text", "text": words}}]}
    return LISTS[method]


sys.stderr.write("desk is up\n")
sys.stderr.flush()
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        found = answer(request["method"], request.get("params", {}))
        if found is not None:
            say({"id": request["id"], "result": {**found, "resultType": "complete"}})
