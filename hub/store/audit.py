"""The chain over the record, as it is kept: entries, which are only ever added, and signed checkpoints.

Whoever changes what the chain covers adds an entry in the same transaction (`add`, `note`). The head is
read from the database each time, so that a transaction which is taken back takes its entries along.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from hub.store.sealing import GENESIS, Checkpoint, Entry, event, signed_text

__all__ = [
    "BATCH",
    "Signer",
    "add",
    "begin",
    "begun_with",
    "bounds",
    "checkpoint",
    "checkpoints",
    "delete_calls",
    "delete_payloads",
    "entries",
    "find",
    "hash_at",
    "head",
    "note",
    "one_moment",
    "retentions",
    "rows_without_entry",
    "seq_at",
    "seq_over",
    "unsealed",
]

BATCH: Final = 500
"""How many entries one transaction of a deletion goes over."""
ROWS_MAX: Final = 64


class Signer(Protocol):
    @property
    def key(self) -> str:
        """The public key, as text."""
        ...

    def sign(self, text: bytes) -> bytes: ...


_COLUMNS: Final = ", ".join(Entry._fields)
_ROW: Final = "(" + ", ".join("?" * len(Entry._fields)) + ")"
_STATEMENTS: Final = tuple(
    f"INSERT INTO audit ({_COLUMNS}) VALUES {', '.join([_ROW] * count)}" for count in range(1, ROWS_MAX + 1)
)


def head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """The last entry's number and hash; `(0, GENESIS)` before the first."""
    found = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return (found[0], found[1]) if found is not None else (0, GENESIS)


def add(connection: sqlite3.Connection, made: Sequence[Entry]) -> None:
    """Append entries that were made to follow `head`."""
    for start in range(0, len(made), ROWS_MAX):
        some = made[start : start + ROWS_MAX]
        values: list[Any] = []
        for entry in some:
            values.extend(entry)
        connection.execute(_STATEMENTS[len(some) - 1], values)


def note(connection: sqlite3.Connection, at: int, kind: str, subject: str, said: Mapping[str, Any]) -> int:
    """Append the entry of an event, in the transaction of what it says; its number.

    Args:
        said: What a person will want to know of it, without secrets: text, integers, null.
    """
    seq, previous = head(connection)
    add(connection, [event(seq + 1, at, kind, subject, said, previous)])
    return seq + 1


def begin(connection: sqlite3.Connection) -> None:
    """The first entry, where there is none: it says how many calls there are that no chain covers."""
    if head(connection)[0] == 0:
        (last,) = connection.execute("SELECT coalesce(max(started), 0) FROM calls").fetchone()
        note(connection, last, "begin", "", {"unsealed": unsealed(connection)})


def checkpoint(connection: sqlite3.Connection, signer: Signer, now: int) -> bool:
    """Sign the chain as far as it goes; whether there was anything new to sign."""
    seq, hash = head(connection)
    (last,) = connection.execute("SELECT max(seq) FROM checkpoints").fetchone()
    if seq == 0 or seq == last:
        return False
    signature = signer.sign(signed_text(seq, now, hash, signer.key))
    made = Checkpoint(seq, now, hash, signer.key, signature)
    connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?)", made)
    return True


def retentions(connection: sqlite3.Connection) -> list[str]:
    """What retention has said that it deletes, as JSON, the oldest first."""
    rows = connection.execute(
        "SELECT body FROM audit WHERE kind = 'retention' AND body IS NOT NULL ORDER BY seq"
    )
    return [body for (body,) in rows]


def hash_at(connection: sqlite3.Connection, seq: int) -> bytes | None:
    found = connection.execute("SELECT hash FROM audit WHERE seq = ?", (seq,)).fetchone()
    return None if found is None else bytes(found[0])


def bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """The first and the last number; `(1, 0)` for none."""
    first, last = connection.execute(
        "SELECT (SELECT seq FROM audit ORDER BY seq LIMIT 1), "
        "(SELECT seq FROM audit ORDER BY seq DESC LIMIT 1)"
    ).fetchone()
    return (1, 0) if first is None else (first, last)


def seq_at(connection: sqlite3.Connection, moment: int) -> int:
    """The last entry before a moment, by halving: right where the clock never went back. 0 for none."""
    first, last = bounds(connection)
    low, high = first - 1, last
    while low < high:
        middle = (low + high + 1) // 2
        found = connection.execute("SELECT at FROM audit WHERE seq >= ? LIMIT 1", (middle,)).fetchone()
        if found is not None and found[0] < moment:
            low = middle
        else:
            high = middle - 1
    return low if low >= first else 0


def seq_over(connection: sqlite3.Connection, bytes_max: int, each_max: int) -> int:
    """The last entry of the newest call that is one too many, where what calls said is to be so much at most.

    Looks at every call of which something is kept: a second for each gigabyte or so.

    Args:
        each_max: A text counts as at most so much.
    """
    rows = connection.execute(
        "SELECT seq, min(params_bytes, ?1) + min(coalesce(result_bytes, 0), ?1) FROM calls "
        "WHERE seq IS NOT NULL AND (params IS NOT NULL OR result IS NOT NULL) ORDER BY id DESC",
        (each_max,),
    )
    total = 0
    for seq, size in rows:
        total += size
        if total > bytes_max:
            return int(seq)
    return 0


def entries(connection: sqlite3.Connection, first: int, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Entries from a number on, each with these columns of the call that it is about (else nulls)."""
    cursor = connection.execute(
        f"SELECT {', '.join(f'audit.{name}' for name in Entry._fields)}, "
        f"{', '.join(f'calls.{name}' for name in columns)} "
        "FROM audit LEFT JOIN calls ON calls.id = audit.subject AND audit.body IS NULL "
        "WHERE audit.seq >= ? ORDER BY audit.seq",
        (first,),
    )
    yield from cursor


def checkpoints(connection: sqlite3.Connection, first: int) -> Iterator[Checkpoint]:
    found = connection.execute("SELECT * FROM checkpoints WHERE seq >= ? ORDER BY seq", (first,))
    return (Checkpoint(*row) for row in found)


def find(connection: sqlite3.Connection, hash: bytes, seq: int) -> int | None:
    """Where, near a number, the entry stands that should follow this hash: for a better message."""
    found = connection.execute(
        "SELECT seq FROM audit WHERE previous = ? AND seq BETWEEN ? AND ? LIMIT 1",
        (hash, seq - 10_000, seq + 10_000),
    ).fetchone()
    return None if found is None else int(found[0])


def rows_without_entry(connection: sqlite3.Connection) -> tuple[str, int] | None:
    """The id and number of a call whose number is of no entry of its own, if there is one."""
    found = connection.execute(
        "SELECT calls.id, calls.seq FROM calls LEFT JOIN audit ON audit.seq = calls.seq "
        "WHERE calls.seq IS NOT NULL AND audit.subject IS NOT calls.id ORDER BY calls.seq LIMIT 1"
    ).fetchone()
    return None if found is None else (str(found[0]), int(found[1]))


def begun_with(connection: sqlite3.Connection) -> int | None:
    """How many calls the chain began with that it does not cover; `None` where its beginning is gone."""
    found = connection.execute("SELECT body ->> 'unsealed' FROM audit WHERE seq = 1").fetchone()
    return None if found is None else int(found[0] or 0)


@contextmanager
def one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read within is of the same moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def unsealed(connection: sqlite3.Connection) -> int:
    """How many calls have no number at all."""
    return int(connection.execute("SELECT count(*) FROM calls WHERE seq IS NULL").fetchone()[0])


def delete_payloads(connection: sqlite3.Connection, after: int, through: int) -> int:
    """Forget what calls said whose last entry is within; goes over `BATCH` entries.

    Returns:
        The entry that it came to.
    """
    until = min(after + BATCH, through)
    _delete_parts(connection, after + 1, until)
    connection.execute(
        "UPDATE calls SET params = NULL, result = NULL, error = NULL WHERE seq <= ?2 AND id IN "
        "(SELECT subject FROM audit WHERE seq > ?1 AND seq <= ?2 AND body IS NULL)",
        (after, until),
    )
    return until


def delete_calls(connection: sqlite3.Connection, through: int) -> bool:
    """Delete the first `BATCH` entries up to `through`, and calls without a later; whether any is left."""
    first, _ = bounds(connection)
    until = min(first + BATCH - 1, through)
    if first > through:
        return False
    _delete_parts(connection, first, until)
    connection.execute(
        "DELETE FROM calls WHERE seq <= ?2 AND id IN "
        "(SELECT subject FROM audit WHERE seq >= ?1 AND seq <= ?2 AND body IS NULL)",
        (first, until),
    )
    connection.execute("DELETE FROM audit WHERE seq <= ?", (until,))
    connection.execute("DELETE FROM checkpoints WHERE seq <= ?", (until,))
    return until < through


def _delete_parts(connection: sqlite3.Connection, first: int, until: int) -> None:
    """Of calls whose last entry is within."""
    connection.execute(
        "DELETE FROM parts WHERE call IN (SELECT id FROM calls WHERE seq <= ?2 AND id IN "
        "(SELECT subject FROM audit WHERE seq >= ?1 AND seq <= ?2 AND body IS NULL))",
        (first, until),
    )
