"""A server whose results are as long as asked for; raw JSON, so that it starts in no time.

    python long.py FILE

Writes the arguments of each call of `take` and `count` to FILE, a line each. Tools: `rows` gives a JSON text
of some rows, `text` a text, `typed` the rows with an output schema, `blocks` a block for each row, `picture`
a picture, `both` a text and other structured content, `fail` a long failure, `fixed` what its output schema
lets nobody shorten; `take` and `count` say that they were called.
"""

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(sys.argv[-1])
ROWS = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "object", "required": ["id", "owner"]}}},
    "required": ["items", "total"],
}
FIXED = {"type": "object", "properties": {"items": {"type": "array", "minItems": 900}}, "required": ["items"]}
COUNT = {"type": "object", "properties": {"number": {"type": "integer"}, "among": {}}, "required": ["number"]}


def tool(name: str, input: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": input or {"type": "object"}, **more}


TOOLS = [
    tool("rows"), tool("text"), tool("typed", outputSchema=ROWS), tool("blocks"), tool("picture"),
    tool("both"), tool("fail"), tool("fixed", outputSchema=FIXED), tool("take"), tool("count", COUNT),
]  # fmt: skip


def row(position: int) -> dict[str, Any]:
    return {
        "id": position,
        "name": f"row {position}",
        "owner": {"login": f"user{position % 7}", "admin": position % 7 == 0},
        "note": 'some words, "quoted" – and so on',
        **({"extra": True} if position % 2 else {}),
    }


def rows(count: int) -> dict[str, Any]:
    return {"items": [row(position) for position in range(count)], "total": count}


def block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def called(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    count = arguments.get("count", 0)
    if name in ("take", "count"):
        with FILE.open("a") as file:
            file.write(json.dumps({name: arguments}) + "\n")
        return {"content": [block("taken")]}
    if name == "rows":
        return {"content": [block(json.dumps(rows(count), indent=arguments.get("indent")))]}
    if name == "text":
        return {"content": [block("".join(f"line {line} of the log\n" for line in range(count)))]}
    if name == "typed":
        found = rows(count)
        return {"content": [block(json.dumps(found, indent=2))], "structuredContent": found}
    if name == "blocks":
        return {"content": [block(json.dumps(row(position))) for position in range(count)]}
    if name == "picture":
        picture = {"type": "image", "mimeType": "image/png", "data": "A" * count}
        return {"content": [picture, block("a few words"), block("x" * arguments.get("text", 0))]}
    if name == "both":
        return {"content": [block("so many words " * count)], "structuredContent": rows(count)}
    if name == "fail":
        return {"content": [block("it went wrong because " * count)], "isError": True}
    items = [row(position) for position in range(1000)]
    return {"content": [block(json.dumps({"items": items}))], "structuredContent": {"items": items}}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        info = {"name": "long", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        return called(params["name"], params.get("arguments", {}))
    return {} if method == "ping" else None


def serve() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answer(message["method"], message.get("params", {}))
        said = (
            {"result": result}
            if result is not None
            else {"error": {"code": -32601, "message": "no such method"}}
        )
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
