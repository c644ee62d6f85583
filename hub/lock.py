"""One hub holds a home: an advisory lock on a file that names the holder's process.

The kernel lets go of it when the holder ends, however it ends, so it is never stale.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hub.errors import HomeError
from hub.home import Home

__all__ = ["held", "is_held"]

_TRIES_MAX = 25  # half a second: who only looks whether there is a hub holds the lock for microseconds
_TRIES_EVERY_SECONDS = 0.02


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Hold the home while the context lasts.

    Raises:
        HomeError: another hub holds it, or its folder cannot be written.
    """
    try:
        home.create()
        descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(home, error) from None
    try:
        try:
            if not _locked(descriptor):
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
                raise HomeError(
                    f"Another hub (process {holder}) already serves {home.path}. "
                    "Use that one, stop it, or give another folder with --home."
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:
            raise _unwritable(home, error) from None
        yield
    finally:
        os.close(descriptor)


def _unwritable(home: Home, error: OSError) -> HomeError:
    return HomeError(
        f"The hub's folder {home.state} cannot be written: {error.strerror}. "
        "Give another one with --home, or mend its permissions."
    )


def _locked(descriptor: int) -> bool:
    """Take the lock, past those who only look at it. Blocks at most half a second: nothing is served yet."""
    for _ in range(_TRIES_MAX):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            threading.Event().wait(_TRIES_EVERY_SECONDS)
        else:
            return True
    return False


def is_held(home: Home) -> bool:
    """Whether some hub holds the home right now."""
    try:
        descriptor = os.open(home.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # shared, so that two who look do not take each other for a hub
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
