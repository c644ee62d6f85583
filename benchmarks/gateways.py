"""What stands between the load and the server, each an async context that yields where it listens."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from benchmarks.envoy import envoy
from benchmarks.fastmcp import fastmcp
from benchmarks.homes import SERVER, Home
from benchmarks.nginx import nginx
from benchmarks.processes import Gateway, free_port, process, ready

__all__ = ["Gateway", "Start", "echo", "envoy", "fastmcp", "forwarder", "hub", "nginx", "pages"]

Start = Callable[[int, Path], AbstractAsyncContextManager[Gateway]]
"""`(port of the echo server, folder to work in)`."""


@asynccontextmanager
async def _python(
    module: str, folder: Path, *arguments: str, under: tuple[str, ...] = ()
) -> AsyncIterator[Gateway]:
    port = free_port()
    log = folder / f"{module}-{port}.log"
    command = [*under, sys.executable, "-m", f"benchmarks.{module}", "--port", str(port), *arguments]
    with process(command, log) as running:
        await ready(running, port, log)
        yield Gateway(port, running.pid)


def echo(folder: Path) -> AbstractAsyncContextManager[Gateway]:
    """The servers themselves."""
    return _python("echo", folder)


def forwarder(
    echo_port: int, folder: Path, *, under: tuple[str, ...] = ()
) -> AbstractAsyncContextManager[Gateway]:
    return _python("forwarder", folder, "--upstream-port", str(echo_port), under=under)


def pages(files: Path, folder: Path) -> AbstractAsyncContextManager[Gateway]:
    """The files of a folder."""
    return _python("pages", folder, "--folder", str(files))


@asynccontextmanager
async def hub(
    echo_port: int, folder: Path, *, under: tuple[str, ...] = (), more: str = ""
) -> AsyncIterator[Gateway]:
    """The real command, with identity, policy and recording on, as a person would run it.

    Args:
        more: What the server's manifest says besides.
    """
    server = SERVER.format(name="echo", port=echo_port, path="/mcp") + more
    home = Home.make(folder / f"home-{free_port()}", {"echo": server}, {"bench": ["echo__*"]})
    async with home.started(await home.headers(), under=under) as gateway:
        yield gateway
