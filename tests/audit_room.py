"""A record with a chain over it, for tests that tamper with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hub.audit.chain import Report, verify
from hub.audit.keys import Ed25519Signer
from hub.audit.sources import DatabaseSource, database
from hub.store import audit, calls, sessions
from hub.store.calls import PENDING, Intent, Outcome
from hub.store.connection import open_for_writing
from hub.store.sealing import GENESIS, Entry, hash_of
from tests.store_room import SESSION

__all__ = ["SIGNER", "intent", "made", "opened", "rechained", "report_of", "result"]

SIGNER = Ed25519Signer(bytes(range(32)))


def intent(number: int) -> Intent:
    params = f'{{"name":"git__commit","arguments":{{"message":"ü {number}"}}}}'
    id = f"call{number:06}"
    return Intent(
        id, "s1", "me", "t1", "git", "tools/call", "git__commit", "commit", params, len(params), number * 1000
    )


def result(number: int) -> Outcome:
    return Outcome("done", result=f'{{"content":[],"n":{number}}}', result_bytes=20, duration_us=1500)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """To write with, as whoever tampers does; what was done is committed."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def made(path: Path, count: int, *, every: int = 7) -> Path:
    """A record of `count` calls with two entries each, from entry 2 on; each `every` calls are signed."""
    connection = open_for_writing(path)
    connection.execute("BEGIN")
    sessions.insert(connection, SESSION)
    for number in range(count):
        calls.write_rows(connection, [intent(number) + PENDING])
        calls.write_rows(connection, [intent(number) + result(number)])
        if number % every == every - 1:
            audit.checkpoint(connection, SIGNER, number)
    audit.note(connection, 5, "token.revoked", "t1", {"agent": "me"})
    audit.checkpoint(connection, SIGNER, count)
    connection.execute("COMMIT")
    connection.close()
    return path


def report_of(path: Path, *, first: int | None = None, head: tuple[int, bytes] | None = None) -> Report:
    with database(path) as connection:
        return verify(DatabaseSource(connection, first), key=SIGNER.key, head=head)


def rechained(connection: sqlite3.Connection, first: int) -> None:
    """Make the hashes from an entry on anew, as somebody does who knows how but has no key."""
    columns = ", ".join(Entry._fields)
    before = connection.execute("SELECT hash FROM audit WHERE seq < ? ORDER BY seq DESC", (first,)).fetchone()
    previous: bytes = before[0] if before else GENESIS
    rows: Sequence[tuple[object, ...]] = connection.execute(
        f"SELECT {columns} FROM audit WHERE seq >= ? ORDER BY seq", (first,)
    ).fetchall()
    connection.execute("BEGIN")
    for row in rows:
        entry = Entry(*row)  # type: ignore[arg-type]
        hash = hash_of(entry.seq, entry.at, entry.kind, entry.subject, entry.digest, previous)
        connection.execute(
            "UPDATE audit SET previous = ?, hash = ? WHERE seq = ?", (previous, hash, entry.seq)
        )
        previous = hash
    connection.execute("COMMIT")
