"""The part of `hub.admin` that is about the hub's own access to servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from hub import access
from hub.model import Json

if TYPE_CHECKING:
    from hub.app import App

__all__ = ["AccessAdmin"]


class AccessAdmin:
    _app: App

    async def secrets(self) -> list[Json]:
        """Names, sources and servers; never a value."""
        return await anyio.to_thread.run_sync(access.overview, self._app.secrets, self._app.manifests.servers)

    async def secret_set(self, name: str, value: str) -> Json:
        """Keep it, and connect anew to the servers that use it. Returns their names."""
        await anyio.to_thread.run_sync(access.set_secret, self._app.secrets, name, value)
        return await self._renewed(name)

    async def secret_remove(self, name: str) -> Json:
        await anyio.to_thread.run_sync(access.remove_secret, self._app.secrets, name)
        return await self._renewed(name)

    async def _renewed(self, secret: str) -> Json:
        servers = await self._app.renew(lambda manifest: secret in manifest.secrets())
        return {"name": secret, "servers": servers}
