"""Sessions: the durable context that a call belongs to. A row in the store, older than any connection.

A session is its agent's alone: to anybody else it does not exist.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from connectors.base import MODERN_VERSIONS
from connectors.jsonrpc import encode
from hub.env import Env
from hub.model import Agent, Json
from hub.store import sessions as table
from hub.store.sessions import SessionKind, SessionRow

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["Session", "Sessions"]

_REMEMBERED_MAX: Final = 10_000
_SEEN_EVERY_SECONDS: Final = 60.0
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Session:
    """All moments are milliseconds since 1970, UTC."""

    id: str
    agent: str
    kind: SessionKind
    version: str
    """Of the protocol."""
    client: Json
    """Its `clientInfo`."""
    capabilities: Json
    """What the client declared when it opened a session of the older era; `{}` in the modern one."""
    opened: int
    seen: int
    """When it was last used, as it stood when this was read."""
    closed: int | None = None
    log_level: str | None = None
    """From which level on a legacy client wants log messages, if it said so."""


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
        self._current: dict[str, tuple[Session, float, float]] = {}
        """An agent's modern session, until when (monotonic) it goes on if nothing is called, and from when
        on a call puts that off: a hundredth of the time late is no difference."""
        self._seen: dict[str, int] = {}
        """By id, what the store has not been told yet."""
        self._flush_at = env.monotonic() + _SEEN_EVERY_SECONDS
        self._opening = anyio.Lock()
        self._closings = 0

    async def open(
        self, agent: Agent, *, kind: SessionKind, version: str, client: Json, capabilities: Json
    ) -> Session:
        """A new session, committed. Raises `StoreError`."""
        session = self._new(agent, kind, version, client, capabilities)
        await self._store.write(partial(table.insert, row=_row(session)))
        self._remember(session)
        return session

    async def get(self, id: str, agent: Agent) -> Session | None:
        """The agent's open session; `None` for one that is unknown, closed or another agent's.

        Raises `StoreError`.
        """
        session = self._remembered.get(id)
        while session is None:
            closings = self._closings
            row = await self._store.read(partial(table.get_session, id=id))
            if row is None or row.closed is not None:
                return None
            if closings == self._closings:  # else it may be the one that was closed meanwhile
                session = _session(row)
        if session.agent != agent.name:
            return None
        self._remember(session)
        self._touch(id, self._env.monotonic())
        return session

    async def current(self, agent: Agent, client: Json, *, version: str = MODERN_VERSIONS[-1]) -> Session:
        """The session that a modern agent's calls belong to: its open one, or a new one after a pause.

        Waits for the store only where the hub has not seen the agent lately. Raises `StoreError`.

        Args:
            client, version: What a new session says of its client.
        """
        now = self._env.monotonic()
        known = self._current.get(agent.name)
        if known is not None and now < known[1]:
            if now > known[2]:
                self._current[agent.name] = self._going_on(known[0], now)
                self._touch(known[0].id, now)
            return known[0]
        async with self._opening:
            known = self._current.get(agent.name)
            if known is None or self._env.monotonic() >= known[1]:
                session = await self._resume(agent, client, version)
            else:
                session = known[0]
            self._current[agent.name] = self._going_on(session, self._env.monotonic())
            return session

    def _going_on(self, session: Session, now: float) -> tuple[Session, float, float]:
        return session, now + self._idle_seconds, now + min(1.0, self._idle_seconds / 100)

    async def set_log_level(self, session: Session, level: str) -> Session:
        """The session as it is from now on. Raises `StoreError`."""
        await self._store.write(partial(table.set_log_level, id=session.id, level=level))
        session = replace(session, log_level=level)
        if session.id in self._remembered:
            self._remembered[session.id] = session
        return session

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

    def flush(self) -> None:
        """Note when sessions were last used; done once a minute by itself, and wanted before the end."""
        self._flush_at = self._env.monotonic() + _SEEN_EVERY_SECONDS
        seen, self._seen = self._seen, {}
        if seen:
            self._store.post(partial(table.touch, seen=[(when, id) for id, when in seen.items()]))

    async def _resume(self, agent: Agent, client: Json, version: str) -> Session:
        """The agent's open session as the store has it, or a new one in its place."""
        row = await self._store.read(partial(table.current, agent=agent.name))
        now = self._now()
        if row is not None:
            seen = max(row.seen, self._seen.get(row.id, 0))
            if now - seen < self._idle_seconds * 1000:
                session = _session(row)
                self._remember(session)
                self._touch(session.id, self._env.monotonic())
                return session
        session = self._new(agent, "modern", version, client, {})
        await self._store.write(partial(table.supersede, old=row, new=_row(session)))
        if row is not None:
            self._forget(_session(row))
        self._remember(session)
        return session

    def _new(
        self, agent: Agent, kind: SessionKind, version: str, client: Json, capabilities: Json
    ) -> Session:
        # A legacy client sends its id with every request, so nobody must be able to guess one.
        id = self._env.random_bytes(_ID_BYTES).hex() if kind == "legacy" else self._env.new_id()
        now = self._now()
        return Session(id, agent.name, kind, version, client, capabilities, now, now)

    def _remember(self, session: Session) -> None:
        self._remembered[session.id] = session
        self._remembered.move_to_end(session.id)
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    def _forget(self, session: Session) -> None:
        self._remembered.pop(session.id, None)
        self._seen.pop(session.id, None)
        known = self._current.get(session.agent)
        if known is not None and known[0].id == session.id:
            del self._current[session.agent]

    def _forget_all(self, agent: str) -> None:
        for session in [each for each in self._remembered.values() if each.agent == agent]:
            self._forget(session)
        self._current.pop(agent, None)

    def _touch(self, id: str, monotonic: float) -> None:
        self._seen[id] = self._now()
        if monotonic >= self._flush_at or len(self._seen) > _REMEMBERED_MAX:
            self.flush()

    def _now(self) -> int:
        return int(self._env.now() * 1000)


def _row(session: Session) -> SessionRow:
    return SessionRow(
        session.id,
        session.agent,
        session.kind,
        session.version,
        encode(session.client).decode(),
        encode(session.capabilities).decode(),
        session.opened,
        session.seen,
        session.closed,
        session.log_level,
    )


def _session(row: SessionRow) -> Session:
    return Session(
        row.id,
        row.agent,
        row.kind,
        row.version,
        json.loads(row.client),
        json.loads(row.capabilities),
        row.opened,
        row.seen,
        row.closed,
        row.log_level,
    )
