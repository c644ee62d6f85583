"""Looks at a server's lists again when it says that they changed: not more often than once a second."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import anyio

from connectors.base import Link, LinkError
from hub.model import Kind
from hub.upstreams.hearing import Hearing

__all__ = ["Freshness"]

log = logging.getLogger(__name__)

_REFRESH_SECONDS: Final = 1.0
"""At most one new look in this time, however often it says they changed (T8)."""


class Freshness:
    def __init__(
        self,
        server: str,
        learn: Callable[[Link, frozenset[Kind]], Awaitable[None]],
        seconds: float,
    ) -> None:
        """
        Args:
            learn: Reads its lists of these kinds. Raises `LinkError`.
            seconds: How long that may take.
        """
        self._server = server
        self._learn = learn
        self._seconds = seconds
        self._stale: set[Kind] = set()
        self._some = anyio.Event()

    def changed(self, kinds: Iterable[Kind]) -> None:
        """They may have."""
        self._stale.update(kinds)
        self._some.set()

    async def attend(self, hearing: Hearing, link: Link) -> None:
        """Hear the server on the link, and do as it says, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep, hearing, link)
            await hearing.attend(link)

    async def _keep(self, hearing: Hearing, link: Link) -> None:
        """Look again whenever something may have changed, until cancelled."""
        while True:
            await self._some.wait()
            kinds, self._stale = frozenset(self._stale), set()
            self._some = anyio.Event()
            try:
                with anyio.fail_after(self._seconds):
                    await self._learn(link, kinds)
                if "tool" in kinds:
                    hearing.gap = False
            except (LinkError, TimeoutError) as error:
                log.warning(
                    "%s: its lists could not be read again: %s", self._server, error or "no answer in time"
                )
            await anyio.sleep(_REFRESH_SECONDS)
