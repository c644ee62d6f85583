"""The signals of a hub that serves: the first SIGINT or SIGTERM ends it in order, the second at once.

SIGHUP reads the manifests again.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

__all__ = ["Ending"]


class Ending:
    def __init__(self, reload: Callable[[], Awaitable[Any]]) -> None:
        self.told = anyio.Event()
        """Set once the hub is to end."""
        self._reload = reload
        self._grace: anyio.CancelScope | None = None
        self._hurried = False

    async def run(self) -> None:
        """Listen to signals, until cancelled."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    if not self.told.is_set():
                        await self._reload()
                elif not self.told.is_set():
                    self.told.set()
                else:
                    self._hurried = True
                    if self._grace is not None:
                        self._grace.cancel()

    @contextmanager
    def grace(self, seconds: float) -> Iterator[None]:
        """What is in the block has so long; nothing, once somebody has told the hub to end a second time."""
        with anyio.move_on_after(0 if self._hurried else seconds) as self._grace:
            yield
