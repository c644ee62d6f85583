"""FastMCP with the server mounted, in an environment of its own: its dependencies are not the hub's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.environments import Environment
from benchmarks.processes import Gateway, free_port, process, ready

__all__ = ["ENVIRONMENT", "SCRIPT", "fastmcp"]

SCRIPT = Path(__file__).with_name("fastmcp_mount.py")
ENVIRONMENT = Environment("FastMCP", "fastmcp", ">=4,<5")


@asynccontextmanager
async def fastmcp(echo_port: int, folder: Path) -> AsyncIterator[Gateway]:
    """Raises `Failed` where it cannot be installed."""
    python = await asyncio.to_thread(ENVIRONMENT.python)
    port, log = free_port(), folder / "fastmcp.log"
    servers = json.dumps({"echo": f"http://127.0.0.1:{echo_port}/mcp"})
    command = [str(python), "-P", str(SCRIPT), str(port), "connected", servers]
    with process(command, log, cwd=folder) as running:
        await ready(running, port, log)
        yield Gateway(port, running.pid)
