"""Tells open streams that what their agent may use has changed: only what it may know of.

A change of the catalog or of grants wakes every watch; each then compares what its agent may use
with what that was before. Bursts count once: a watch looks at most five times a second, and holds
no more than one note of each kind, and of each resource that it hears of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal

import anyio

from hub.hub import Hub
from hub.model import KINDS, Agent, Entry, Kind
from hub.server.subscriptions import Note, Subscriptions
from hub.server.task_subscriptions import TaskSubscriptions

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

    def __init__(self, changes: Changes, agent: Agent, methods: Iterable[str]) -> None:
        self.agent = agent
        self.ended: Literal["closing", "revoked"] | None = None
        self._changes = changes
        self._methods = frozenset(methods)
        self._seen = changes.seen_by(agent) or {}
        self.resources = Subscriptions(changes.hub, agent, changes.subscribed, self.wake)
        """The resources that it hears of."""
        self.tasks = TaskSubscriptions(changes.hub, self.wake)
        self._wake = anyio.Event()
        self._end = anyio.Event()

    async def next(self, seconds: float) -> list[Note]:
        """What to tell; empty when nothing changed for `seconds`, or at the end."""
        with anyio.move_on_after(seconds):
            while self.ended is None:
                await self._wake.wait()
                self._wake = anyio.Event()
                await self.tasks.catch_up(self._changes.current(self.agent))
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
        self.resources.close()
        self.tasks.close()
        self._wake.set()
        self._end.set()

    def settle(self) -> bool:
        """Take account of who may what now; `False` at the end."""
        now = None if self.ended is not None else self._changes.current(self.agent)
        if now is not None:
            self.resources.look(now)
        elif self.ended is None:
            self.end("revoked")
        return now is not None

    def missed(self) -> None:
        """What changed before it began counts too."""
        self._seen = {}
        self.wake()

    def _look(self) -> list[Note]:
        now = self._changes.seen_by(self.agent) if self.settle() else None
        if now is None:
            return []
        before, self._seen = self._seen, now
        changed = dict.fromkeys(METHODS[kind] for kind in KINDS if now[kind] != before.get(kind))
        lists: list[Note] = [(method, {}) for method in changed if method in self._methods]
        return lists + self.resources.take() + self.tasks.take(self._changes.current(self.agent))


class Changes:
    """All watches.

    Args:
        current: An agent with the grants of now, or `None` where it has no access any longer.
    """

    def __init__(self, hub: Hub, current: Callable[[Agent], Agent | None]) -> None:
        self.hub = hub
        self.current = current
        self.subscribed: Counter[str] = Counter()
        """How many resources each agent hears of, by its name."""
        self._streams: Counter[str] = Counter()
        self._watches: set[Watch] = set()
        self._closing = False
        self._stop_hub = hub.on_change(lambda kinds: self.wake())

    @contextmanager
    def watch(self, agent: Agent, methods: Iterable[str]) -> Iterator[Watch]:
        """A watch from this moment on, for these methods."""
        watch = self.open(agent, methods)
        try:
            yield watch
        finally:
            self.discard(watch)

    def open(self, agent: Agent, methods: Iterable[str]) -> Watch:
        """As `watch`, but to be discarded by whoever has it."""
        watch = Watch(self, agent, methods)
        self._watches.add(watch)
        if self._closing:
            watch.end("closing")
        return watch

    def discard(self, watch: Watch) -> None:
        self._watches.discard(watch)
        watch.resources.close()
        watch.tasks.close()

    @contextmanager
    def connected(self, agent: Agent) -> Iterator[None]:
        """A connection that is open for nothing but changes, as `streams` counts them."""
        self._streams[agent.name] += 1
        try:
            yield
        finally:
            self._streams[agent.name] -= 1
            if not self._streams[agent.name]:
                del self._streams[agent.name]

    def streams(self, agent: Agent) -> int:
        """How many connections of this agent are open for nothing but changes."""
        return self._streams[agent.name]

    def wake(self) -> None:
        """Something changed in the catalog."""
        for watch in self._watches:
            watch.wake()

    def settle(self) -> None:
        """Something changed in who may what: counts at once, also where nobody waits for it."""
        for watch in [*self._watches]:
            watch.settle()
            watch.wake()

    def close(self) -> None:
        """End all streams, gracefully, and all that are still to be opened."""
        self._closing = True
        self._stop_hub()
        for watch in list(self._watches):
            watch.end("closing")

    def seen_by(self, agent: Agent) -> Mapping[Kind, tuple[Entry, ...]] | None:
        """What `agent` may use now, by the grants of now."""
        now = self.current(agent)
        return None if now is None else self.hub.sight(now).entries
