"""Calls: what was asked, by whom, and what became of it. One row each.

A row is an `Intent` (known before the call) and an `Outcome` (known after). Every write is a whole
row laid over what is there, so that one statement serves a group of any mixture.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from hub.errors import InvalidParams, StoreError
from hub.store import audit
from hub.store.sealing import Entry, RowShape

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = [
    "PENDING",
    "ROWS_MAX",
    "CallFilter",
    "CallRow",
    "Calls",
    "Intent",
    "Outcome",
    "State",
    "get_call",
    "list_calls",
    "outcome_of",
    "recover",
    "take_up",
    "write_rows",
]

State = Literal["intended", "done", "failed", "refused", "cancelled", "unknown"]
"""`unknown`: it may have had its effect, and nobody can say."""

ROWS_MAX: Final = 64
"""How many rows one statement writes."""

PREFIX_LENGTH_MIN: Final = 6
LIMIT_MAX: Final = 1000


class Intent(NamedTuple):
    id: str
    session: str
    """Of a row in `sessions`."""
    agent: str
    token: str | None
    server: str | None
    """`None` where the name asked for is of no entry."""
    method: str
    tool: str
    """The name or URI as the agent gave it."""
    own: str | None
    """Its name at its server."""
    params: str | None
    """JSON."""
    params_bytes: int
    """Its size, also where `params` was cut."""
    started: int


class Outcome(NamedTuple):
    state: State
    kind: str | None = None
    """Closer: tool_error, protocol_error, transport, refused, internal, cancelled, crash, input_required."""
    reason: str | None = None
    """The word of the hub's own error (`HubError.reason`)."""
    rule: str | None = None
    """The id of the rule that refused it, or else of the first that allowed it."""
    result: str | None = None
    """JSON."""
    error: str | None = None
    """JSON: `code` where the server gave one, and `message`."""
    result_bytes: int | None = None
    """Its size, also where `result` was cut."""
    duration_us: int | None = None
    attempts: int = 1
    """How often it was tried."""


class CallRow(NamedTuple):
    """A row as it is read: an `Intent` and an `Outcome`, field by field."""

    id: str
    session: str
    agent: str
    token: str | None
    server: str | None
    method: str
    tool: str
    own: str | None
    params: str | None
    params_bytes: int
    started: int
    state: State
    kind: str | None
    reason: str | None
    rule: str | None
    result: str | None
    error: str | None
    result_bytes: int | None
    duration_us: int | None
    attempts: int
    seq: int | None
    """The entry of the audit chain that says so; `None` where the row is older than the chain."""


PENDING: Final = Outcome("intended")

_COLUMNS = ", ".join(CallRow._fields)
_BRIEF = ", ".join("NULL" if name in ("params", "result", "error") else name for name in CallRow._fields)
_ROW = "(" + ", ".join("?" * len(CallRow._fields)) + ")"
_OVER = ", ".join(f"{name} = excluded.{name}" for name in (*Outcome._fields, "seq"))
_STATE = CallRow._fields.index("state")
_TEXTS = frozenset({CallRow._fields.index("result"), CallRow._fields.index("error")})
_WHOLE = (None,) * len(Intent._fields) + PENDING
SHAPE: Final = RowShape(CallRow._fields)
# One text for each number of rows: a statement takes and gives back the interpreter's lock several
# times, so a group must not be many. Measured at 8 rows: 10.8 us a row, executemany 12.7,
# json_each 19.4; at 64 rows 6.3, 8.5, 14.6.
_STATEMENTS: Final = tuple(
    f"INSERT INTO calls ({_COLUMNS}) VALUES {', '.join([_ROW] * count)} "
    f"ON CONFLICT (id) DO UPDATE SET {_OVER}"
    for count in range(1, ROWS_MAX + 1)
)


def write_rows(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write whole rows (`intent + outcome`), new or over what is there, each with its entry of the chain.

    To be called in a transaction. `ROWS_MAX` rows a statement. Measured, in groups of 64: 4 us a row, and 5
    for its entry. (To let the event loop have its turn in between makes it wait longer in all: the slowest of
    a hundred calls took half as long again.)
    """
    if not rows:
        return
    seq, previous = audit.head(connection)
    made: list[Entry] = []
    for start in range(0, len(rows), ROWS_MAX):
        some = rows[start : start + ROWS_MAX]
        values: list[Any] = []
        for row in some:
            seq += 1
            entry = SHAPE.entry(row, seq, previous)
            previous = entry.hash
            made.append(entry)
            values += row
            values.append(seq)
        connection.execute(_STATEMENTS[len(some) - 1], values)
    audit.add(connection, made)


def outcome_of(row: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """A whole row without its texts, to be kept for a while; `None` where it says no more than an intent."""
    if row[_STATE] == "intended":
        return None
    return tuple(None if at in _TEXTS else value for at, value in enumerate(row))


def take_up(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> tuple[int, int]:
    """Write rows that a hub left in its journal: how many were new, and how many the database refused.

    A row that is there already, and says more than that the call was intended, stays.
    """
    taken_up = refused = 0
    for row in rows:
        known = connection.execute("SELECT state FROM calls WHERE id = ?", row[:1]).fetchone()
        if known is not None and (known[0] != "intended" or row[_STATE] == "intended"):
            continue
        try:
            # An older hub's rows end earlier.
            write_rows(connection, [row + _WHOLE[len(row) :]])
            taken_up += 1
        except sqlite3.IntegrityError:
            refused += 1
    return taken_up, refused


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls; what is left out does not restrict."""

    agent: str | None = None
    server: str | None = None
    tool: str | None = None
    """Exactly the name that the agent gave."""
    session: str | None = None
    state: State | None = None
    errors: bool = False
    """Only what went wrong: failed, refused, unknown."""
    since: int | None = None
    """Started at this moment or later."""
    before: str | None = None
    """Older than the call with this id: the next page."""
    limit: int = 50
    """1 to 1000."""


def list_calls(connection: sqlite3.Connection, wanted: CallFilter) -> list[CallRow]:
    """The newest first, without `params`, `result` and `error`."""
    where, values = ["TRUE"], []
    for column in ("agent", "server", "tool", "session", "state"):
        value = getattr(wanted, column)
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.errors:
        where.append("state IN ('failed', 'refused', 'unknown')")
    if wanted.since is not None:
        where.append("started >= ?")
        values.append(wanted.since)
    if wanted.before is not None:
        where.append("id < ?")
        values.append(wanted.before)
    values.append(max(1, min(wanted.limit, LIMIT_MAX)))
    rows = connection.execute(
        f"SELECT {_BRIEF} FROM calls WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?", values
    )
    return [CallRow(*row) for row in rows]


def get_call(connection: sqlite3.Connection, id: str) -> CallRow | None:
    """One call by its id, or by the first characters of it.

    Raises:
        InvalidParams: fewer than 6 characters, or more than one call begins so.
    """
    if len(id) < PREFIX_LENGTH_MIN:
        raise InvalidParams(f"A call is named by at least the first {PREFIX_LENGTH_MIN} characters of its id")
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM calls WHERE id >= ? AND id < ? ORDER BY id LIMIT 2", (id, id + "\x7f")
    ).fetchall()
    if len(rows) > 1 and rows[0][0] != id:
        raise InvalidParams(f"More than one call begins with {id!r}: give more of its id")
    return CallRow(*rows[0]) if rows else None


_CRASH = '{"message":"The hub ended while this call was under way; what it did at its server is not known."}'


def recover(connection: sqlite3.Connection) -> int:
    """Say of every open intent that its outcome is unknown; how many there were.

    To be called before the first call of a new hub, when nothing else can have an open one.
    """
    unknown = Outcome("unknown", "crash", error=_CRASH)
    intents = ", ".join(Intent._fields)
    rows = connection.execute(f"SELECT {intents} FROM calls WHERE state = 'intended' ORDER BY id").fetchall()
    write_rows(connection, [row + unknown for row in rows])
    return len(rows)


class Calls:
    """The calls of a running hub.

    A row is safe when `intend` or `record` has returned `None`, or the awaitable that it returned is
    done: neither the end of the process nor trouble with the database loses it then.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def trouble(self) -> str | None:
        return self._store.trouble

    def intend(self, intent: Intent) -> Awaitable[None] | None:
        """Before something may change. Raises `StoreError`, here or where it is awaited."""
        if self._store.trouble is not None:
            raise StoreError(self._store.trouble)
        row = intent + PENDING
        return None if self._store.keep(row) else self._store.put(row)

    def record(self, intent: Intent, outcome: Outcome) -> Awaitable[None] | None:
        """What became of a call, whether it was intended before or is written once. Raises as `intend`."""
        row = intent + outcome
        return None if self._store.keep(row) else self._store.put(row)

    def owe(self, intent: Intent, outcome: Outcome) -> None:
        """Write an outcome once the store can write again, without its texts, if the hub lives so long.

        Keeps the newest 1,000; of the others the next start says that they are unknown.
        """
        self._store.owe(intent + outcome._replace(result=None, error=None))

    async def recover(self) -> int:
        return await self._store.write(recover)

    async def get(self, id: str) -> CallRow | None:
        return await self._store.read(lambda connection: get_call(connection, id))

    async def list(self, wanted: CallFilter) -> Sequence[CallRow]:
        return await self._store.read(lambda connection: list_calls(connection, wanted))
