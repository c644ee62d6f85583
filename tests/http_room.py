"""What the tests of HTTP links open a link in, and what was heard of it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio

from connectors.base import Context, Json, Link
from connectors.children import Children
from connectors.http import Http

__all__ = ["Room"]


class Room:
    def __init__(self, home: Path = Path()) -> None:
        self.home = home
        self.notifications: list[tuple[str, Json]] = []
        self._changed = anyio.Event()

    def on_notify(self, method: str, params: Json) -> None:
        self.notifications.append((method, params))
        self._changed.set()
        self._changed = anyio.Event()

    async def heard(self, method: str, count: int = 1) -> list[Json]:
        """The params of the notifications with this method, once there are so many."""
        while True:
            params = [params for name, params in self.notifications if name == method]
            if len(params) >= count:
                return params
            await self._changed.wait()

    def context(self, **changes: Any) -> Context:
        given: dict[str, Any] = {
            "name": "tea",
            "home": self.home,
            "data": self.home,
            "children": Children(),
            "expand": _expand,
            "client": {"name": "tests", "version": "0"},
            "on_notify": self.on_notify,
        }
        return Context(**{**given, **changes})

    def open(self, url: str, config: Json | None = None, **changes: Any) -> AbstractAsyncContextManager[Link]:
        return Http(url=url, **(config or {})).open(self.context(**changes))


def _expand(text: str) -> str:
    return text.replace("${TOKEN}", "tok-123").replace("${LINES}", "a\r\nX-Other: b")
