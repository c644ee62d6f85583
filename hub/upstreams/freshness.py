"""Looks at a server's lists again when it says that they changed: once a second at most, long ones seldom."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import anyio

from connectors.base import Link, LinkError
from hub.model import Kind
from hub.upstreams.hearing import Hearing
from hub.upstreams.learn import Known

__all__ = ["Freshness", "pause_seconds"]

log = logging.getLogger(__name__)

_REFRESH_SECONDS: Final = 1.0
"""At most one new look in this time, however often it says they changed (T8)."""
_ENTRIES_A_SECOND: Final = 2000
"""A longer list is looked at less often: each entry that may be another costs the hub some 50 us (T8)."""


class Freshness:
    def __init__(
        self,
        server: str,
        learn: Callable[[Link, frozenset[Kind]], Awaitable[None]],
        seconds: float,
        known: Callable[[], Known | None],
    ) -> None:
        """
        Args:
            learn: Reads its lists of these kinds. Raises `LinkError`.
            seconds: How long that may take.
            known: What was last learnt.
        """
        self._server = server
        self._learn = learn
        self._seconds = seconds
        self._known = known
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
            await anyio.sleep(pause_seconds(self._known()))


def pause_seconds(known: Known | None) -> float:
    """How long a server that was found to have this is not asked again."""
    entries = 0 if known is None else sum(map(len, known.definitions.values()))
    return max(_REFRESH_SECONDS, entries / _ENTRIES_A_SECOND)
