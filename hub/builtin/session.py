"""`hub__session`: an agent opens, resumes, notes in and closes sessions of its own.

What it opens or resumes is where the calls of its connection belong to from then on. A connection that
names its session itself (by header, `_meta` or `--session`) stays where it says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from connectors.base import LEGACY_VERSIONS, MODERN_VERSIONS
from hub import records
from hub.builtin.definitions import SESSION
from hub.builtin.own import OwnTool, Wrong, said
from hub.env import Env
from hub.errors import InvalidParams
from hub.model import Call, Json, Result
from hub.sessions import Session, Sessions, checked_name
from hub.store import calls, notes
from hub.store.notes import NoteRow

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["SessionTool"]

_TEXT_BYTES_MAX: Final = 4096
_GOAL_BYTES_MAX: Final = 1024
_UNKNOWN_SHOWN: Final = 10

Share = Callable[[Call, Session, Json], Awaitable[Result]]


class SessionTool:
    def __init__(self, sessions: Sessions, store: Store, env: Env, share: Share) -> None:
        """
        Args:
            share: What `action: share` does.
        """
        self._sessions = sessions
        self._store = store
        self._env = env
        self._share = share
        self._actions: Mapping[str, Callable[[Call, Json], Awaitable[Result]]] = {
            "open": self._open,
            "resume": self._resume,
            "note": self._note,
            "close": self._close,
            "share": self._share_some,
        }

    @property
    def tool(self) -> OwnTool:
        return OwnTool.of(SESSION, self._run)

    async def _run(self, call: Call, arguments: Json) -> Result:
        try:
            return await self._actions[arguments["action"]](call, arguments)
        except InvalidParams as error:
            raise Wrong(str(error)) from None

    async def _open(self, call: Call, arguments: Json) -> Result:
        if "name" not in arguments:
            raise Wrong("open needs a name for the session.")
        goal = _short("goal", arguments.get("goal"), _GOAL_BYTES_MAX)
        session, is_new = await self._sessions.open_named(
            call.agent,
            checked_name(arguments["name"]),
            version=(MODERN_VERSIONS if call.modern else LEGACY_VERSIONS)[-1],
            client={},
            goal=goal,
        )
        if not is_new and goal is not None:
            session = await self._sessions.set_goal(session, goal)
        return await self._entered(call, session, "is open" if is_new else "was open already, and goes on")

    async def _resume(self, call: Call, arguments: Json) -> Result:
        return await self._entered(call, await self._meant(call, arguments), "goes on")

    async def _entered(self, call: Call, session: Session, how: str) -> Result:
        lines = [f"Session {_called(session)} {how}."]
        if call.came_by is not None:
            await self._sessions.go_on(call.came_by, session)
            lines.append("Your calls belong to it from now on.")
        elif session.id != call.session:
            lines.append("Your requests name their session themselves: name this one from now on.")
        if session.goal is not None:
            lines.append(f"Goal: {session.goal}")
        written = await self._store.read(partial(notes.list_notes, session=session.id))
        unknown = await self._store.read(
            partial(
                calls.list_calls,
                wanted=calls.CallFilter(session=session.id, state="unknown", limit=_UNKNOWN_SHOWN + 1),
            )
        )
        if written:
            lines.append(f"Notes: {len(written)}. hub__context shows them, and what was called.")
        if unknown:
            lines.append(
                "Nobody knows whether these calls did what they were to do; look before you repeat them:"
            )
            lines += [
                f"- {row.tool} at {records.moment(row.started)} (call {row.id})"
                for row in unknown[:_UNKNOWN_SHOWN]
            ]
            if len(unknown) > _UNKNOWN_SHOWN:
                lines.append("- and more, which are older")
        told: Json = {
            "session": session.id,
            "name": session.name,
            "unknown": [row.id for row in unknown[:_UNKNOWN_SHOWN]],
        }
        return said("\n".join(lines), told)

    async def _note(self, call: Call, arguments: Json) -> Result:
        session = await self._meant(call, arguments)
        text = _short("text", arguments.get("text"), _TEXT_BYTES_MAX)
        goal = _short("goal", arguments.get("goal"), _GOAL_BYTES_MAX)
        pin = _short("pin", arguments.get("pin"), 256)
        if text is None and goal is None and pin is None:
            raise Wrong("note needs a text, a goal, or an id to pin.")
        if text is not None or pin is not None:
            row = NoteRow(session.id, int(self._env.now() * 1000), call.id, text, pin)
            if not await self._store.write(partial(notes.add, row=row)):
                raise Wrong(f"A session holds at most {notes.NOTES_MAX} notes. Nothing was written.")
        if goal is not None:
            await self._sessions.set_goal(session, goal)
        return said(f"Noted in session {_called(session)}.")

    async def _close(self, call: Call, arguments: Json) -> Result:
        session = await self._meant(call, arguments)
        if session.name is None:
            raise Wrong("Only a session with a name can be closed: this one ends by itself.")
        await self._sessions.close(session)
        return said(f"Session {_called(session)} is closed. What was done in it stays on record.")

    async def _share_some(self, call: Call, arguments: Json) -> Result:
        return await self._share(call, await self._meant(call, arguments), arguments)

    async def _meant(self, call: Call, arguments: Json) -> Session:
        """The session that is named, else the one that the call belongs to. Raises `Wrong`."""
        name = arguments.get("name")
        session = await self._sessions.named(call.session if name is None else name, call.agent)
        if session is None:
            raise Wrong(f'Unknown session: {str(name)[:256]}. {{"action": "open", "name": ...}} opens one.')
        return session


def _called(session: Session) -> str:
    return session.id if session.name is None else f"{session.name!r} ({session.id})"


def _short(what: str, text: Any, most: int) -> str | None:
    """`text` where it is short enough. Raises `Wrong`."""
    if text is None:
        return None
    size = len(text.encode("utf-8", "surrogatepass"))
    if not text.strip() or size > most:
        raise Wrong(f"{what} must have 1 to {most} bytes; it has {size}. hub__memory keeps longer ones.")
    return str(text)
