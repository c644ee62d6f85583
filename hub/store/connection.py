"""Open the database file, for writing or only for reading, or say in a sentence why not.

Plain sqlite3, no thread and no event loop: `db` uses it in its threads, the command line directly.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from hub.errors import NotCurrent, StoreError
from hub.store import migrations

__all__ = ["BUSY_SECONDS", "Synchronous", "hinders", "open_for_writing", "open_read_only", "why"]

Synchronous = Literal["normal", "full"]
"""`normal` survives the end of the process at any moment; `full` also that of the machine."""

BUSY_SECONDS: Final = 2.0
"""How long to wait for another program's lock."""

_CHECKPOINT_PAGES: Final = 1000
_WAL_BYTES_KEPT: Final = 16 * 1024 * 1024

_WORDS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another program holds its lock",
    sqlite3.SQLITE_LOCKED: "another program holds its lock",
    sqlite3.SQLITE_PROTOCOL: "another program holds its lock",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_PERM: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_NOMEM: "memory is short",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is not a database",
}


def open_for_writing(path: Path, synchronous: Synchronous = "normal") -> sqlite3.Connection:
    """A connection in autocommit mode to a database of the newest shape, made where there is none.

    Its file is for its owner only. Waits at most `BUSY_SECONDS` for a lock.

    Raises:
        StoreError: not a database of this hub or of a newer one (then nothing is changed), locked,
            not writable.
    """
    is_current = not _create(path) and len(_seen(path)) == len(migrations.NAMES)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)
    # They stand for themselves; not told so, sqlite3 looks for another meaning: 0.2 us for each value.
    nothing: dict[None, None] = {}
    sqlite3.register_adapter(type(None), nothing.get)
    sqlite3.register_adapter(bytes, bytes)
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=256)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
        if not is_current:
            migrations.apply(connection)
        else:
            connection.execute("BEGIN IMMEDIATE")  # proves that it can be written now
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from error
    return connection


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, to a database of the newest shape.

    May be used by one thread at a time.

    Raises:
        NotCurrent: there is none yet, or it is of an older version. A hub that starts right now changes that.
        StoreError: it is of a newer version or another program, or locked.
    """
    if not path.exists() or not (seen := _seen(path)):
        raise NotCurrent(f"{path} does not exist: no hub has run here yet. Start one with `hub serve`.")
    if len(seen) < len(migrations.NAMES):
        raise NotCurrent(f"{path} is of an older version of the hub. Start the hub once; that updates it.")
    return _connect_read_only(path)


def _create(path: Path) -> bool:
    """Make an empty file where there is none, for its owner only; whether there was none.

    SQLite would take the umask's mode, and gives its -wal and -shm files the mode of this one. A file
    that exists is not opened: closing it again would drop the locks of this process's connections.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return True
    except FileExistsError:
        if path.is_file():
            return False
        reason = "it is no file"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise StoreError(f"{path} cannot be used: {reason}. {_fix(path)}")


def _seen(path: Path) -> tuple[str, ...]:
    """The changes that it has seen; raises `StoreError` where it cannot be ours. Changes nothing."""
    if not path.stat().st_size:
        return ()
    connection = _connect_read_only(path)
    try:
        seen = migrations.applied(connection)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    finally:
        connection.close()
    if seen is None:
        raise StoreError(f"{path} is another program's database. Move it away; the hub makes its own.")
    unknown = [name for name in seen if name not in migrations.NAMES]
    if unknown:
        raise StoreError(
            f"{path} was written by a newer version of the hub (it holds {unknown[-1]!r:.80}). "
            "Use that version, or move the file away to begin a new one; nothing was changed."
        )
    return seen


def _connect_read_only(path: Path) -> sqlite3.Connection:
    # Whoever opens a database makes its log, if there is none, and the last to close takes it away: unless
    # that one may only read. So where the log has nothing in it, the file is opened like any other, and
    # writing is switched off. A log with something in it stays as it is: it may be evidence.
    mode = "ro" if _has_log(path) else "rw"
    try:
        connection = sqlite3.connect(
            f"file:{quote(os.fspath(path.absolute()))}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA query_only = ON")
        return connection
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _has_log(path: Path) -> bool:
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False


def hinders(error: BaseException) -> bool:
    """Whether an error says that the database as a whole cannot be used, rather than one statement."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _WORDS


def why(error: BaseException) -> str:
    """A few words for the sentence that somebody reads; never quotes values."""
    return _WORDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, type(error).__name__)


def _unusable(path: Path, error: sqlite3.Error) -> StoreError:
    return StoreError(f"{path} cannot be used: {why(error)}. {_fix(path, error)}")


def _fix(path: Path, error: sqlite3.Error | None = None) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_PERM) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return "End the program that has it open, then try again."
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "Move it away, or put back a copy; the hub makes a new one."
    if code == sqlite3.SQLITE_FULL:
        return "Free some space, then try again."
    return f"Let the user who runs the hub write to {path.parent}, or name another folder with --home."
