"""Work in a thread, beside the event loop. A system may have none left to give: it limits processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from hub.errors import NoThread

__all__ = ["in_thread", "start"]

T = TypeVar("T")


async def in_thread(
    function: Callable[..., T], *arguments: object, limiter: anyio.CapacityLimiter | None = None
) -> T:
    """Call it in a worker thread.

    Raises:
        NoThread: there is none, and nothing was done.
    """
    try:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=limiter)
    except RuntimeError as error:
        if _says_none(error):
            raise NoThread from None
        raise


def start(thread: threading.Thread) -> None:
    """Raises `NoThread`."""
    try:
        thread.start()
    except RuntimeError as error:
        if _says_none(error):
            raise NoThread from None
        raise


def _says_none(error: RuntimeError) -> bool:
    """Python has no class of its own for a thread that could not be started."""
    return str(error) == "can't start new thread"
