"""Deletes what is over and long ago: tokens, and as retention says sessions, approvals and memory.

That they were is in the audit chain, as long as that is kept; here go the rows. Nothing that is live, and
nothing that a row which stays refers to: of sessions those without a call, of tokens those without a child.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from hub.errors import StoreError
from hub.store import approvals, memory, parts, sessions, tokens

if TYPE_CHECKING:
    import sqlite3

    from hub.audit.settings import Retention
    from hub.env import Env
    from hub.sessions import Sessions
    from hub.store.db import Store

__all__ = ["DEAD_TOKENS_SECONDS", "Tidying"]

DEAD_TOKENS_SECONDS: Final = 30 * 86_400.0
"""How long `hub agents tokens` shows a token that is revoked or over. Agents can make any number."""

_SWEEP_SECONDS: Final = 3600.0
_PAUSE_SECONDS: Final = 0.02
"""Between two transactions: calls go first."""


class Tidying:
    """Of a running hub."""

    def __init__(self, store: Store, kept: Sessions, env: Env, retention: Retention) -> None:
        self._store = store
        self._sessions = kept
        self._env = env
        self._retention = retention

    async def run(self) -> None:
        """At the start and once an hour, until cancelled."""
        while True:
            with contextlib.suppress(StoreError):  # which the store says, and which ends
                await self.sweep()
            await anyio.sleep(_SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Raises `StoreError`."""
        await self._delete(tokens.delete_dead, DEAD_TOKENS_SECONDS)
        kept = self._retention
        if kept.memory is not None:
            await self._delete(memory.delete_old, kept.memory)
        told = kept.calls if kept.payloads is None else kept.payloads
        if told is not None:
            await self._delete(parts.delete_updates, told)
        unused = kept.calls if kept.sessions is None else kept.sessions
        if unused is not None:
            # An hour later at the earliest what is closed now is deleted: nothing is under way in it then.
            await self._delete(
                partial(sessions.delete_closed, closed_before=self._before(_SWEEP_SECONDS)), unused
            )
            await self._sessions.close_unused(self._before(unused))
        decided = kept.calls if kept.approvals is None else kept.approvals
        if decided is not None:
            await self._delete(approvals.delete_old, decided)

    async def _delete(self, work: Callable[[sqlite3.Connection, int], int], seconds: float) -> None:
        moment = self._before(seconds)
        while True:
            if not await self._store.write(partial(work, before=moment)):  # type: ignore[call-arg]
                return
            await anyio.sleep(_PAUSE_SECONDS)

    def _before(self, seconds: float) -> int:
        return int((self._env.now() - seconds) * 1000)
