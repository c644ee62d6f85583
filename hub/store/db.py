"""The store of a running hub: one writer, a few readers, one file.

`write` and `read` take plain functions of a `sqlite3.Connection`; those stand in the modules of the
table families. The rows of calls have a way of their own (`put`), as every call writes some.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio

from hub.env import Env
from hub.errors import NoThread, StoreError
from hub.store.connection import Synchronous, open_read_only, why
from hub.store.forgetting import truncate_log
from hub.store.writer import QUEUE_MAX, Writer
from hub.threads import in_thread

__all__ = ["Store"]

T = TypeVar("T")

_READERS_MAX: Final = 4
_STOP_SECONDS: Final = 10.0
_SCRUBS: Final = 20
_CROWDED: Final = QUEUE_MAX // 4
"""Rows that wait: half a second of what the hub can do, at most. Calls wait at the door from here on."""


class Store:
    """Made by `Store.open`; belongs to the event loop that opened it."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self.path = path
        self._writer = writer
        self._limiter = anyio.CapacityLimiter(_READERS_MAX)
        self._readers: deque[sqlite3.Connection] = deque()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, env: Env, *, synchronous: Synchronous = "normal") -> AsyncIterator[Store]:
        """Open the database, made or brought to the newest shape where needed.

        Raises:
            StoreError: it cannot be used, with the fix; nothing is changed then.
        """
        writer = Writer(path, env, synchronous)
        store = cls(path, writer)
        try:
            await writer.start()
            yield store
        finally:
            # The writer goes last: only a connection that may write takes the write-ahead log away with it.
            store._close_readers()
            with anyio.move_on_after(_STOP_SECONDS, shield=True):
                await writer.stop()
            store._close_readers()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written at present, as a sentence; ends by itself when it can be again."""
        return self._writer.trouble

    def crowded(self) -> bool:
        """Whether so much waits to be written that no more should be begun. Where nothing can be: no."""
        return self._writer.waiting() > _CROWDED and self._writer.trouble is None

    @property
    def committed(self) -> int:
        """How many rows and other changes were committed since the store was opened."""
        return self._writer.committed

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in the writer's thread, in the next transaction; returns once that is committed.

        `work` must neither commit nor take long. What it raises takes back only its own changes.

        Raises:
            StoreError: it could not be committed; nothing of it is written.
        """
        value: T = await self._writer.put(work)
        return value

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """The same without waiting, for what may be lost (when something was last seen)."""
        self._writer.post(work)

    def keep(self, row: tuple[Any, ...]) -> bool:
        """Whether a whole row of `calls` is safe by now; else it has to be `put`. See `Calls`."""
        return self._writer.keep(row)

    def put(self, row: tuple[Any, ...]) -> Awaitable[None]:
        """A whole row of `calls`: committed when the awaitable is done. See `Calls`."""
        return self._writer.put(row)

    def owe(self, row: tuple[Any, ...]) -> None:
        self._writer.owe(row)

    def on_commit(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call it whenever something was committed; returns how to stop that."""
        self._writer.listeners.add(listener)
        return lambda: self._writer.listeners.discard(listener)

    async def scrub(self) -> bool:
        """Leave no trace of what was deleted in the files beside the database; whether that was possible.

        In a busy hub it may not be, for a while.
        """
        wiped = False
        for _ in range(_SCRUBS):
            await self._writer.catch_up()
            wiped = self._writer.wipe()
            if wiped:
                break
        return await in_thread(truncate_log, self.path) and wiped

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in a worker thread on a connection that cannot write; sees all that was recorded.

        Raises:
            StoreError: the database cannot be read.
        """
        await self._writer.catch_up()
        try:
            return await in_thread(self._read, work, limiter=self._limiter)
        except NoThread as error:
            raise StoreError(f"The hub's record cannot be read: {error}") from None

    def _close_readers(self) -> None:
        while self._readers:
            self._readers.pop().close()

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = open_read_only(self.path)
        try:
            value = work(connection)
        except sqlite3.Error as error:
            connection.close()
            raise StoreError(f"The hub's record cannot be read: {why(error)}") from error
        except BaseException:
            self._readers.append(connection)
            raise
        self._readers.append(connection)
        return value
