"""The part of `hub.admin.admin` that is about what is recorded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hub import labels, records
from hub.commands import result_files, session_files, trace
from hub.events import Events
from hub.model import Json
from hub.store import reading

if TYPE_CHECKING:
    from hub.app import App

__all__ = ["LookbackAdmin"]


class LookbackAdmin:
    _app: App

    @property
    def events(self) -> Events:
        """What happens, live."""
        return self._app.events

    async def calls(
        self,
        agent: str | None = None,
        server: str | None = None,
        session: str | None = None,
        errors: bool = False,
        since: str | None = None,
        limit: int = 50,
    ) -> list[Json]:
        wanted = records.call_filter(
            self._app.env.now(),
            agent=agent,
            server=server,
            session=session,
            errors=errors,
            since=since,
            limit=limit,
        )
        return records.calls(await self._app.store.read(partial(reading.list_calls, wanted=wanted)))

    async def call(self, id: str) -> Json:
        """One, with exactly what was sent and what came back."""
        await self._app.parts.flush()
        return await self._app.store.read(partial(trace.call, id=id))

    async def call_trace(self, id: str) -> Json:
        """The tree that a call stands in."""
        await self._app.parts.flush()
        return await self._app.store.read(partial(trace.trace, id=id))

    async def sessions(self, agent: str | None = None, limit: int = 50) -> list[Json]:
        self._app.sessions.flush()
        return records.sessions(
            await self._app.store.read(partial(reading.list_sessions, agent=agent, limit=limit))
        )

    async def session(self, id: str) -> Json:
        """One, what it holds, and its last calls. All of it is in the database file then."""
        self._app.sessions.flush()
        await self._app.parts.flush()
        return await self._app.store.read(partial(session_files.shown, id=id))

    async def session_label(self, id: str, pairs: list[str], peer: str) -> Json:
        """Say what a session is called, for rules. Returns all its labels.

        Args:
            pairs: `KEY=VALUE`, or `KEY=` to take one away.
            peer: The operating system's user who asks.
        """
        now = int(self._app.env.now() * 1000)
        work = partial(labels.label, id=id, changed=labels.changes(pairs), now=now, by=peer)
        found = await self._app.store.write(work)
        self._app.sessions.relabel(id, found)
        return {"session": id, "labels": found}

    async def session_delete(self, id: str, peer: str) -> Json:
        """Delete what a session holds.

        Args:
            peer: The operating system's user who asks.
        """
        await self._app.parts.flush()
        # The journal's rows first: what is not in the database yet cannot be deleted from it.
        await self._app.store.read(partial(reading.get_session, id=id))
        now = int(self._app.env.now() * 1000)
        gone = await self._app.store.write(partial(session_files.forget, id=id, now=now, by=peer))
        self._app.sessions.drop(id)
        return session_files.told(id, gone, await self._app.store.scrub())

    async def result_delete(self, id: str, peer: str) -> Json:
        """Delete a stored result.

        Args:
            peer: The operating system's user who asks.
        """
        now = int(self._app.env.now() * 1000)
        gone = await self._app.store.write(partial(result_files.forget, id=id, now=now, by=peer))
        return result_files.told(gone, await self._app.store.scrub())
