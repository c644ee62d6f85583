"""The part of `hub.admin.admin` that is about calls which wait for a person."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hub.approvals import rows as approval_rows
from hub.model import Json
from hub.store import approvals

if TYPE_CHECKING:
    from hub.app import App

__all__ = ["ApprovalAdmin"]


class ApprovalAdmin:
    _app: App

    async def approvals(
        self, everything: bool = False, agent: str | None = None, limit: int = 50
    ) -> list[Json]:
        """Those that wait for somebody, or `everything`, the newest first."""
        now = self._now()
        query = partial(approvals.list_approvals, now=now, everything=everything, agent=agent, limit=limit)
        return approval_rows.rows(await self._app.store.read(query), now)

    async def approval(self, id: str) -> Json:
        row = await self._app.store.read(partial(approvals.find_approval, id=id))
        return approval_rows.whole(row, id, self._now())

    async def approval_approve(self, id: str, peer: str, reason: str | None = None) -> Json:
        """Let the call be made, once.

        Args:
            peer: The operating system's user who asks.
        """
        return await self._decide(id, True, peer, reason)

    async def approval_deny(self, id: str, peer: str, reason: str | None = None) -> Json:
        """Refuse the call, and tell its agent why."""
        return await self._decide(id, False, peer, reason)

    async def _decide(self, id: str, approve: bool, peer: str, reason: str | None) -> Json:
        row = await self._app.approvals.decide(id, approve=approve, decider=peer, reason=reason)
        return approval_rows.whole(row, id, self._now())

    def _now(self) -> int:
        return int(self._app.env.now() * 1000)
