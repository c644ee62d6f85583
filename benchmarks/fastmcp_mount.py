"""FastMCP with servers mounted through its proxy: run by the Python of an environment that has FastMCP.

    python fastmcp_mount.py PORT WAY JSON

WAY: `connected` (one client for each server, which stays connected; eight times as fast) or `anew` (a session
for each call, which for a command is a process). JSON: by name, a command (a list) or a URL. Otherwise in its
fastest setting: no sessions, JSON answers, no access log.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from contextlib import AsyncExitStack

__all__ = ["main"]


async def serve(port: int, way: str, servers: dict[str, list[str] | str]) -> None:
    # By name: this environment does not have it, and type checkers look here.
    fastmcp = importlib.import_module("fastmcp")
    transports = importlib.import_module("fastmcp.client.transports")
    create_proxy = importlib.import_module("fastmcp.server").create_proxy
    front = fastmcp.FastMCP("front")
    async with AsyncExitStack() as stack:
        for name, server in servers.items():
            there = server if isinstance(server, str) else transports.StdioTransport(server[0], server[1:])
            client = fastmcp.Client(there)
            if way == "connected":
                await stack.enter_async_context(client)
            front.mount(create_proxy(client), namespace=name)
        await front.run_http_async(
            transport="http",
            host="127.0.0.1",
            port=port,
            stateless_http=True,
            json_response=True,
            show_banner=False,
            log_level="error",
            uvicorn_config={"access_log": False},
        )


def main() -> None:
    port, way, servers = sys.argv[1:]
    asyncio.run(serve(int(port), way, json.loads(servers)))


if __name__ == "__main__":
    main()
