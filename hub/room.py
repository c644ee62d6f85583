"""The places for calls at one server, and the queue for them: one line for each agent, served in turn.

A server does so many things at once; what is more waits here, where it is known whose it is, and not in one
line behind whoever came first: an agent that fills all places waits behind its own calls, others do not.
The queue has an end: whoever comes then is told when to come again. Where a place is free, a call costs
0.1 us more (measured).
"""

from __future__ import annotations

from collections import deque
from typing import Final

import anyio

from hub.errors import UpstreamDown

__all__ = ["WAITING_MAX", "Room"]

WAITING_MAX: Final = 256
"""Calls that wait at one server; an agent that waits for nothing else there may always add one."""
RETRY_SECONDS: Final = 1.0


class Waiting:
    """One call that waits for a place."""

    __slots__ = ("gone", "turn")

    def __init__(self) -> None:
        self.turn = anyio.Event()
        """Set once it has a place."""
        self.gone = False
        """Whether it has been given up."""


class Room:
    """Take a place with `enter`, and `wait` for what it gives where that is something; then `leave`."""

    __slots__ = ("_lines", "_places", "_server", "_taken", "_waiting")

    def __init__(self, server: str, places: int) -> None:
        self._server = server
        self._places = places
        self._taken = 0
        self._waiting = 0
        self._lines: dict[str, deque[Waiting]] = {}
        """By agent, in the order in which they are served."""

    def enter(self, agent: str) -> Waiting | None:
        """A place now, or what to `wait` for.

        Raises:
            UpstreamDown: too many wait.
        """
        if self._taken < self._places:
            self._taken += 1
            return None
        line = self._lines.get(agent)
        if self._waiting >= WAITING_MAX and len(line or ()) >= max(1, WAITING_MAX // len(self._lines)):
            raise UpstreamDown(
                f"Server {self._server!r} has more to do than it can; nothing was sent. "
                "Try again in a second",
                retry_seconds=RETRY_SECONDS,
            )
        if line is None:
            line = self._lines[agent] = deque()
        waiting = Waiting()
        line.append(waiting)
        self._waiting += 1
        return waiting

    async def wait(self, waiting: Waiting) -> None:
        """Return with a place; without one, when cancelled."""
        try:
            await waiting.turn.wait()
        except anyio.get_cancelled_exc_class():
            # It stays in its line until its turn, unless it was given a place in this very moment.
            if waiting.turn.is_set():
                self.leave()
            waiting.gone = True
            raise

    def leave(self) -> None:
        """Give a place back: to the next in turn, where somebody waits."""
        while self._waiting:
            agent = next(iter(self._lines))
            line = self._lines.pop(agent)
            waiting = line.popleft()
            self._waiting -= 1
            if line:
                self._lines[agent] = line  # behind all others
            if not waiting.gone:
                waiting.turn.set()
                return
        self._taken -= 1
