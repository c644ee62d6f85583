"""The part of `hub.admin.admin` that is about the hub's own access to servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub import kept_logins
from hub.commands import access
from hub.model import Json
from hub.secrets_file import logins_file
from hub.threads import in_thread

if TYPE_CHECKING:
    from hub.app import App

__all__ = ["AccessAdmin"]


class AccessAdmin:
    _app: App

    async def secrets(self) -> list[Json]:
        """Names, sources and servers; never a value."""
        return await in_thread(access.overview, self._app.secrets, self._app.manifests.servers)

    async def secret_set(self, name: str, value: str) -> Json:
        """Keep it, and connect anew to the servers that use it. Returns their names."""
        await in_thread(access.set_secret, self._app.secrets, name, value)
        return await self._renewed(name)

    async def secret_remove(self, name: str) -> Json:
        await in_thread(access.remove_secret, self._app.secrets, name)
        return await self._renewed(name)

    async def logins(self, server: str) -> list[Json]:
        """The logins at a server; never a token."""
        return await in_thread(kept_logins.shown, logins_file(self._app.home, self._app.env), server)

    async def login_changed(self, server: str) -> Json:
        """Somebody has logged in or out there: connect anew with what counts now."""
        await self._app.fleet.logins.reload()
        return {"servers": await self._app.renew(lambda manifest: manifest.name == server)}

    async def _renewed(self, secret: str) -> Json:
        servers = await self._app.renew(lambda manifest: secret in manifest.secrets())
        return {"name": secret, "servers": servers}
