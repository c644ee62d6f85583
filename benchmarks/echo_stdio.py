"""The tools of `benchmarks.echo` on stdin and stdout, one message a line, for whoever starts its servers."""

from __future__ import annotations

import sys

import orjson

from benchmarks.echo import result_of

__all__ = ["main"]


def main() -> None:
    write, flush = sys.stdout.buffer.write, sys.stdout.buffer.flush
    for line in sys.stdin.buffer:
        message = orjson.loads(line)
        if "id" not in message:
            continue
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        result = result_of(message["method"], message.get("params") or {})
        if result is None:
            answer["error"] = {"code": -32601, "message": "Method not found"}
        else:
            answer["result"] = result
        write(orjson.dumps(answer) + b"\n")
        flush()


if __name__ == "__main__":
    main()
