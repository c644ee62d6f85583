"""Sessions: the durable context that a call belongs to. A row in the store, older than any connection.

A session is its agent's alone: to anybody else it does not exist. Where its agent came with a token that is
good for less than the agent is, it does not exist for the agent's other tokens either, which may be good for
less again: streams of a session tell what its calls were answered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from connectors.base import MODERN_VERSIONS
from hub.env import Env
from hub.model import Agent, Json
from hub.session import (
    Session,
    checked_capabilities,
    checked_name,
    reach_of,
    row_of,
    session_of,
    short_client,
)
from hub.store import sessions as table
from hub.store.sessions import SessionKind

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["Session", "Sessions", "checked_name", "reach_of"]

_REMEMBERED_MAX: Final = 10_000
_SEEN_EVERY_SECONDS: Final = 60.0
_ID_BYTES: Final = 16


class Sessions:
    def __init__(self, store: Store, env: Env, *, idle_seconds: float = 3600.0) -> None:
        """
        Args:
            idle_seconds: After how long without a call a modern agent's next call opens a new session.
        """
        self._store = store
        self._env = env
        self._idle_seconds = idle_seconds
        self._remembered: OrderedDict[str, Session] = OrderedDict()
        """Open ones by id, the one used longest ago first."""
        self._current: dict[tuple[str, str], tuple[Session, float, float]] = {}
        """By agent and reach: the modern session, until when (monotonic) it goes on unused, and from when on
        a call puts that off: a hundredth of the time late is no difference."""
        self._contexts: dict[str, Session] = {}
        """By id of the session that calls come by: the one that they belong to, where that is another."""
        self._names: dict[tuple[str, str, str], str] = {}
        """By agent, reach and name: ids of sessions that were found so."""
        self._seen: dict[str, int] = {}
        """By id, what the store has not been told yet."""
        self._flush_at = env.monotonic() + _SEEN_EVERY_SECONDS
        self._opening = anyio.Lock()
        self._closings = 0
        self._started = self._now()

    async def open(
        self,
        agent: Agent,
        *,
        kind: SessionKind,
        version: str,
        client: Json,
        capabilities: Json,
        left: frozenset[str] = frozenset(),
    ) -> Session:
        """A new session, committed.

        Some clients open a connection for each call. So where the same client has ended its last one not
        long ago, what comes by the new one belongs to the same context.

        Args:
            left: Sessions that nobody has ended, whose clients have gone all the same.

        Raises:
            InvalidParams: the capabilities are too many.
            StoreError: it cannot be kept.
        """
        session = self._new(agent, kind, version, client, capabilities)
        if kind not in ("legacy", "stdio"):
            await self._store.write(partial(table.insert, row=row_of(session)))
            self._remember(session)
            return session
        since = session.opened - int(self._idle_seconds * 1000)
        if left:
            self.flush()  # it counts when they were last used
        work = partial(table.insert_after, new=row_of(session), since=since, left=left)
        before = await self._store.write(work)
        self._remember(session)
        if before is not None:
            self._contexts[session.id] = self._remember(session_of(before))
        return session

    async def get(self, id: str, agent: Agent) -> Session | None:
        """The agent's open session; `None` for one that is unknown, closed, another's or of another reach.

        Raises `StoreError`.
        """
        session = self._remembered.get(id)
        while session is None:
            closings = self._closings
            row = await self._store.read(partial(table.get_session, id=id))
            if row is None or row.closed is not None:
                return None
            found = session_of(row)
            await self._find_context(found)
            if closings == self._closings:  # else it may be the one that was closed meanwhile
                session = found
        if session.agent != agent.name or session.reach != reach_of(agent) or session.gone is not None:
            return None
        self._remember(session)
        self._touch(id, self._env.monotonic())
        return session

    async def named(self, name: str, agent: Agent) -> Session | None:
        """The agent's open session of this name, else of this id; `None` as `get`. Raises `StoreError`."""
        key = (agent.name, reach_of(agent), name)
        session = self._remembered.get(self._names.get(key, ""))
        while session is None:
            closings = self._closings
            row = await self._store.read(partial(table.find_named, agent=key[0], reach=key[1], name=name))
            if row is None:
                return None
            if closings == self._closings:
                session = session_of(row)
                if len(self._names) >= _REMEMBERED_MAX:
                    self._names.clear()
                self._names[key] = session.id
        session = self._remember(session)
        self._touch(session.id, self._env.monotonic())
        return session

    async def open_named(
        self, agent: Agent, name: str, *, version: str, client: Json, goal: str | None = None
    ) -> tuple[Session, bool]:
        """The agent's open session of this name, and whether it is new. Raises `StoreError`."""
        new = replace(self._new(agent, "modern", version, client, {}), name=name, goal=goal)
        row = await self._store.write(partial(table.open_named, new=row_of(new)))
        session = self._remember(new if row.id == new.id else session_of(row))
        self._names[session.agent, session.reach, name] = session.id
        self._touch(session.id, self._env.monotonic())
        return session, session.id == new.id

    def context(self, session: Session) -> Session:
        """The session that calls belong to which come by `session`, as `get` or `current` has given it."""
        context = self._contexts.get(session.id)
        if context is None:
            return session
        self._touch(context.id, self._env.monotonic())
        return context

    async def go_on(self, by: str, context: Session) -> None:
        """What comes by a session belongs to `context` from now on. Raises `StoreError`."""
        goes_on = None if context.id == by else context.id
        await self._store.write(partial(table.go_on, id=by, context=goes_on))
        if goes_on is None:
            self._contexts.pop(by, None)
        else:
            self._contexts[by] = context

    async def set_goal(self, session: Session, goal: str) -> Session:
        """The session as it is from now on. Raises `StoreError`."""
        await self._store.write(partial(table.set_goal, id=session.id, goal=goal))
        return self._replace(replace(session, goal=goal))

    def relabel(self, id: str, labels: Mapping[str, str]) -> None:
        """Rules see these labels of a session from the next call on; they are in the store already."""
        self._closings += 1  # what is just being read is older than this
        held = [
            self._remembered.get(id),
            *self._contexts.values(),
            *(each[0] for each in self._current.values()),
        ]
        for session in held:
            if session is not None and session.id == id:
                self._replace(replace(session, labels=labels or None))

    async def current(self, agent: Agent, client: Json, *, version: str = MODERN_VERSIONS[-1]) -> Session:
        """The session that a modern agent's calls belong to: its open one, or a new one after a pause.

        Waits for the store only where the hub has not seen the agent lately. Raises `StoreError`.

        Args:
            client, version: What a new session says of its client.
        """
        now = self._env.monotonic()
        key = (agent.name, reach_of(agent))
        known = self._current.get(key)
        if known is not None and now < known[1]:
            if now > known[2]:
                self._current[key] = self._going_on(known[0], now)
                self._touch(known[0].id, now)
            return known[0]
        async with self._opening:
            known = self._current.get(key)
            if known is None or self._env.monotonic() >= known[1]:
                session = await self._resume(agent, client, version)
            else:
                session = known[0]
            self._current[key] = self._going_on(session, self._env.monotonic())
            return session

    def _going_on(self, session: Session, now: float) -> tuple[Session, float, float]:
        return session, now + self._idle_seconds, now + min(1.0, self._idle_seconds / 100)

    async def set_log_level(self, session: Session, level: str) -> Session:
        """The session as it is from now on. Raises `StoreError`."""
        await self._store.write(partial(table.set_log_level, id=session.id, level=level))
        return self._replace(replace(session, log_level=level))

    async def close(self, session: Session) -> None:
        """Nothing goes on in it. Raises `StoreError`; the hub itself has forgotten it even then."""
        try:
            self._forget(session)
            await self._store.write(partial(table.close, id=session.id, when=self._now()))
        finally:  # somebody may have read the row before it was closed
            self._closings += 1
            self._forget(session)

    async def close_all(self, agent: str) -> None:
        """Close every session of an agent that is removed. Raises `StoreError` as `close` does."""
        try:
            self._forget_all(agent)
            await self._store.write(partial(table.close_all, agent=agent, when=self._now()))
        finally:
            self._closings += 1
            self._forget_all(agent)

    async def close_unused(self, before: int) -> None:
        """Close every session that was last used before a moment. Raises `StoreError`: none is closed."""
        self.flush()
        work = partial(table.close_unused, before=before, started=self._started, when=self._now())
        try:
            closed = set(await self._store.write(work))
            for session in [self._remembered[id] for id in closed if id in self._remembered]:
                self._forget(session)
            self._current = {agent: each for agent, each in self._current.items() if each[0].id not in closed}
        finally:
            self._closings += 1

    def drop(self, id: str) -> None:
        """Forget one that was closed in the store."""
        self._closings += 1
        if id in self._remembered:
            self._forget(self._remembered[id])

    def flush(self) -> None:
        """Note when sessions were last used; done once a minute by itself, and wanted before the end."""
        self._flush_at = self._env.monotonic() + _SEEN_EVERY_SECONDS
        seen, self._seen = self._seen, {}
        if seen:
            self._store.post(partial(table.touch, seen=[(when, id) for id, when in seen.items()]))

    async def _resume(self, agent: Agent, client: Json, version: str) -> Session:
        """The agent's open session as the store has it, or a new one in its place."""
        row = await self._store.read(partial(table.current, agent=agent.name, reach=reach_of(agent)))
        now = self._now()
        if row is not None:
            seen = max(row.seen, self._seen.get(row.id, 0))
            if now - seen < self._idle_seconds * 1000:
                session = session_of(row)
                await self._find_context(session)
                self._remember(session)
                self._touch(session.id, self._env.monotonic())
                return session
        session = self._new(agent, "modern", version, client, {})
        await self._store.write(partial(table.supersede, old=row, new=row_of(session)))
        if row is not None:
            self._forget(session_of(row))
        self._remember(session)
        return session

    def _new(
        self, agent: Agent, kind: SessionKind, version: str, client: Json, capabilities: Json
    ) -> Session:
        # A legacy client sends its id with every request, so nobody must be able to guess one.
        id = self._env.random_bytes(_ID_BYTES).hex() if kind == "legacy" else self._env.new_id()
        now = self._now()
        reach = reach_of(agent)
        client, capabilities = short_client(client), checked_capabilities(capabilities)
        return Session(id, agent.name, kind, version, client, capabilities, now, now, reach=reach)

    async def _find_context(self, session: Session) -> None:
        """Know again what comes by it, as the store has it."""
        if session.goes_on is None or session.id in self._contexts or session.id in self._remembered:
            return
        row = await self._store.read(partial(table.get_session, id=session.goes_on))
        if (
            row is not None
            and row.closed is None
            and (row.agent, row.reach) == (session.agent, session.reach)
        ):
            self._contexts[session.id] = self._remember(session_of(row))

    def _remember(self, session: Session) -> Session:
        """The session as it is known: what is remembered already is newer than what was read."""
        session = self._remembered.setdefault(session.id, session)
        self._remembered.move_to_end(session.id)
        if len(self._remembered) > _REMEMBERED_MAX:
            id, _ = self._remembered.popitem(last=False)
            self._contexts.pop(id, None)
        return session

    def _replace(self, session: Session) -> Session:
        if session.id in self._remembered:
            self._remembered[session.id] = session
        for by, context in self._contexts.items():
            if context.id == session.id:
                self._contexts[by] = session
        key = (session.agent, session.reach)
        known = self._current.get(key)
        if known is not None and known[0].id == session.id:
            self._current[key] = (session, *known[1:])
        return session

    def _forget(self, session: Session) -> None:
        self._remembered.pop(session.id, None)
        self._seen.pop(session.id, None)
        self._contexts.pop(session.id, None)
        for by in [by for by, context in self._contexts.items() if context.id == session.id]:
            del self._contexts[by]
        key = (session.agent, session.reach)
        known = self._current.get(key)
        if known is not None and known[0].id == session.id:
            del self._current[key]

    def _forget_all(self, agent: str) -> None:
        for session in [each for each in self._remembered.values() if each.agent == agent]:
            self._forget(session)
        for key in [key for key in self._current if key[0] == agent]:
            del self._current[key]

    def _touch(self, id: str, monotonic: float) -> None:
        self._seen[id] = self._now()
        if monotonic >= self._flush_at or len(self._seen) > _REMEMBERED_MAX:
            self.flush()

    def _now(self) -> int:
        return int(self._env.now() * 1000)
