"""The one thread that writes, and what is between it and the event loop.

Whatever is queued when the thread wakes goes into one transaction, and one message to the event
loop answers all who wait for it. A group of nothing but call rows, which is what a busy hub
writes, is a single statement that is its own transaction.

Measured with uvloop, CPU of both threads for a call written once, the asking task's own 4 us
included: 105 us at concurrency 1 (half of it is waking two threads), 25 at 8, 13 at 64; a call that
is intended first takes twice that. The same statement run on the event loop takes 42, 16 and 12,
but then a slow disk or another program's lock would stop the whole hub.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from hub.env import Env
from hub.errors import StoreError
from hub.store.calls import ROWS_MAX, write_rows
from hub.store.connection import Synchronous, hinders, open_for_writing, why

__all__ = ["OWED_MAX", "QUEUE_MAX", "Work", "Writer"]

Row = tuple[Any, ...]
Work = Callable[[sqlite3.Connection], Any]
Entry = tuple["asyncio.Future[Any] | None", "Row | Work"]
"""Who waits for it, if anybody does, and what to write."""

QUEUE_MAX: Final = 10_000
OWED_MAX: Final = 1_000
_PROBE_SECONDS: Final = 0.25
_PROBE_BYTES: Final = 8192

logger = logging.getLogger(__name__)


class Writer:
    """To be used by the event loop that it was made in; `_` methods run in the thread."""

    def __init__(self, path: Path, env: Env, synchronous: Synchronous) -> None:
        self._path = path
        self._env = env
        self._synchronous = synchronous
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="hub-store", daemon=True)
        self._entries: deque[Entry] = deque()
        self._owed: deque[Row] = deque(maxlen=OWED_MAX)
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._asleep = False
        self._stopping = False
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.trouble: str | None = None
        """Why nothing can be written at present. While it is set, everything is refused at once."""

    async def start(self) -> None:
        """Open the database. Raises `StoreError`."""
        self._thread.start()
        await asyncio.shield(self._opened)

    async def stop(self) -> None:
        """Write what is queued, close the database. New entries are refused from now on."""
        self._stopping = True
        self._bell.put(None)
        await asyncio.shield(self._ended)

    def put(self, item: Row | Work) -> asyncio.Future[Any]:
        """Queue one entry: its future is done when it is committed.

        Raises:
            StoreError: at once, if there is no use in waiting.
        """
        if self.trouble is not None:
            raise StoreError(self.trouble)
        future = self._loop.create_future()
        self._add((future, item))
        return future

    def post(self, work: Work) -> None:
        """Queue what nobody waits for and what may be lost."""
        if self.trouble is None and len(self._entries) < QUEUE_MAX:
            self._add((None, work))

    def owe(self, row: Row) -> None:
        """Keep a row until the trouble has passed; the oldest go first where there are too many."""
        self._owed.append(row)

    def _add(self, entry: Entry) -> None:
        if self._stopping:
            raise StoreError("The hub is stopping; its record is closed")
        if len(self._entries) >= QUEUE_MAX:
            raise StoreError("The hub's record is busy: too much waits to be written; try again")
        self._entries.append(entry)
        # Waking costs more than queueing, so only a sleeping thread is woken: once a group.
        if self._asleep:
            self._asleep = False
            self._bell.put(None)

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            connection = open_for_writing(self._path, self._synchronous)
        except BaseException as error:
            self._tell(_settle_one, self._opened, None, error)
            self._tell(_settle_one, self._ended, None, None)
            return
        self._tell(_settle_one, self._opened, None, None)
        try:
            self._serve(connection)
        except BaseException:
            logger.exception("The thread that writes the record ended")
            self.trouble = "The hub's record cannot be written: its writer ended. Restart the hub."
            self._fail(self._take(), self.trouble)
        finally:
            connection.close()
            self._tell(_settle_one, self._ended, None, None)

    def _serve(self, connection: sqlite3.Connection) -> None:
        while True:
            self._sleep()
            if self.trouble is not None and self._probe(connection):
                logger.warning("The record can be written again")
                self.trouble = None
            group = self._take()
            if self.trouble is not None:
                self._fail(group, self.trouble)
            elif group:
                self._commit(connection, group)
            if self._stopping and not self._entries:
                return

    def _sleep(self) -> None:
        if self._entries or self._stopping:
            return
        self._asleep = True
        # Looked at again, because an entry may have come before `_asleep` was seen.
        if not self._entries:
            try:
                self._bell.get(timeout=None if self.trouble is None else _PROBE_SECONDS)
            except queue.Empty:
                pass
        self._asleep = False

    def _take(self) -> list[Entry]:
        entries = self._entries
        return [entries.popleft() for _ in range(len(entries))]

    def _commit(self, connection: sqlite3.Connection, group: list[Entry]) -> None:
        try:
            if len(group) <= ROWS_MAX and all(type(item) is tuple for _, item in group):
                try:
                    write_rows(connection, [item for _, item in group])  # type: ignore[misc]
                except Exception as error:
                    if hinders(error):
                        raise
                else:
                    self._tell(_settle_group, group)
                    return
            settled = _transact(connection, group)
        except sqlite3.Error as error:
            since = datetime.fromtimestamp(self._env.now(), UTC)
            self.trouble = (
                f"The hub's record cannot be written since {since:%H:%M:%S} UTC: {why(error)}. "
                "Nothing is done until it can be again."
            )
            logger.error("%s (%s)", self.trouble, self._path)
            # Those behind would only wait as long for the same answer.
            self._fail(group + self._take(), self.trouble)
        except BaseException:
            self._fail(group, "The hub's record cannot be written: its writer ended. Restart the hub.")
            raise
        else:
            self._tell(_settle_each, settled)

    def _probe(self, connection: sqlite3.Connection) -> bool:
        """Whether the database can be written again; writes what is owed."""
        owed = [self._owed.popleft() for _ in range(len(self._owed))]
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO probe VALUES (1, zeroblob(?))", (_PROBE_BYTES,))
            write_rows(connection, owed)
            connection.execute("COMMIT")
            connection.execute("DELETE FROM probe")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._owed.extendleft(reversed(owed))
            return False
        return True

    def _fail(self, group: Sequence[Entry], sentence: str) -> None:
        if group:
            self._tell(_settle_each, [(future, None, StoreError(sentence)) for future, _ in group])

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            pass  # The event loop is closed, so nobody waits.


Settled = tuple["asyncio.Future[Any] | None", Any, "BaseException | None"]


def _transact(connection: sqlite3.Connection, group: Sequence[Entry]) -> list[Settled]:
    """One transaction; what fails of it takes back only itself.

    Raises:
        sqlite3.Error: nothing of the group was written.
    """
    settled: list[Settled] = []
    rows: list[tuple[asyncio.Future[Any] | None, Row]] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for future, item in group:
            if isinstance(item, tuple):
                rows.append((future, item))
            else:
                settled.append((future, *_attempt(connection, item)))
        failure = None
        if rows:
            _, failure = _attempt(connection, partial(write_rows, rows=[row for _, row in rows]))
        for future, row in rows:
            if failure is None:
                settled.append((future, None, None))
            else:  # One bad row is the fault of nobody else: each goes alone.
                settled.append((future, *_attempt(connection, partial(write_rows, rows=[row]))))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return settled


def _attempt(connection: sqlite3.Connection, work: Work) -> tuple[Any, Exception | None]:
    """`(value, None)`, or `(None, why it was taken back)`."""
    connection.execute("SAVEPOINT work")
    try:
        value = work(connection)
    except Exception as error:
        if hinders(error):
            raise
        connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")
        if isinstance(error, sqlite3.Error):
            refusal = StoreError(f"The hub's record refused a change: {error}")
            refusal.__cause__ = error
            return None, refusal
        return None, error
    connection.execute("RELEASE work")
    return value, None


# What follows runs on the event loop.


def _settle_group(group: Sequence[Entry]) -> None:
    for future, _ in group:
        if future is not None and not future.done():
            future.set_result(None)


def _settle_each(settled: Sequence[Settled]) -> None:
    for future, value, error in settled:
        _settle_one(future, value, error)


def _settle_one(future: asyncio.Future[Any] | None, value: Any, error: BaseException | None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
