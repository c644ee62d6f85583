"""The part of `hub.admin.admin` that is about tools which are kept back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hub.model import Json
from hub.store import pins
from hub.threads import in_thread
from hub.upstreams import pin_changes
from hub.upstreams.pin_changes import Change
from hub.upstreams.pins import concerning, definitions_of

if TYPE_CHECKING:
    from hub.app import App

__all__ = ["PinAdmin"]


class PinAdmin:
    _app: App

    async def tools_changed(self) -> list[Json]:
        """Tools that are quarantined: a person has to look at their definitions first."""
        return pin_changes.rows(await self._changes())

    async def tool_changed(self, name: str) -> Json:
        """What differs, of one tool or of all of a server. Raises `Failure`."""
        some = pin_changes.chosen(await self._changes(), name)
        return await in_thread(pin_changes.shown, some, name)

    async def tool_approve(self, name: str, id: str, peer: str) -> Json:
        """Serve them as they are defined now.

        Args:
            id: What `tool_changed` said, so that nothing else is approved than what was looked at.
            peer: The operating system's user who asks.

        Raises:
            Failure: none is quarantined, or they are others by now.
        """
        some = pin_changes.chosen(await self._changes(), name)
        pin_changes.must_be(some, id)
        for server in {each.server for each in some}:
            mine = {each.held.tool: each.after for each in some if each.server == server}
            await self._app.pins.approve(server, mine, peer)
        self._app.fleet.rebuild()
        return {"approved": [each.name for each in some], "by": peer}

    async def _changes(self) -> list[Change]:
        # All of one moment, before anything is waited for.
        catalog, held, offered = self._app.hub.catalog, {}, {}
        for name, upstream in self._app.fleet.upstreams.items():
            found, known = concerning(upstream.manifest, self._app.pins.held(name)), upstream.known
            if found and known is not None:
                held[name] = found
                offered[name] = definitions_of(known.definitions.get("tool", ()), known.instructions)
        if not held:
            return []
        wanted = [(server, tool) for server, tools in held.items() for tool in tools]
        pinned = await self._app.store.read(partial(pins.texts, tools=wanted))
        return pin_changes.changes(catalog, held, offered, pinned)
