"""Log messages of servers of the older era, whose level is one for the whole connection.

The hub asks such a server for the lowest level that any agent has asked for, and lets each call hear
only what its agent asked for.

Source: RFC 5424 severities; specification 2025-11-25, server/utilities/logging.
"""

from __future__ import annotations

import logging
from typing import Final

from connectors.base import Json, Link, LinkError, RemoteError
from hub.model import Notify

__all__ = ["LEVELS", "Level", "from_level"]

log = logging.getLogger(__name__)

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Lowest first."""


class Level:
    """What one link of the older era has been asked for."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._asked = len(LEVELS)

    async def lower(self, link: Link, level: str) -> None:
        """Ask the server for messages from `level` up, if it does not give them already."""
        if self._link is not link:
            self._link, self._asked = link, len(LEVELS)
        wanted = LEVELS.index(level)
        if wanted >= self._asked or "logging" not in link.peer.capabilities:
            return
        self._asked = wanted
        try:
            await link.request("logging/setLevel", {"level": level})
        except (RemoteError, LinkError) as error:
            log.info("logging/setLevel was refused: %s", error)


def from_level(level: str, notify: Notify) -> Notify:
    """`notify`, without the log messages below `level`."""
    least = LEVELS.index(level)

    def filtered(method: str, params: Json) -> None:
        said = params.get("level")
        if method != "notifications/message" or said not in LEVELS or LEVELS.index(said) >= least:
            notify(method, params)

    return filtered
