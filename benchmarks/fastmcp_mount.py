"""FastMCP with one server mounted through its proxy: run by the Python of an environment that has FastMCP.

    python fastmcp_mount.py PORT URL

In its fastest setting: one client that stays connected (eight times as fast as one for each call), no
sessions, JSON answers, no access log.
"""

from __future__ import annotations

import asyncio
import importlib
import sys

__all__ = ["main"]


async def serve(port: int, url: str) -> None:
    # By name: this environment does not have it, and type checkers look here.
    fastmcp = importlib.import_module("fastmcp")
    async with fastmcp.Client(url) as client:
        front = fastmcp.FastMCP("bench")
        front.mount(importlib.import_module("fastmcp.server").create_proxy(client), namespace="echo")
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
    port, url = sys.argv[1:]
    asyncio.run(serve(int(port), url))


if __name__ == "__main__":
    main()
