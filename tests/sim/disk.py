"""What the hub does in threads and on disk, in simulated time: real SQLite on a real file, and it may fail.

The store's writer keeps its own code and runs in a strand, which stops at its statements: the event loop,
readers and the end of the process come between any two of them.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import queue
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import anyio.to_thread
from anyio._backends import _asyncio

import hub.middleware.deadline
import hub.server.changes
import hub.server.wire
import hub.server.wire_connection
import hub.store.connection
import hub.store.journal
import hub.store.writer
from hub.manifests import manifest
from hub.store.connection import BUSY_SECONDS
from tests.sim.clock import Strand, Time, numbered
from tests.sim.operations import Operations

__all__ = ["Disk", "copied", "in_simulation", "rows_on_disk", "torn"]

_HEAD: Final = struct.Struct("<II")
"""Before each row of the journal: its length and checksum."""
_WRITES: Final = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "COMMIT")
_INSIDE: Final = ("SAVEPOIN", "RELEASE", "ROLLBACK")
"""These touch no disk."""
_KINDS: Final = {"BEGIN": "begin", "COMMIT": "commit"}
_CODES: Final = {
    "full": sqlite3.SQLITE_FULL,
    "failed": sqlite3.SQLITE_IOERR,
    "undone": sqlite3.SQLITE_IOERR,
    "locked": sqlite3.SQLITE_BUSY,
}


_NUMBERED: Final[tuple[tuple[Any, str, Any], ...]] = tuple(
    (where, name, numbered(getattr(where, name)))
    for where, name in (
        (_asyncio, "CancelScope"),
        (hub.middleware.deadline, "_Watched"),
        (hub.server.changes, "Watch"),
        (hub.server.wire, "Connection"),
        (hub.server.wire_connection, "Request"),
    )
)
"""What the hub has sets of."""


class Disk:
    """How the disk is at present, of one process of the hub or of the one after it."""

    def __init__(
        self, time: Time, random: Random, note: Callable[[str], None], operations: Operations
    ) -> None:
        self.time = time
        self.random = random
        self.note = note
        self.operations = operations
        self.full = False
        self.locked = False
        self.flaky = 0.0
        """How often a commit or a reading fails."""
        self.strands: list[Strand] = []
        self.queues: list[_Bell] = []

    def strand(self, function: Callable[[], object]) -> Strand:
        made = Strand(self.time, function)
        self.strands.append(made)
        return made

    def begin_thread(self) -> None:
        """Raises as `threading` does."""
        if self.operations.next("thread") is not None:
            raise RuntimeError("can't start new thread")

    def kill(self) -> None:
        """End all threads where they are."""
        strands, self.strands = self.strands, []
        for strand in strands:
            strand.kill()

    def heal(self) -> None:
        self.full = self.locked = False
        self.flaky = 0.0

    def before(self, real: sqlite3.Connection, sql: str) -> None:
        """A statement of the writer is about to be executed. Takes time; raises as SQLite would."""
        random, strand = self.random, self.time.strand
        word = sql.lstrip()[:8].split(" ", 1)[0].upper()
        if strand is not None and (word in ("BEGIN", "COMMIT") or random.random() < 0.2):
            strand.pause(random.choice((0.0, 0.0001, 0.001, 0.02)))
        way = None if word in _INSIDE else self.operations.next(_KINDS.get(word, "statement"))
        if way is not None:
            if way == "locked" and strand is not None:
                strand.pause(BUSY_SECONDS)
            if way == "undone" and real.in_transaction:
                real.execute("ROLLBACK")
            raise _error(_CODES[way])
        if self.locked and word == "BEGIN":
            if strand is not None:
                strand.pause(BUSY_SECONDS)
            if self.locked:
                raise _error(sqlite3.SQLITE_BUSY)
        if self.full and word in _WRITES:
            # SQLite ends the transaction by itself, or leaves that to whoever began it: either may be.
            if real.in_transaction and random.random() < 0.5:
                real.execute("ROLLBACK")
            raise _error(sqlite3.SQLITE_FULL)
        if word == "COMMIT" and random.random() < self.flaky:
            if real.in_transaction and random.random() < 0.5:
                real.execute("ROLLBACK")
            raise _error(sqlite3.SQLITE_IOERR)

    def read(self) -> None:
        if self.operations.next("query") is not None:
            raise _error(sqlite3.SQLITE_IOERR)
        if self.random.random() < self.flaky:
            raise _error(sqlite3.SQLITE_IOERR)


def _error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("simulated")
    error.sqlite_errorcode = code
    return error


class _Writing:
    """A connection that writes, and fails when the disk does."""

    def __init__(self, real: sqlite3.Connection, disk: Disk) -> None:
        self._real = real
        self._disk = disk

    def execute(self, sql: str, *values: Any) -> Any:
        self._disk.before(self._real, sql)
        done = self._real.execute(sql, *values)
        if sql == "COMMIT":
            self._disk.note("committed")
        return done

    def executemany(self, sql: str, *values: Any) -> Any:
        self._disk.before(self._real, sql)
        return self._real.executemany(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Reading:
    def __init__(self, real: sqlite3.Connection, disk: Disk) -> None:
        self._real = real
        self._disk = disk

    def execute(self, sql: str, *values: Any) -> Any:
        self._disk.read()
        return self._real.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Sqlite:
    """`sqlite3`, as far as a database is opened with it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def connect(self, path: Any, **more: Any) -> Any:
        if self._disk.operations.next("database") is not None:
            raise _error(sqlite3.SQLITE_CANTOPEN)
        real = sqlite3.connect(path, **more)
        return (_Reading if more.get("uri") else _Writing)(real, self._disk)

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)


class _Bell:
    """`queue.SimpleQueue` between the event loop and a strand."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._items = 0
        self._waiting: Strand | None = None

    def put(self, item: None) -> None:
        self._items += 1
        if self._waiting is not None:
            strand, self._waiting = self._waiting, None
            strand.wake(self._disk.random.choice((0.0, 0.00005, 0.001)))

    def get(self, timeout: float | None = None) -> None:
        if not self._items:
            strand = self._disk.time.strand
            assert strand is not None
            self._waiting = strand
            strand.pause(timeout)
            self._waiting = None
        if not self._items:
            raise queue.Empty
        self._items -= 1


class _Threads:
    """`threading`, as far as the writer uses it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def Thread(self, *, target: Callable[[], object], **_: Any) -> _Thread:  # noqa: N802 (the real one's name)
        return _Thread(self._disk, target)


class _Thread:
    def __init__(self, disk: Disk, target: Callable[[], object]) -> None:
        self._disk = disk
        self._target = target

    def start(self) -> None:
        self._disk.begin_thread()
        self._disk.strand(self._target).start()


class _Queues:
    Empty = queue.Empty

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def SimpleQueue(self) -> _Bell:  # noqa: N802 (the real one's name)
        return _Bell(self._disk)


@contextmanager
def in_simulation(disk: Disk, manifests: Callable[[], manifest.Manifests], half_bytes: int) -> Iterator[None]:
    """What the hub asks threads and disks for, it asks `disk`.

    Args:
        manifests: What is written in the hub's folder now. (To read it anew would take most of a run.)
        half_bytes: Of the journal.
    """

    async def run_sync(
        function: Callable[..., Any],
        *arguments: Any,
        abandon_on_cancel: bool = False,
        cancellable: bool | None = None,
        limiter: anyio.CapacityLimiter | None = None,
    ) -> Any:
        await anyio.lowlevel.checkpoint()
        disk.begin_thread()
        async with limiter or anyio.CapacityLimiter(1):
            with anyio.CancelScope(shield=not abandon_on_cancel):
                await asyncio.sleep(disk.random.choice((0.0, 0.0002, 0.002)))
                if function is manifest.load:
                    result: Any = manifests()
                else:
                    result = function(*arguments)
                await asyncio.sleep(disk.random.choice((0.0, 0.0002, 0.002)))
                return result

    places: list[tuple[Any, str, Any]] = [
        (anyio.to_thread, "run_sync", run_sync),
        (hub.store.writer, "threading", _Threads(disk)),
        (hub.store.writer, "queue", _Queues(disk)),
        (hub.store.connection, "sqlite3", _Sqlite(disk)),
        (hub.store.journal, "HALF_BYTES", half_bytes),
        *_NUMBERED,
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in places]
    for where, name, value in places:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)


def copied(home: Path, to: Path) -> None:
    """The hub's folder as the kernel has it this very moment: what its next process finds after kill -9."""
    shutil.copytree(
        home, to, ignore=lambda _, names: [n for n in names if n in ("lock", "logs", "hub.db-shm")]
    )


def torn(state: Path, random: Random) -> None:
    """As if it had been killed while it copied a row to the journal: of that one only a part is there."""
    file = state / "hub.db.journal"
    half = hub.store.journal.HALF_BYTES
    if not file.exists() or file.stat().st_size < 2 * half or random.random() < 0.5:
        return
    with file.open("r+b") as journal:
        data = journal.read()
        start = random.choice((0, half))
        at = start
        while at + 8 <= start + half and (length := _HEAD.unpack_from(data, at)[0]):
            at += 8 + length
            if at + 8 > start + half:
                return
        part = _HEAD.pack(500, 12345) + random.randbytes(random.randrange(500))
        # The end of the row is written before the row.
        if at + 512 < start + half:
            journal.seek(at)
            journal.write(part[: random.randrange(1, len(part) + 1)])


def rows_on_disk(home: Path, column: int, needle: str) -> list[tuple[Any, ...]]:
    """The rows of calls that would be found after a kill now, of which one column holds `needle`.

    Read apart from the hub: what lies in the journal's file, and what is committed.
    """
    found: list[tuple[Any, ...]] = []
    half = hub.store.journal.HALF_BYTES
    file = home / "hub.db.journal"
    data = file.read_bytes() if file.exists() else b""
    for start in (0, half) if len(data) >= 2 * half else ():
        at = start
        while at + 8 <= start + half:
            length, checksum = _HEAD.unpack_from(data, at)
            body = data[at + 8 : at + 8 + length]
            if not length or zlib.crc32(body) != checksum:
                break
            row = marshal.loads(body)
            if needle in (row[column] or ""):
                found.append(row)
            at += 8 + length
    if not found:
        descriptor = os.fspath(home / "hub.db")
        with sqlite3.connect(f"file:{descriptor}?mode=ro", uri=True) as connection:
            found = connection.execute("SELECT * FROM calls WHERE instr(params, ?)", (needle,)).fetchall()
        connection.close()
    return found
