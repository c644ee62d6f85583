"""Runs the server: over HTTP with `--port N` (0: any free one), over stdio with `--stdio`."""

from __future__ import annotations

import argparse
import socket
import sys

import anyio
import uvicorn
from mcp.server.stdio import stdio_server

from tests.servers.everything.event_store import MemoryEventStore
from tests.servers.everything.server import build_server

RETRY_MS = 100
SHUTDOWN_SECONDS = 1


def main() -> None:
    """Serve until the process is told to end, or its input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.everything", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port of 127.0.0.1 to listen on")
    parser.add_argument("--stdio", action="store_true", help="speak over stdin and stdout instead")
    arguments = parser.parse_args()
    if arguments.stdio:
        anyio.run(serve_stdio)
    else:
        serve_http(arguments.port)


async def serve_stdio() -> None:
    """One client, until its end of the pipe closes."""
    server = build_server()
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def serve_http(port: int) -> None:
    """Any number of clients of both eras at /mcp."""
    listener = socket.create_server(("127.0.0.1", port))
    app = build_server().streamable_http_app(event_store=MemoryEventStore(), retry_interval=RETRY_MS)
    # h11, because httptools leaves the white space around header values, which the SDK then compares.
    config = uvicorn.Config(
        app, http="h11", log_level="warning", lifespan="on", timeout_graceful_shutdown=SHUTDOWN_SECONDS
    )
    # It listens from here on: who connects before uvicorn is up waits in the socket's queue.
    sys.stdout.write(f"http://localhost:{listener.getsockname()[1]}/mcp\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
