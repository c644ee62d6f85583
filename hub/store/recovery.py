"""Takes up what a killed hub left in its journal: a new hub, or a command where none runs."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from hub.errors import StoreError
from hub.store.calls import take_up as take_up_rows
from hub.store.connection import Synchronous, open_for_writing, open_read_only, why
from hub.store.journal import Journal

__all__ = ["open_journal", "take_up"]

logger = logging.getLogger(__name__)


def take_up(path: Path) -> None:
    """Write the journal's rows into the database beside it, and empty the journal.

    To be called by whoever holds the home.

    Raises:
        StoreError: the database is of another version, or cannot be written; the journal is as it was.
        OSError: the journal cannot be used.
    """
    open_read_only(path).close()  # raises where the other would change its shape
    file = path.with_name(path.name + ".journal")
    with closing(open_for_writing(path)) as connection, closing(Journal(file)) as kept:
        try:
            connection.execute("BEGIN IMMEDIATE")
            take_up_rows(connection, kept.rows())
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"The hub's record cannot be written: {why(error)}") from error
        kept.clear()


def open_journal(path: Path, connection: sqlite3.Connection, synchronous: Synchronous) -> Journal | None:
    """The journal, after what it held is in the database; `None` where rows are to be waited for.

    Raises:
        StoreError: the database cannot be written; the journal is as it was.
    """
    file = path.with_name(path.name + ".journal")
    if synchronous == "full" and not file.exists():
        return None
    try:
        journal = Journal(file)
    except OSError as error:
        logger.warning("%s cannot be used (%s): each call waits for its commit", file, error.strerror)
        return None
    try:
        connection.execute("BEGIN IMMEDIATE")
        taken_up, refused = take_up_rows(connection, journal.rows())
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        journal.close()
        raise StoreError(f"The hub's record cannot be written: {why(error)}") from error
    if refused:
        logger.error("%d rows of %s do not fit the database and are lost", refused, file)
    if taken_up:
        logger.info("%d rows that the hub had not yet written when it ended are taken up", taken_up)
    journal.clear()
    if synchronous == "full":
        journal.close()
        return None
    return journal
