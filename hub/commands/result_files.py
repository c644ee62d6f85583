"""Stored results for people: which there are, what lies in one, and its deletion. No event loop.

A person sees those of all agents. What is deleted is gone from the files as well; the audit's chain says by
whom.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from connectors.jsonrpc import Budget, parse
from hub import records
from hub.audit import leftover
from hub.commands.session_files import deleted_alone
from hub.failure import Failure
from hub.model import Json
from hub.os_user import os_user
from hub.results.document import Document, Hit, NoSuchPlace, TooLong
from hub.results.outline import from_json
from hub.results.pointers import joined
from hub.results.shape import shape
from hub.store import forgetting
from hub.store import results as table
from hub.store.results import ResultRow

if TYPE_CHECKING:
    import sqlite3

    from hub.env import Env
    from hub.home import Home

__all__ = ["forget", "forget_alone", "listed", "shown", "told"]

_SHAPE_BYTES_MAX: Final = 4000
_VALUE_LENGTH_MAX: Final = 1 << 30
_HITS_MAX: Final = 1000
_BUDGET: Final = Budget(1 << 20, 100_000)


def listed(home: Home, agent: str | None, session: str | None, limit: int) -> list[Json]:
    """The newest first. Raises `StoreError`."""
    if not home.database.exists():
        return []
    with leftover.one_moment(home) as connection:
        rows = table.list_results(connection, agent=agent, session=session, limit=limit)
        return [_about(row) for row in rows]


def shown(home: Home, id: str, pointer: str | None = None, search: str | None = None) -> Json:
    """One result.

    Args:
        pointer: What lies there is `value`, then; else `shape` says what all of it looks like.
        search: The places at and below the pointer that have these words, as `hits`, instead.

    Raises:
        Failure: there is no such result, or nothing at that place.
        StoreError: the record cannot be read.
    """
    if not home.database.exists():
        raise _unknown(id)
    with leftover.one_moment(home) as connection:
        row = _row(connection, id)
        document = Document(from_json(row.outline), row.length, partial(table.text, connection, row.id))
        found = _about(row)
        if pointer is None and search is None:
            return {**found, "shape": shape(document, (), document.root, _SHAPE_BYTES_MAX).split("\n")}
        try:
            steps, place = document.find(pointer or "")
            if search is None:
                return {**found, "at": pointer, "value": document.value(place, _VALUE_LENGTH_MAX)}
            hits = islice(document.search(search, steps, place), _HITS_MAX)
            return {**found, "at": pointer or "", "hits": [_told(hit) for hit in hits]}
        except (NoSuchPlace, TooLong) as error:
            raise Failure("not_found", f"{error or 'It is too long.'}") from None


def forget(connection: sqlite3.Connection, id: str, now: int, by: str) -> Json:
    """Delete one. To be called in a transaction. Raises `Failure`: there is none."""
    row = _row(connection, id)
    said: dict[str, str | int] = {
        "session": row.session,
        "call": row.call,
        "agent": row.agent,
        "bytes": row.size_bytes,
    }
    forgetting.forget_result(connection, id, now, {**said, "by": by})
    return _about(row)


def forget_alone(home: Home, id: str, env: Env) -> Json:
    """The same where no hub runs. Raises `Failure`, `HomeError`, `StoreError`."""
    if not home.database.exists():
        raise _unknown(id)
    now = int(env.now() * 1000)
    return told(*deleted_alone(home, partial(forget, id=id, now=now, by=os_user())))


def told(gone: Json, clean: bool) -> Json:
    """What was deleted.

    Args:
        clean: Whether nothing of it is left in the files beside the database.
    """
    return {"deleted": gone, "files_clean": clean}


def _row(connection: sqlite3.Connection, id: str) -> ResultRow:
    row = table.get_result(connection, id)
    if row is None:
        raise _unknown(id)
    return row


def _unknown(id: str) -> Failure:
    hint = "`hub results list` shows those there are."
    return Failure(
        "not_found", f"There is no result {id[:60]!r}: it never was, or has given way since.", hint
    )


def _told(hit: Hit) -> Json:
    return {"at": joined(hit.steps), "key" if hit.is_key else "text": hit.words}


def _about(row: ResultRow) -> Json:
    labels: Any = parse(row.labels.encode(), _BUDGET)
    return {
        "id": row.id,
        "agent": row.agent,
        "session": row.session,
        "call": row.call,
        "server": row.server,
        "tool": row.name,
        "created": records.moment(row.created),
        "bytes": row.size_bytes,
        "labels": labels,
    }
