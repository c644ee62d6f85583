"""The least that a gateway in Python can be: read a POST, ask the one server, answer. The unit of measure.

uvicorn, uvloop, httptools, orjson, and keep-alive connections to the server that are used again. It parses
and writes each request, as whoever routes has to, and does nothing else: no identity, names, policy, record.
"""

from __future__ import annotations

import argparse

import orjson

from benchmarks.asgi import Message, Receive, Send, serve
from benchmarks.wire import Connection, head

__all__ = ["main"]


class Forwarder:
    """An ASGI application."""

    def __init__(self, upstream_port: int) -> None:
        self._port = upstream_port
        self._idle: list[Connection] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        passed = {
            name.decode(): value.decode() for name, value in scope["headers"] if name.startswith(b"mcp-")
        }
        request = orjson.dumps(orjson.loads(body))
        connection = self._idle.pop() if self._idle else await Connection.open(self._port)
        answer = await connection.post(head(self._port, "/mcp", passed), request)
        self._idle.append(connection)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.forwarder", description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--upstream-port", type=int, required=True)
    given = arguments.parse_args()
    serve(Forwarder(given.upstream_port), given.port)


if __name__ == "__main__":
    main()
