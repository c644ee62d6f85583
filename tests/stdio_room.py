"""What a server that is a program is opened in, and what was heard of it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from connectors.base import Context, Era, Json, Link
from connectors.children import Children
from connectors.stdio import Stdio

SERVERS = Path(__file__).parent / "servers"
ERAS: list[Era] = ["modern", "legacy"]


class Room:
    """What one server is opened in, and what was heard of it."""

    def __init__(self, home: Path, children: Children) -> None:
        self.home, self.children = home, children
        self.stderr: list[str] = []
        self.notifications: list[tuple[str, Json]] = []
        self.heard = anyio.Event()

    def on_notify(self, method: str, params: Json) -> None:
        self.notifications.append((method, params))
        self.heard.set()

    def context(self, **changes: Any) -> Context:
        given: dict[str, Any] = {
            "name": "tea",
            "home": self.home,
            "data": self.home,
            "children": self.children,
            "expand": lambda text: text.replace("${WHO}", "world"),
            "client": {"name": "tests", "version": "0"},
            "on_notify": self.on_notify,
            "on_stderr": self.stderr.append,
        }
        return Context(**{**given, **changes})

    def open(self, server: str, *argv: str, **changes: Any) -> AbstractAsyncContextManager[Link]:
        command = [sys.executable, "-S", str(SERVERS / server), *argv]
        return Stdio(command=command).open(self.context(**changes))


@asynccontextmanager
async def room_in(folder: Path) -> AsyncIterator[Room]:
    """One in which all processes have ended when it is left."""
    with anyio.fail_after(60):
        async with Children(grace_seconds=0.1) as children:
            yield Room(folder, children)
            assert len(children) == 0, "a link left its process behind"


async def called(link: Link, tool: str, arguments: Json | None = None, **options: Any) -> Any:
    params = {"name": tool, "arguments": arguments or {}}
    return (await link.request("tools/call", params, **options))["structuredContent"]


@asynccontextmanager
async def misbehaving(room: Room, mode: str, **changes: Any) -> AsyncIterator[Link]:
    async with room.open("misbehaving_stdio.py", mode, era="legacy", **changes) as link:
        yield link
