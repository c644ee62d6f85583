"""Ends a call that takes longer than its server's limit, and tells the server so.

All deadlines are watched by one ticking task, which cancels the call's own: a tenth of a second late
is no difference. Beneath anyio on purpose: a cancel scope with a timer costs 10 us a call, one
without 3.5 and a fifth of all that the hub did for a call under load; this costs one (measured,
uvloop, Python 3.11).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from hub.env import Env
from hub.errors import UpstreamTimeout
from hub.model import Call, Handler, Result

__all__ = ["Deadline"]

_TICK_SECONDS = 0.1


class _Watched:
    __slots__ = ("expired", "task", "until")

    def __init__(self, until: float, task: asyncio.Task[Any]) -> None:
        self.until = until
        self.task = task
        self.expired = False


class Deadline:
    def __init__(self, env: Env, patience_seconds: Callable[[str], float]) -> None:
        """
        Args:
            patience_seconds: How long a call to the named server may take.
        """
        self._env = env
        self._patience_seconds = patience_seconds
        self._watched: set[_Watched] = set()

    async def run(self) -> None:
        """Watch, until cancelled."""
        while True:
            await anyio.sleep(_TICK_SECONDS)
            now = self._env.monotonic()
            for watched in [each for each in self._watched if each.until <= now and not each.expired]:
                watched.expired = True
                watched.task.cancel()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While it is open, nothing that this task does takes any of its servers' time."""
        task = asyncio.current_task()
        mine = [(each, each.until) for each in self._watched if each.task is task]
        began = self._env.monotonic()
        for each, _ in mine:
            each.until = math.inf
        try:
            yield
        finally:
            for each, until in mine:
                each.until = until + self._env.monotonic() - began

    async def __call__(self, call: Call, inner: Handler) -> Result:
        task = asyncio.current_task()
        if call.entry is None or task is None:
            return await inner(call)
        seconds = self._patience_seconds(call.entry.server)
        watched = _Watched(self._env.monotonic() + seconds, task)
        self._watched.add(watched)
        try:
            return await inner(call)
        except asyncio.CancelledError:
            # Ours, unless somebody else wants this task to end as well.
            if watched.expired and task.uncancel() == 0:
                raise UpstreamTimeout(
                    f"Server {call.entry.server!r} did not answer within {seconds:g} s; "
                    "what the call did is not known",
                    sent=True,
                ) from None
            raise
        finally:
            self._watched.discard(watched)
