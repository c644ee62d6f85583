"""What a killed hub had recorded and not yet put into its database, for a command where no hub runs."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from hub.errors import HomeError, StoreError

if TYPE_CHECKING:
    from hub.home import Home

__all__ = ["take_up"]

log = logging.getLogger(__name__)

_HEAD: Final = 4


def take_up(home: Home) -> None:
    """Put it there, so that whoever reads sees it. Costs 20 us where there is nothing to do.

    A hub that holds the home, or begins to, does so itself. Where the database cannot be written that is
    logged, and the next start does it.
    """
    if not _is_left(home):
        return
    from hub import lock
    from hub.store import left

    if lock.is_held(home):
        return
    try:
        with lock.held(home):
            left.take_up(home.database)
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
