"""The places for calls at one server, and the queue for them: one line for each agent, served in turn.

A server does so many things at once; what is more waits here, where it is known whose it is, and not in one
line behind whoever came first: an agent that fills all places waits behind its own calls, others do not.
The queue has an end: whoever comes then is told when to come again. Where there are many places, one in
sixteen is kept from whoever has all others: calls that began together end together, and another agent would
wait for that. And where agents wait beside each other, one agent has only as many places as bring it
something (`portion.py`). Where a place is free, a call costs 0.2 us more (measured).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import anyio

from hub.errors import UpstreamDown
from hub.upstreams.portion import LOOK_SECONDS, Portion

__all__ = ["WAITING_MAX", "Room"]

WAITING_MAX: Final = 256
"""Calls that wait at one server; an agent that waits for nothing else there may always add one."""
RETRY_SECONDS: Final = 1.0
KEPT_OF: Final = 16
"""Of so many places, one is for other agents than the one that has the rest."""


class Waiting:
    """One call that waits for a place."""

    __slots__ = ("agent", "gone", "turn")

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.turn = anyio.Event()
        """Set once it has a place."""
        self.gone = False
        """Whether it has been given up."""


class Room:
    """Take a place with `enter`, and `wait` for what it gives where that is something; then `leave`.

    Args:
        clock: Seconds that only go forward.
    """

    __slots__ = ("_held", "_lines", "_places", "_portion", "_server", "_taken", "_waiting")

    def __init__(self, server: str, places: int, clock: Callable[[], float]) -> None:
        self._server = server
        self._places = places
        self._portion = Portion(places - places // KEPT_OF, clock)
        self._held: dict[str, int] = {}
        """Places by agent that has some."""
        self._taken = 0
        self._waiting = 0
        self._lines: dict[str, deque[Waiting]] = {}
        """By agent, in the order in which they are served."""

    def enter(self, agent: str) -> Waiting | None:
        """A place now, or what to `wait` for.

        Raises:
            UpstreamDown: too many wait.
        """
        held = self._held.get(agent, 0)
        line = None
        if self._waiting:
            line = self._lines.get(agent)
            if line is None or len(self._lines) > 1:
                self._portion.others()
        if self._taken < self._places and held < self._portion.most:
            self._taken += 1
            self._held[agent] = held + 1
            return None
        if self._waiting >= WAITING_MAX and len(line or ()) >= max(1, WAITING_MAX // len(self._lines)):
            raise UpstreamDown(
                f"Server {self._server!r} has more to do than it can; nothing was sent. "
                "Try again in a second",
                retry_seconds=RETRY_SECONDS,
            )
        if line is None:
            line = self._lines[agent] = deque()
        waiting = Waiting(agent)
        line.append(waiting)
        self._waiting += 1
        return waiting

    async def wait(self, waiting: Waiting) -> None:
        """Return with a place; without one, when cancelled."""
        try:
            while self._portion.is_narrow and not waiting.turn.is_set():
                with anyio.move_on_after(LOOK_SECONDS):
                    await waiting.turn.wait()
                self.look()
            await waiting.turn.wait()
        except anyio.get_cancelled_exc_class():
            # It stays in its line until its turn, unless it was given a place in this very moment.
            if waiting.turn.is_set():
                self.leave(waiting.agent)
            waiting.gone = True
            raise

    def look(self) -> None:
        """Give places to those that wait, where fewer were given than there are, and nothing comes of it."""
        if self._portion.look():
            self._pass_on()

    def leave(self, agent: str) -> None:
        """Give a place of that agent's back: to the next in turn, where somebody waits who may have it."""
        left = self._held[agent] - 1
        if left:
            self._held[agent] = left
        else:
            del self._held[agent]
        self._taken -= 1
        if self._waiting:
            self._portion.ended()
            self._pass_on()
            if not self._waiting:
                self._portion.pause()

    def _pass_on(self) -> None:
        """All places that are free to those who may have them, an agent after the other."""
        lines = self._lines
        ready = deque(lines)
        while ready and self._taken < self._places:
            agent = ready.popleft()
            held = self._held.get(agent, 0)
            if held >= self._portion.most:
                continue
            line = lines.pop(agent)
            given = False
            while line and not given:
                waiting = line.popleft()
                self._waiting -= 1
                given = not waiting.gone
            if line:
                lines[agent] = line  # behind all others
                ready.append(agent)
            if given:
                self._taken += 1
                self._held[agent] = held + 1
                waiting.turn.set()
