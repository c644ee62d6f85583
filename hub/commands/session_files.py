"""One session for people: what it holds, all of it as a file, and its deletion. No event loop.

`hub.admin.lookback` does this in a running hub, `hub.commands.alone` where none runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from connectors.jsonrpc import encode
from hub import lock, records
from hub.audit import leftover
from hub.audit.chain import bounds_of
from hub.audit.sources import new_file
from hub.counted import counted
from hub.env import Env
from hub.failure import Failure
from hub.home import Home
from hub.model import Json
from hub.os_user import os_user
from hub.store import audit, forgetting, lookback, reading, recovery
from hub.store.connection import open_for_writing
from hub.store.forgetting import Forgotten
from hub.store.journal import Journal
from hub.store.parts import parts_of

if TYPE_CHECKING:
    import sqlite3

__all__ = ["KEPT", "deleted_alone", "exported", "forget", "forget_alone", "shown", "told"]

T = TypeVar("T")

KEPT: Final = (
    "The record keeps that there was the session, and of each of its calls who, which tool, when, how large "
    "and with what outcome: the audit's chain is made of that, and says who deleted the rest."
)


def shown(connection: sqlite3.Connection, id: str) -> Json:
    """One session, what it holds, and its last calls.

    Args:
        id: Or its name.

    Raises:
        Failure: there is none, or several agents have one of that name.
    """
    id = _meant(connection, id)
    row = reading.get_session(connection, id)
    last = reading.list_calls(connection, reading.CallFilter(session=id, limit=records.CALLS_SHOWN))
    found = records.session(row, id, last)
    calls = found.pop("last_calls")
    goes_on = None if row is None else row.goes_on
    return {**found, "goes_on": goes_on, "holds": lookback.held(connection, id), "last_calls": calls}


def _meant(connection: sqlite3.Connection, id: str) -> str:
    """The id of what a person calls a session: its id, else its name; those that are open count first."""
    if reading.get_session(connection, id) is not None:
        return id
    named = reading.sessions_named(connection, id)
    among = [row for row in named if row.closed is None] or named
    if len(among) > 1:
        several = ", ".join(f"{row.id} of {row.agent}" for row in among)
        raise Failure("usage", f"Several sessions are called {id[:60]!r}: {several}.", "Say which by its id.")
    return among[0].id if among else id


def exported(home: Home, id: str, out: Path) -> Json:
    """Write all that a session holds to a file, as JSON Lines. Raises `Failure`, `StoreError`."""
    with leftover.one_moment(home) as connection:
        found = shown(connection, id)
        id = found["id"]
        try:
            with new_file(out) as file:
                for line in _lines(connection, id, found):
                    file.write(encode(line) + b"\n")
        except OSError as error:
            raise Failure("home", f"{out} cannot be written: {error.strerror}.") from None
    return {"file": str(out), **found["holds"]}


def _lines(connection: sqlite3.Connection, id: str, found: Json) -> Iterator[Json]:
    yield {"session": {key: value for key, value in found.items() if key not in ("holds", "last_calls")}}
    for call in lookback.session_calls(connection, id):
        parts = [
            {"at": part.at, "kind": part.kind, "method": part.method, "params": records.value_of(part.params)}
            for part in parts_of(connection, [call.id])
        ]
        yield {"call": {**records.call(call, call.id), "parts": parts}}
    for note in lookback.notes_of(connection, id):
        yield {"note": {"at": records.moment(note.at), "call": note.call, "text": note.text, "pin": note.pin}}
    for kept in lookback.memory_of(connection, id):
        at, until = records.moment(kept.at), records.moment(kept.until)
        value = records.value_of(kept.value)
        yield {"memory": {"key": kept.key, "value": value, "at": at, "until": until, "call": kept.call}}
    for result, call_id, tool, created, bytes, text in lookback.results_of(connection, id):
        about = {"id": result, "call": call_id, "tool": tool, "at": records.moment(created), "bytes": bytes}
        yield {"result": {**about, "text": text}}


def forget(connection: sqlite3.Connection, id: str, now: int, by: str) -> Forgotten:
    """Delete what a session holds. To be called in a transaction.

    Raises:
        Failure: there is no such session, or something of it is under way.
    """
    row = reading.get_session(connection, id)
    if row is None:
        records.session(row, id, ())  # says so
    busy = lookback.under_way(connection, id)
    if busy:
        raise Failure(
            "usage",
            f"Session {id} has {counted(busy, 'call')} under way, or waiting for approval.",
            "Let them end, or deny them (`hub approvals list`); then delete it.",
        )
    known = bounds_of(audit.retentions(connection))
    said: dict[str, str | int] = {
        "entries_through": known.entries_through,
        "payloads_through": known.payloads_through,
        "hash": known.hash.hex(),
    }
    return forgetting.forget_session(connection, id, now, said, by)


def forget_alone(home: Home, id: str, env: Env) -> Json:
    """The same where no hub runs. Raises `Failure`, `HomeError`, `StoreError`."""
    if not home.database.exists():
        records.session(None, id, ())  # says so
    now = int(env.now() * 1000)
    return told(id, *deleted_alone(home, partial(forget, id=id, now=now, by=os_user())))


def deleted_alone(home: Home, work: Callable[[sqlite3.Connection], T]) -> tuple[T, bool]:
    """Do `work` in a transaction, where no hub runs.

    Returns:
        What it returns, and whether nothing of what it deleted is left in the files beside the database.

    Raises:
        HomeError, StoreError, and what `work` raises.
    """
    journal = home.database.with_name(home.database.name + ".journal")
    with lock.held(home):
        if journal.exists():
            recovery.take_up(home.database)
        connection = open_for_writing(home.database)
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        finally:
            connection.close()
        if journal.exists():
            kept = Journal(journal)
            kept.wipe()
            kept.close()
        return found, forgetting.truncate_log(home.database)


def told(id: str, gone: Forgotten, clean: bool) -> Json:
    """What was deleted.

    Args:
        clean: Whether nothing of it is left in the files beside the database.
    """
    return {"session": id, "deleted": gone._asdict(), "files_clean": clean, "kept": KEPT}
