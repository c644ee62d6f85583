"""A store in which a session is, so that calls can be written to it; and what was written to one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

from hub.env import SystemEnv
from hub.store import reading, sessions
from hub.store.calls import CallRow, Outcome
from hub.store.connection import Synchronous
from hub.store.db import Store
from hub.store.sessions import SessionRow

__all__ = ["DONE", "SESSION", "recorded_calls", "store_with_session"]

SESSION = SessionRow("s1", "me", "modern", "2026-07-28", "{}", "{}", 1, 1)
DONE = Outcome("done", result='{"content":[]}', result_bytes=14, duration_us=1500)


@asynccontextmanager
async def store_with_session(path: Path, *, synchronous: Synchronous = "normal") -> AsyncIterator[Store]:
    async with Store.open(path, SystemEnv(), synchronous=synchronous) as store:
        await store.write(partial(sessions.insert, row=SESSION))
        yield store


def recorded_calls(home: Path) -> Iterator[CallRow]:
    """All of a hub that has ended, the newest first, each whole."""
    with closing(reading.open_read_only(home / ".hub" / "hub.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        before = None
        while page := reading.list_calls(connection, reading.CallFilter(before=before, limit=1000)):
            for brief in page:
                row = reading.get_call(connection, brief.id)
                assert row is not None
                yield row
            before = page[-1].id
