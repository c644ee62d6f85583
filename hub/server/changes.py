"""Tells open streams that what their agent may use has changed: only what it may know of.

A change of the catalog or of grants wakes every watch; each then compares what its agent may use
with what that was before. Bursts count once: a watch looks at most five times a second, and holds
no more than one note of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal

import anyio

from hub.hub import Hub
from hub.model import KINDS, Agent, Entry, Kind

__all__ = ["METHODS", "Changes", "Watch"]

PAUSE_SECONDS: Final = 0.2

METHODS: Final[Mapping[Kind, str]] = {
    "tool": "notifications/tools/list_changed",
    "prompt": "notifications/prompts/list_changed",
    "resource": "notifications/resources/list_changed",
    "template": "notifications/resources/list_changed",
}


class Watch:
    """What one stream of one agent waits for."""

    def __init__(self, changes: Changes, agent: Agent, methods: Iterable[str], counts: bool) -> None:
        self.agent = agent
        self.counts = counts
        self.muted = False
        """Another stream of the same session tells it."""
        self.ended: Literal["closing", "revoked"] | None = None
        self._changes = changes
        self._methods = frozenset(methods)
        self._seen = changes.seen_by(agent) or {}
        self._wake = anyio.Event()
        self._end = anyio.Event()

    async def next(self, seconds: float) -> list[str]:
        """The methods to notify; empty when nothing changed for `seconds`, or at the end."""
        with anyio.move_on_after(seconds):
            while self.ended is None:
                await self._wake.wait()
                self._wake = anyio.Event()
                found = self._look()
                if found:
                    return found
                await self.pause()
        return []

    async def pause(self) -> None:
        """Let a burst gather; returns early at the end."""
        with anyio.move_on_after(PAUSE_SECONDS):
            await self._end.wait()

    def wake(self) -> None:
        self._wake.set()

    def end(self, why: Literal["closing", "revoked"]) -> None:
        self.ended = self.ended or why
        self._wake.set()
        self._end.set()

    def _look(self) -> list[str]:
        if self.ended is not None:
            return []
        now = self._changes.seen_by(self.agent)
        if now is None:
            self.end("revoked")
            return []
        before, self._seen = self._seen, now
        if self.muted:
            return []
        changed = dict.fromkeys(METHODS[kind] for kind in KINDS if now[kind] != before.get(kind))
        return [method for method in changed if method in self._methods]


class Changes:
    """All watches.

    Args:
        current: An agent with the grants of now, or `None` where it has no access any longer.
    """

    def __init__(self, hub: Hub, current: Callable[[Agent], Agent | None]) -> None:
        self._hub = hub
        self._current = current
        self._watches: set[Watch] = set()
        self._closing = False
        self._stop_hub = hub.on_change(lambda kinds: self.wake())

    @contextmanager
    def watch(self, agent: Agent, methods: Iterable[str], *, counts: bool = True) -> Iterator[Watch]:
        """A watch from this moment on, for these methods.

        Args:
            counts: Whether it is a connection of its own, as `streams` counts them.
        """
        watch = Watch(self, agent, methods, counts)
        self._watches.add(watch)
        if self._closing:
            watch.end("closing")
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def streams(self, agent: Agent) -> int:
        """How many connections of this agent are open for nothing but changes."""
        return sum(watch.counts and watch.agent.name == agent.name for watch in self._watches)

    def wake(self) -> None:
        """Something changed, in the catalog or in somebody's grants."""
        for watch in self._watches:
            watch.wake()

    def close(self) -> None:
        """End all streams, gracefully, and all that are still to be opened."""
        self._closing = True
        self._stop_hub()
        for watch in list(self._watches):
            watch.end("closing")

    def seen_by(self, agent: Agent) -> Mapping[Kind, tuple[Entry, ...]] | None:
        """What `agent` may use now, by the grants of now."""
        now = self._current(agent)
        return None if now is None else self._hub.sight(now).entries
