"""The one thread that writes, and what is between it and the event loop.

Rows of calls are kept in the journal first, and then nobody waits for them: the thread writes them
in groups, one statement for 64. What is to be waited for (`put`) wakes it at once; whatever is queued
then goes into one transaction, and one message to the event loop answers all who wait.

Measured with uvloop, CPU of both threads for a call that is recorded once, at 8 calls under way: 60 us
where each waits for its commit (waking two threads, and their fight for the interpreter's lock),
13 with the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from hub.env import Env
from hub.errors import NoThread, StoreBusy, StoreError
from hub.store.calls import ROWS_MAX, outcome_of, write_rows
from hub.store.connection import Synchronous, hinders, open_for_writing, why
from hub.store.journal import Journal
from hub.store.recovery import open_journal
from hub.threads import start

__all__ = ["OWED_MAX", "QUEUE_MAX", "Work", "Writer"]

Row = tuple[Any, ...]
Work = Callable[[sqlite3.Connection], Any]
Waiter: TypeAlias = "asyncio.Future[Any] | int | None"
"""Who waits for it: somebody, the half of the journal that holds it, or nobody."""
Entry = tuple[Waiter, "Row | Work"]

QUEUE_MAX: Final = 10_000
OWED_MAX: Final = 1_000
GROUP_SECONDS: Final = 0.1
"""How long rows in the journal wait for others to be written with. (Whoever reads makes them be written.)"""
_GROUP_MAX: Final = 4 * ROWS_MAX
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
        self._rung = False
        self._timer: asyncio.TimerHandle | None = None
        self._journal: Journal | None = None
        self._kept: deque[Entry] = deque()
        """Of the journal, taken while nothing could be written."""
        self._stopping = False
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.trouble: str | None = None
        """Why nothing can be written at present. While it is set, everything is refused at once."""
        self.committed = 0
        """How many entries were committed so far."""
        self.listeners: set[Callable[[], None]] = set()
        """Called on the event loop when something was committed."""

    async def start(self) -> None:
        """Open the database. Raises `StoreError`."""
        try:
            start(self._thread)
        except NoThread as error:
            self._ended.set_result(None)
            raise StoreError(f"The hub's record cannot be written: {error}") from None
        await asyncio.shield(self._opened)

    async def stop(self) -> None:
        """Write what is queued, close the database. New entries are refused from now on."""
        self._stopping = True
        self._ring()
        await asyncio.shield(self._ended)

    def waiting(self) -> int:
        """How many entries are to be written."""
        return len(self._entries)

    def keep(self, row: Row) -> bool:
        """Take a row that is safe from now on; `False` where there is no room: it has to be `put`."""
        journal = self._journal
        if journal is None or self._stopping or len(self._entries) >= QUEUE_MAX:
            return False
        half = journal.append(row)
        if half is None:
            return False
        self._entries.append((half, row))
        if len(self._entries) >= _GROUP_MAX:
            self._ring()
        elif self._timer is None:
            self._timer = self._loop.call_later(GROUP_SECONDS, self._ring)
        return True

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
        if self.trouble is None:
            self._ring()

    async def catch_up(self) -> None:
        """Return when what is in the journal is in the database as well; at once while it cannot be."""
        if self._journal is not None and self._journal.holds and self.trouble is None and not self._stopping:
            with contextlib.suppress(StoreError):
                await self.put(_nothing)

    def wipe(self) -> bool:
        """Overwrite what the journal holds; `False` while some of it is not in the database yet."""
        return self._journal is None or self._journal.wipe()

    def _add(self, entry: Entry) -> None:
        if self._stopping:
            raise StoreError("The hub is stopping; its record is closed")
        if len(self._entries) >= QUEUE_MAX:
            raise StoreBusy("The hub's record is busy: too much waits to be written; try again in a second")
        self._entries.append(entry)
        self._ring()

    def _ring(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Waking costs more than queueing, so once is enough until the thread has looked.
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def _settle_group(self, group: Sequence[Entry]) -> None:
        halves = [0, 0]
        for waiter, _ in group:
            if type(waiter) is int:
                halves[waiter] += 1
            else:
                self._settle(waiter, None, None)
        if self._journal is not None:
            for half, rows in enumerate(halves):
                self._journal.written(half, rows)
        for listener in self.listeners:
            listener()

    def _settle_each(self, settled: Sequence[Settled]) -> None:
        for waiter, value, error in settled:
            self._settle(waiter, value, error)
        for listener in self.listeners:
            listener()

    def _refuse_each(self, group: Sequence[Entry], sentence: str) -> None:
        for waiter, item in group:
            if isinstance(waiter, asyncio.Future) and waiter.cancelled() and isinstance(item, tuple):
                # Nobody is left who would owe it: its agent has gone.
                if (outcome := outcome_of(item)) is not None:
                    self.owe(outcome)
            else:
                self._settle(waiter, None, StoreError(sentence))

    def _settle(self, waiter: asyncio.Future[Any] | int | None, value: Any, error: Any) -> None:
        if isinstance(waiter, int):
            assert self._journal is not None
            self._journal.written(waiter)
            if error is not None:
                logger.error("The record refused a row that it had taken: %s", error)
        else:
            _settle_one(waiter, value, error)

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            connection = open_for_writing(self._path, self._synchronous)
            try:
                self._journal = open_journal(self._path, connection, self._synchronous)
            except BaseException:
                connection.close()
                raise
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
                if self._journal is not None and self.trouble is None:
                    self._journal.clear()
                return

    def _sleep(self) -> None:
        """Until somebody rings; while there is trouble, for a moment at most."""
        if self._stopping:
            return
        with contextlib.suppress(queue.Empty):
            self._bell.get(timeout=None if self.trouble is None else _PROBE_SECONDS)
        # Before the entries are taken: whoever adds one after that rings anew.
        self._rung = False

    def _take(self) -> list[Entry]:
        entries, owed = self._entries, self._owed
        taken = [entries.popleft() for _ in range(len(entries))]
        if owed and self.trouble is None:
            # Of what was intended before, so behind it; and also where the trouble has passed before it came.
            taken.extend((None, owed.popleft()) for _ in range(len(owed)))
        return taken

    def _commit(self, connection: sqlite3.Connection, group: list[Entry]) -> None:
        try:
            if all(isinstance(item, tuple) for _, item in group):
                try:
                    _write_together(connection, [item for _, item in group])  # type: ignore[misc]
                except Exception as error:
                    if hinders(error):
                        raise
                else:
                    self.committed += len(group)
                    self._tell(self._settle_group, group)
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
            self.committed += len(group)
            self._tell(self._settle_each, settled)

    def _probe(self, connection: sqlite3.Connection) -> bool:
        """Whether the database can be written again; writes what is owed."""
        owed = [self._owed.popleft() for _ in range(len(self._owed))]
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO probe VALUES (1, zeroblob(?))", (_PROBE_BYTES,))
            # What is owed is what came of calls whose intents may be among the others: laid over these, last.
            settled = _write_each(connection, list(self._kept))
            _write_each(connection, [(None, row) for row in owed])
            connection.execute("COMMIT")
            connection.execute("DELETE FROM probe")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._owed.extendleft(reversed(owed))
            return False
        self._kept.clear()
        if settled:
            self._tell(self._settle_each, settled)
        return True

    def _fail(self, group: Sequence[Entry], sentence: str) -> None:
        """Refuse all who wait; what the journal holds is not lost, and is written when it can be."""
        self._kept.extend(entry for entry in group if type(entry[0]) is int)
        self._owed.extend(item for waiter, item in group if waiter is None and isinstance(item, tuple))
        self._tell(self._refuse_each, [entry for entry in group if type(entry[0]) is not int], sentence)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # The event loop is closed, so nobody waits.
            self._loop.call_soon_threadsafe(callback, *arguments)


Settled = tuple[Waiter, Any, "BaseException | None"]


def _write_together(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Rows in a transaction of their own: all of them or, whatever it raises, none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        write_rows(connection, rows)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _transact(connection: sqlite3.Connection, group: Sequence[Entry]) -> list[Settled]:
    """One transaction; what fails of it takes back only itself.

    Raises:
        sqlite3.Error: nothing of the group was written.
    """
    settled: list[Settled] = []
    rows: list[tuple[Any, Row]] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for future, item in group:
            if isinstance(item, tuple):
                rows.append((future, item))
            else:
                settled.append((future, *_attempt(connection, item)))
        settled.extend(_write_each(connection, rows))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return settled


def _write_each(connection: sqlite3.Connection, rows: Sequence[tuple[Any, Any]]) -> list[Settled]:
    """Rows within a transaction: together, or each alone where one is bad: the fault of no other."""
    failure = None
    if rows:
        _, failure = _attempt(connection, partial(write_rows, rows=[row for _, row in rows]))
    if failure is None:
        return [(waiter, None, None) for waiter, _ in rows]
    return [(waiter, *_attempt(connection, partial(write_rows, rows=[row]))) for waiter, row in rows]


def _nothing(connection: sqlite3.Connection) -> None:
    """Waited for, it says that all before it is committed."""


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


def _settle_one(future: asyncio.Future[Any] | None, value: Any, error: BaseException | None) -> None:
    """On the event loop."""
    if future is None or future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
