"""Which resources one stream, or one session, of an agent hears of.

An agent is told only of what it may read now, by the URI that it knows. When the catalog or its grants
change, each subscription is looked at again: it follows its resource to whichever server has it now,
and rests while the agent may not read it. Of each URI one update waits at most: the newest.

Source: specification 2026-07-28, basic/patterns/subscriptions; 2025-11-25, server/resources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from hub.errors import HubError, NotFound
from hub.hub import Hub
from hub.model import Agent, Call, Entry, Json
from hub.policy import decide, named
from hub.watching import Watching

__all__ = ["SUBSCRIPTIONS_MAX", "UPDATED", "Note", "Subscriptions", "TooManySubscriptions"]

SUBSCRIPTIONS_MAX: Final = 1000
"""How many one agent may have, over all of its streams and sessions."""

UPDATED: Final = "notifications/resources/updated"

Note = tuple[str, Json]
"""`(method, params)` of what an agent is told."""


class TooManySubscriptions(HubError):
    reason = "too_many_subscriptions"


class _Held:
    def __init__(self, call: Call) -> None:
        self.call = call
        self.watching: Watching | None = None
        """`None` while the agent may not read it."""


class Subscriptions:
    def __init__(self, hub: Hub, agent: Agent, counts: Counter[str], wake: Callable[[], None]) -> None:
        """
        Args:
            agent: Whose they are.
            counts: How many each agent has, by name: shared by all.
            wake: Called when there is something to take.
        """
        self._hub = hub
        self._agent = agent
        self._counts = counts
        self._wake = wake
        self._held: dict[str, _Held] = {}
        self._pending: dict[str, tuple[str, Json]] = {}
        """By the URI that is told of: which subscription it is told for, and the params."""
        self._looked: tuple[Any, Any] = (hub.catalog, agent.grants)

    def __len__(self) -> int:
        return len(self._held)

    async def add(self, call: Call, seconds: float) -> None:
        """Hear of the resource that `call` reads. Returns once its server tells of it, or after that time.

        Raises:
            NotFound: there is none, or none that the agent may read.
            TooManySubscriptions: the agent has too many.
            RemoteError: the server refuses to tell.
            HubError: the server is not to be had, or cannot tell.
        """
        if call.name in self._held:
            return
        if self._counts[call.agent.name] >= SUBSCRIPTIONS_MAX:
            raise TooManySubscriptions(f"Too many subscriptions: at most {SUBSCRIPTIONS_MAX} for one agent")
        held = _Held(call)
        watching = self._watch(held)
        self._held[call.name] = held
        self._counts[call.agent.name] += 1
        try:
            await watching.settled(seconds)
        except BaseException:
            if self._held.get(call.name) is held:
                self.remove(call.name)
            raise

    def remove(self, uri: str) -> bool:
        """Whether there was one."""
        held = self._held.pop(uri, None)
        if held is None:
            return False
        if held.watching is not None:
            held.watching.stop()
        self._drop(uri)
        self._counts[self._agent.name] -= 1
        if not self._counts[self._agent.name]:
            del self._counts[self._agent.name]
        return True

    def close(self) -> None:
        for uri in [*self._held]:
            self.remove(uri)

    def look(self, agent: Agent) -> None:
        """Take account of the catalog and grants of now."""
        now = (self._hub.catalog, agent.grants)
        if self._looked[0] is now[0] and self._looked[1] is now[1]:
            return
        self._looked = now
        # What is below a resource has grants of its own: the resource itself is told of instead.
        for told, (uri, params) in [*self._pending.items()]:
            if told != uri:
                del self._pending[told]
                self._pending[uri] = (uri, {**params, "uri": uri})
        for uri, held in self._held.items():
            entry = self._hub.find("resource", uri, agent)
            held.call = replace(held.call, agent=agent, entry=entry)
            old = held.watching
            granted = old is not None and decide(agent.grants, named("resource", old.server, old.uri)).allowed
            if granted and old is not None and _is_of(entry, old):
                continue
            if old is not None:
                held.watching = None
                old.stop()
                self._drop(uri)
            try:
                self._watch(held).promise()
            except NotFound:
                continue
            # It is another server's now, or could not be read for a while.
            self._pending[uri] = (uri, {"uri": uri})

    def take(self) -> list[Note]:
        """The updates that wait."""
        taken, self._pending = self._pending, {}
        return [(UPDATED, params) for _, params in taken.values()]

    def _drop(self, uri: str) -> None:
        self._pending = {told: each for told, each in self._pending.items() if each[0] != uri}

    def _watch(self, held: _Held) -> Watching:
        known = held.call.name

        def updated(uri: str, params: Json) -> None:
            self._updated(held, known, uri, params)

        held.watching = self._hub.watch(held.call, updated)
        return held.watching

    def _updated(self, held: _Held, known: str, uri: str, params: Json) -> None:
        watching = held.watching
        if watching is None:
            return
        told = known
        if uri != watching.uri:
            # Of something below it: the agent is told which, if it may know of it.
            if not decide(held.call.agent.grants, named("resource", watching.server, uri)).allowed:
                return
            if len(self._pending) < SUBSCRIPTIONS_MAX:
                told = known.removesuffix(watching.uri) + uri
        self._pending[told] = (known, {**params, "uri": told})
        self._wake()


def _is_of(entry: Entry | None, watching: Watching) -> bool:
    return entry is not None and (entry.server, entry.own) == (watching.server, watching.uri)
