"""FastMCP with the server mounted, in an environment of its own: its dependencies are not the hub's."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.processes import Failed, Gateway, free_port, process, ready

__all__ = ["fastmcp", "installed", "installed_version"]

FOLDER = Path(__file__).parent.parent / ".cache" / "fastmcp"
SCRIPT = Path(__file__).with_name("fastmcp_mount.py")
REQUIREMENT = "fastmcp>=4,<5"
INSTALL_SECONDS = 120.0


@asynccontextmanager
async def fastmcp(echo_port: int, folder: Path) -> AsyncIterator[Gateway]:
    """Raises `Failed` where it cannot be installed."""
    python = await asyncio.to_thread(installed)
    port, log = free_port(), folder / "fastmcp.log"
    command = [str(python), "-P", str(SCRIPT), str(port), f"http://127.0.0.1:{echo_port}/mcp"]
    with process(command, log, cwd=folder) as running:
        await ready(running, port, log)
        yield Gateway(port, running.pid)


def installed() -> Path:
    python = FOLDER / "bin" / "python"
    if (FOLDER / "installed").exists():
        return python
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER)],
        [uv, "pip", "install", "--quiet", "--python", str(python), REQUIREMENT],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(f"FastMCP could not be installed: {error}") from None
        if done.returncode:
            raise Failed(f"FastMCP could not be installed: {done.stderr.strip()[-300:]}")
    (FOLDER / "installed").touch()
    return python


def installed_version() -> str:
    found = list(FOLDER.glob("lib/*/site-packages/fastmcp-*.dist-info"))
    return found[0].name.split("-")[1].removesuffix(".dist") if found else "not installed"
