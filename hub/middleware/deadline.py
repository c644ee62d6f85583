"""Ends a call that takes longer than its tool or server may, or than the hub runs, and tells the server so.

An agent may want its answer sooner (`_meta["hub/deadline-seconds"]`): a server that is a hub hears of it too.

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
from dataclasses import replace
from typing import Any

import anyio

from hub.env import Env
from hub.errors import InvalidParams, UpstreamFailed, UpstreamTimeout
from hub.model import Call, Handler, Json, Result
from hub.route import DEADLINE, STANDS_IN

__all__ = ["Deadline"]

_TICK_SECONDS = 0.1


class _Watched:
    __slots__ = ("expired", "is_agents", "task", "until")

    def __init__(self, until: float, task: asyncio.Task[Any], *, is_agents: bool = False) -> None:
        self.until = until
        self.task = task
        self.is_agents = is_agents
        """Whether it is the agent's own wish, of which its server knows nothing."""
        self.expired = False


class Deadline:
    def __init__(self, env: Env, patience_seconds: Callable[..., float]) -> None:
        """
        Args:
            patience_seconds: How long a call to the named server may take; where the tool has a limit of its
                own, that is given as well.
        """
        self._env = env
        self._patience_seconds = patience_seconds
        self._watched: set[_Watched] = set()
        self._ending = False
        self._calm: anyio.Event | None = None

    async def run(self) -> None:
        """Watch, until cancelled."""
        while True:
            await anyio.sleep(_TICK_SECONDS)
            now = self._env.monotonic()
            for watched in [each for each in self._watched if each.until <= now]:
                _expire(watched)

    async def calm(self) -> None:
        """Return once no call is under way. No bound: it is the caller's."""
        while self._watched:
            self._calm = anyio.Event()
            await self._calm.wait()

    def end(self) -> None:
        """The hub ends: whoever still waits for an answer is told so now, instead of never."""
        self._ending = True
        for watched in [*self._watched]:
            _expire(watched)

    def late(self) -> bool:
        """Whether the call of this task is being ended because its server's time is over.

        Not where its agent wanted it sooner: otherwise one agent could have a server left alone by all.
        """
        task = asyncio.current_task()
        mine = (each for each in self._watched if each.task is task)
        return not self._ending and any(each.expired and not each.is_agents for each in mine)

    def left_seconds(self) -> float:
        """Until the call of this task is ended."""
        task = asyncio.current_task()
        until = min((each.until for each in self._watched if each.task is task), default=math.inf)
        return until - self._env.monotonic()

    @contextmanager
    def silence(self, server: str, seconds: float) -> Iterator[Callable[[], None]]:
        """End what this task does within if it hears nothing for so long; gives what is to be told of a word.

        Raises:
            UpstreamTimeout: it heard nothing.
        """
        task = asyncio.current_task()
        assert task is not None
        watched = _Watched(self._env.monotonic() + seconds, task)

        def heard() -> None:
            watched.until = self._env.monotonic() + seconds

        self._watched.add(watched)
        try:
            yield heard
        except asyncio.CancelledError:
            if watched.expired and not self._ending and task.uncancel() == 0:
                raise UpstreamTimeout(
                    f"Server {server!r} said nothing for {seconds:g} s; what the call did is not known",
                    sent=True,
                ) from None
            raise
        finally:
            self._watched.discard(watched)

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
        server, route = call.entry.server, call.entry.route
        if route is None or route.call_seconds is None:
            seconds = self._patience_seconds(server)
        else:
            seconds = self._patience_seconds(server, route.call_seconds)
        own, meta = seconds, call.params.get("_meta")
        if type(meta) is dict:
            if call.tried and STANDS_IN in meta:
                # For the record, which has it by now: servers need not know of each other.
                meta = {key: value for key, value in meta.items() if key != STANDS_IN}
                call = replace(call, params={**call.params, "_meta": meta})
            if DEADLINE in meta:
                call, seconds = _sooner(call, meta, seconds)
        watched = _Watched(self._env.monotonic() + seconds, task, is_agents=seconds < own)
        self._watched.add(watched)
        try:
            return await inner(call)
        except asyncio.CancelledError:
            # Ours, unless somebody else wants this task to end as well.
            if watched.expired and task.uncancel() == 0:
                if self._ending:
                    raise UpstreamFailed(
                        "The hub ends before this call is answered; if it was sent, what it did is not known",
                        sent=True,
                    ) from None
                raise UpstreamTimeout(
                    f"Server {server!r} did not answer within {seconds:g} s; what the call did is not known",
                    sent=True,
                ) from None
            raise
        finally:
            self._watched.discard(watched)
            if self._calm is not None and not self._watched:
                self._calm.set()


def _sooner(call: Call, meta: Json, seconds: float) -> tuple[Call, float]:
    """The call and its time, where its agent says by when it wants the answer. Raises `InvalidParams`."""
    asked = meta[DEADLINE]
    try:
        # The exact numbers of the wire are of no type that is known here; a bool is one to Python alone.
        wanted = math.nan if isinstance(asked, bool | str) else float(asked)
    except (TypeError, ValueError):
        wanted = math.nan
    if not wanted > 0:
        raise InvalidParams(f"Invalid params: params._meta['{DEADLINE}'] must be a number of seconds over 0")
    if wanted < seconds:
        return call, wanted
    return replace(call, params={**call.params, "_meta": {**meta, DEADLINE: seconds}}), seconds


def _expire(watched: _Watched) -> None:
    if not watched.expired:
        watched.expired = True
        watched.task.cancel()
