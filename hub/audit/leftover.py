"""The record as a command sees it where no hub runs: with what a killed one had not put into its database."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from hub.errors import HomeError, NotCurrent, StoreError

if TYPE_CHECKING:
    import sqlite3

    from hub.home import Home

__all__ = ["one_moment", "opened", "take_up"]

log = logging.getLogger(__name__)

_HEAD: Final = 4


def opened(home: Home) -> sqlite3.Connection:
    """A connection that only reads. Where a hub begins right now, it is waited for: it may make the database.

    Raises:
        StoreError: there is none, or it cannot be used.
    """
    from hub.commands import client
    from hub.store.connection import open_read_only

    take_up(home)
    try:
        return open_read_only(home.database)
    except NotCurrent:
        if client.wait_for(home) is None:
            raise
        return open_read_only(home.database)


@contextmanager
def one_moment(home: Home) -> Iterator[sqlite3.Connection]:
    """The same, and all that is read there is of one moment."""
    from hub.store import audit

    with closing(opened(home)) as connection, audit.one_moment(connection):
        yield connection


def take_up(home: Home) -> None:
    """Put what is left into the database, so that whoever reads sees it; 20 us where there is nothing.

    A hub that holds the home, or begins to, does so itself. Where the database cannot be written that is
    logged, and the next start does it.
    """
    if not _is_left(home):
        return
    from hub import lock
    from hub.store import recovery

    if lock.is_held(home):
        return
    try:
        with lock.held(home):
            recovery.take_up(home.database)
    except HomeError:
        return
    except (StoreError, OSError) as error:
        log.warning("The last rows that a killed hub recorded are not shown: %s", error)


def _is_left(home: Home) -> bool:
    from hub.store.journal import HALF_BYTES

    try:
        descriptor = os.open(home.database.with_name(home.database.name + ".journal"), os.O_RDONLY)
    except OSError:
        return False
    try:
        return any(any(os.pread(descriptor, _HEAD, at)) for at in (0, HALF_BYTES))
    finally:
        os.close(descriptor)
