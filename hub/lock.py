"""One hub holds a home: an advisory lock on a file that names the holder's process.

The kernel lets go of it when the holder ends, however it ends, so it is never stale.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hub.errors import HomeError
from hub.home import Home

__all__ = ["held", "is_held"]


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
        raise HomeError(
            f"The hub's folder {home.state} cannot be written: {error.strerror}. "
            "Give another one with --home, or mend its permissions."
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise HomeError(
                f"Another hub (process {holder}) already serves {home.path}. "
                "Use that one, stop it, or give another folder with --home."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_held(home: Home) -> bool:
    """Whether some hub holds the home right now."""
    try:
        descriptor = os.open(home.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
