"""The part of `hub.admin.admin` that is about agents' tokens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hub import records
from hub.commands import edits
from hub.model import Json
from hub.store import reading
from hub.threads import in_thread

if TYPE_CHECKING:
    from hub.app import App
    from hub.commands.picture import Picture

__all__ = ["TokensAdmin"]


class TokensAdmin:
    _app: App

    if TYPE_CHECKING:

        def _picture(self) -> Picture: ...

    async def tokens(self, agent: str) -> list[Json]:
        self._picture().agent_manifest(agent)
        return records.tokens(await self._app.store.read(partial(reading.list_tokens, agent=agent)))

    async def token_issue(
        self,
        agent: str,
        may: list[str] | None = None,
        never: list[str] | None = None,
        expires: str | None = None,
        calls: int | None = None,
        parent: str | None = None,
    ) -> Json:
        """A further token. It is nowhere else, and cannot be shown again.

        Args:
            may, never: What it may be used for, of what its agent or parent may: see `hub.identity.scopes`.
            expires: After how long it ends: `30d`, `12h`.
            calls: How many calls it is good for.
            parent: The id of the token that it is a child of.
        """
        self._picture().agent_manifest(agent)
        terms = await in_thread(edits.terms, may, never, expires, calls, parent)
        id, token = await self._app.identities.issue(agent, terms)
        return {"agent": agent, "id": id, "token": token}

    async def token_rotate(self, agent: str) -> Json:
        """A new token; all others of that agent are dead."""
        self._picture().agent_manifest(agent)
        token = await self._app.identities.rotate(agent)
        await in_thread(edits.keep_token, self._app.home, agent, token)
        return {"agent": agent, "token": token}

    async def token_revoke(self, agent: str, id: str) -> Json:
        """It and all that descend from it are dead. Raises `Failure`: the agent has no such live token."""
        edits.must_be_live(id, await self.tokens(agent), agent)
        await self._app.identities.revoke(id)
        return {"agent": agent, "id": id}
