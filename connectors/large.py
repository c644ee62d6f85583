"""How much of large messages is read and worked on at once, over all links together.

A message of many megabytes takes several times its size while it is read and made shorter, and servers
send them whenever they like. Who reads one takes room for it in steps, and leaves its server waiting
where there is none; the room is given back when nobody has the result any longer.

One message beside them may always grow, whatever the others hold; servers take turns at that. So nobody
waits for ever, and one that is larger than all the room there is goes as well. No server gets more than half
of the room: one which begins large messages and never ends them leaves the other half to the rest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["BYTES_MAX", "LARGE_BYTES", "Hold", "Large"]

BYTES_MAX: Final = 64 * 1024**2
"""Of what was read, where nobody says otherwise."""
LARGE_BYTES: Final = 1024**2
"""What is smaller costs nothing and is not counted. Also the step in which a message grows."""


class Large:
    """The room that all links share. Used by one event loop."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held: Counter[str] = Counter()
        """Bytes, by server."""
        self._bytes = 0
        self._waiting: list[Hold] = []
        """The first to come is the first."""
        self._is_exceeded = False
        """Whether some message may grow as it likes, and is not counted: one at a time."""
        self._turns: dict[str, int] = {}
        """By server: when one of its messages last might."""

    @property
    def waiting(self) -> int:
        """How many messages are not read on."""
        return len(self._waiting)

    @property
    def is_free(self) -> bool:
        """Whether nothing large is read or worked on."""
        return not self._bytes and not self._is_exceeded

    def hold(self, server: str) -> Hold:
        """Room for one message, at first none."""
        return Hold(self, server)

    # For holds.

    def ask(self, hold: Hold) -> bool:
        """Whether it has what it wants; otherwise it waits."""
        self._waiting.append(hold)
        self._let_in()
        return hold not in self._waiting

    def forget(self, hold: Hold) -> None:
        self._waiting.remove(hold)

    def give_back(self, server: str, size: int, exceeds: bool) -> None:
        if exceeds:
            self._is_exceeded = False
        else:
            self._count(server, -size)
        self._let_in()

    def _count(self, server: str, more: int) -> None:
        self._bytes += more
        self._held[server] += more
        if not self._held[server]:
            del self._held[server]

    def _let_in(self) -> None:
        for hold in [each for each in self._waiting if self._fits(each)]:
            if self._fits(hold):
                self._let(hold)
        if self._waiting and not self._is_exceeded:
            # The servers take turns.
            hold = min(self._waiting, key=lambda each: self._turns.get(each.server, 0))
            self._turns[hold.server] = max(self._turns.values(), default=0) + 1
            self._is_exceeded = hold.exceeds = True
            self._count(hold.server, -hold.size)
            self._let(hold)

    def _fits(self, hold: Hold) -> bool:
        more = hold.wanted - hold.size
        return hold.exceeds or (
            self._bytes + more <= self._bytes_max and self._held[hold.server] + more <= self._bytes_max // 2
        )

    def _let(self, hold: Hold) -> None:
        self._waiting.remove(hold)
        if not hold.exceeds:
            self._count(hold.server, hold.wanted - hold.size)
        hold.enter()


class Hold:
    """Room for one message. It is given back when the last that knows of it has gone."""

    __slots__ = ("_large", "_loop", "_resume", "exceeds", "server", "size", "wanted")

    def __init__(self, large: Large, server: str) -> None:
        self._large = large
        self._loop = asyncio.get_running_loop()
        self._resume: Callable[[], None] | None = None
        self.server = server
        self.size = 0
        """How large the message may be by now."""
        self.wanted = 0
        self.exceeds = False

    def grow(self, size: int, resume: Callable[[], None]) -> bool:
        """Ask for room for a message of more than `size`; whether it is there at once.

        Args:
            resume: Called when there is, where there was not.
        """
        self.wanted = max(self.wanted, size + LARGE_BYTES)
        if self._resume is not None:
            return False  # it waits already
        if self._large.ask(self):
            return True
        self._resume = resume
        return False

    def leave(self) -> bool:
        """Wait no longer; whether it did."""
        self._resume, waited = None, self._resume is not None
        if waited:
            self._large.forget(self)
        return waited

    def enter(self) -> None:
        """There is room for what it wants."""
        self.size = self.wanted
        resume, self._resume = self._resume, None
        if resume is not None:
            resume()

    def __del__(self) -> None:
        # Perhaps in the worker thread that was the last to look at the result, or after the loop's end.
        if self.size:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._large.give_back, self.server, self.size, self.exceeds)
