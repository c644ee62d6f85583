"""What is under way for agents right now, so that it can be ended from outside.

A piece of work ends early when its agent's access does, when the agent cancels it, when its
connection is gone, or when the other side is too slow to send or take bytes. The first thing that
ends it is the reason. Beneath anyio on purpose: a cancel scope with its own timer costs 10 us a
call, a set and one shared tick cost less than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal

from hub.model import Agent

__all__ = ["Running", "Work"]

Reason = Literal["revoked", "cancelled", "gone", "slow"]

TICK_SECONDS: Final = 0.05

WIRE_TICKS_MAX: Final = 600
"""How long the other side may take to send a request, or to take an answer: 30 s."""


class Work:
    """One request, stream or connection, in the task that made this object."""

    __slots__ = ("agent", "key", "reason", "running", "task", "ticks", "wire")

    def __init__(self, running: Running, agent: Agent) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running = running
        self.agent = agent
        self.task = task
        self.reason: Reason | None = None
        self.key: Any = None
        self.ticks = 0
        """How long it has been so. Begins anew with everything that is waited for."""
        self.wire = True
        """Whether it is the other side that takes its time."""

    def waits_for_peer(self, waits: bool) -> None:
        """From now on it is the other side that takes its time, or it is not."""
        self.wire = waits
        self.ticks = 0
        self.running.look()

    def end(self, reason: Reason) -> None:
        if self.reason is None:
            self.reason = reason
            self.task.cancel()

    def ended(self) -> bool:
        """Whether the cancellation that arrived is ours, and is hereby dealt with."""
        if self.reason is None:
            return False
        self.task.uncancel()
        return True

    def gone(self) -> None:
        """Whoever asked has left, which cancels it."""
        self.end("gone")


class Running:
    """All work of all agents."""

    def __init__(self) -> None:
        self._all: set[Work] = set()
        self._by_key: dict[Any, Work] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, agent: Agent) -> Work:
        """New work, in the task that asks. Discard it."""
        work = Work(self, agent)
        self._all.add(work)
        self.look()
        return work

    def look(self) -> None:
        """Tick, as there may be something to be watched."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def name(self, work: Work, key: Any) -> None:
        """Let `cancel` find it, until it is discarded."""
        work.key = key
        self._by_key[key] = work

    def discard(self, work: Work) -> None:
        self._all.discard(work)
        if work.key is not None and self._by_key.get(work.key) is work:
            del self._by_key[work.key]

    def cancel(self, key: Any) -> None:
        """End what has this key, if anything does."""
        work = self._by_key.get(key)
        if work is not None:
            work.end("cancelled")

    def revoke(self, valid: Callable[[Agent], bool]) -> None:
        """End all work of agents that are not valid any longer."""
        for work in list(self._all):
            if not valid(work.agent):
                work.end("revoked")

    def _tick(self) -> None:
        self._timer = None
        waits = False
        for work in self._all:
            work.ticks += 1
            if work.wire:
                waits = True
                if work.ticks > WIRE_TICKS_MAX:
                    work.end("slow")
        if waits:
            self.look()
