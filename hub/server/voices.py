"""What sessions of the older era are told besides the answers to their requests, over HTTP.

A session hears of changes from its beginning on, whether a stream of its own is open or not: what
happens while none is, it is told on the next. Of several streams the newest is told. A session that
was silent for long is forgotten here, with what it subscribed to; if it comes back, it is told that
everything may have changed.

Source: specification 2025-11-25, basic/transports, "Listening for Messages from the Server".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from hub.env import Env
from hub.model import Agent
from hub.server.changes import METHODS, Changes, Watch
from hub.server.lines import Lines
from hub.server.subscriptions import Note
from hub.sessions import Session

__all__ = ["SILENT_SECONDS", "VOICES_MAX", "VOICES_OF_AGENT_MAX", "Turn", "Voice", "Voices"]

SILENT_SECONDS: Final = 1800.0
"""How long a session may neither ask nor listen before it is forgotten here."""
VOICES_MAX: Final = 10_000
VOICES_OF_AGENT_MAX: Final = 1000
"""One agent's sessions give way to its own further ones, not others' to them."""

_LOOK_SECONDS: Final = 60.0
_GOODBYES: Final = 6
_GOODBYE_SECONDS: Final = 0.005
"""How often, and for how long each, a client that comes waits for one that may just be going."""


class Turn:
    """One connection of a session: it is told while it is the newest."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._scope: anyio.CancelScope | None = None
        self.moved = anyio.Event()

    async def next(self, seconds: float) -> list[Note]:
        """What to tell now; empty after that time, at the end, or when its turn came or went."""
        with anyio.CancelScope() as self._scope:
            if self._voice.newest is self:
                return await self._voice.watch.next(seconds)
            with anyio.move_on_after(seconds):
                await self.moved.wait()
                self.moved = anyio.Event()
        return []

    def interrupt(self) -> None:
        self.moved.set()
        if self._scope is not None:
            self._scope.cancel()


class Voice:
    def __init__(self, watch: Watch, now: float) -> None:
        self.watch = watch
        self.used = now
        """When the session last asked for something or listened, on the monotonic clock."""
        self.left = False
        """Whether its client listened, does so no longer, and has not asked for anything since."""
        self._turns: list[Turn] = []

    @property
    def newest(self) -> Turn | None:
        return self._turns[-1] if self._turns else None

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """A further connection, the newest from now on."""
        turn, before, self.left = Turn(self), self.newest, False
        self._turns.append(turn)
        if before is not None:
            before.interrupt()
        try:
            yield turn
        finally:
            self._turns.remove(turn)
            self.left = self.newest is None
            if self.newest is not None:
                self.newest.interrupt()


class Voices:
    """Of all sessions that are open over HTTP."""

    def __init__(self, changes: Changes, lines: Lines, env: Env) -> None:
        self._changes = changes
        self._lines = lines
        self._env = env
        self._voices: dict[str, Voice] = {}
        self._counts: Counter[str] = Counter()
        """How many each agent has, by name."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._voices)

    def open(self, session: Session, agent: Agent) -> Voice:
        """Of a new session."""
        self._make_room(agent)
        now = self._env.monotonic()
        self._counts[agent.name] += 1
        voice = self._voices[session.id] = Voice(self._changes.open(agent, METHODS.values()), now)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        return voice

    def _make_room(self, agent: Agent) -> None:
        """Forget whoever was silent longest, where there are too many."""
        if self._counts[agent.name] >= VOICES_OF_AGENT_MAX:
            candidates = [id for id, voice in self._voices.items() if voice.watch.agent.name == agent.name]
        elif len(self._voices) >= VOICES_MAX:
            candidates = [*self._voices]
        else:
            return
        self._end(min(candidates, key=lambda id: self._voices[id].used))

    def of(self, session: Session, agent: Agent) -> Voice:
        """The session's own, or where it was forgotten, a new one, to which everything may have changed."""
        voice = self._voices.get(session.id)
        if voice is not None and voice.watch.ended != "revoked":
            return voice
        if voice is not None:
            self._end(session.id)
        voice = self.open(session, agent)
        voice.watch.missed()
        return voice

    def heard(self, session: str) -> None:
        """A session asked for something."""
        voice = self._voices.get(session)
        if voice is not None:
            voice.used, voice.left = self._env.monotonic(), False

    async def left(self, agent: str) -> frozenset[str]:
        """The agent's sessions whose clients seem to have gone without a word.

        A client that goes and comes at once may be heard to come first: so while the one that came last
        listens, this waits a moment.
        """
        waits = _GOODBYES
        while True:
            mine = [(id, each) for id, each in self._voices.items() if each.watch.agent.name == agent]
            if not mine or mine[-1][1].newest is None or not waits:
                return frozenset(id for id, voice in mine if voice.left)
            waits -= 1
            await anyio.sleep(_GOODBYE_SECONDS)

    def close(self, session: str) -> None:
        """The session is over."""
        self._lines.close(session)
        self._end(session)

    def _end(self, session: str) -> None:
        voice = self._voices.pop(session, None)
        if voice is not None:
            self._counts[voice.watch.agent.name] -= 1
            voice.watch.end("closing")
            self._changes.discard(voice.watch)

    def _look(self) -> None:
        self._timer = None
        now = self._env.monotonic()
        for session, voice in [*self._voices.items()]:
            if voice.newest is not None:
                voice.used = now
            if voice.watch.ended is not None or voice.used + SILENT_SECONDS < now:
                self._end(session)
        if self._voices:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
