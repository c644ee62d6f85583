"""Leaves a server alone that does not answer: so that calls to it fail at once, and it can come to itself.

Closed: calls go through. After some failures in a row, with no answer between, it is open: calls are refused.
After a while it is half-open: one call is let through to try it, and what becomes of that decides. A server
that asks to be left alone for a time (`Retry-After`) gets no call before, however few failed.

An answer is whatever the server says, an error of its own too. A link that cannot be had at all is its
berth's trouble, which has times of its own. Costs a call 0.02 us while it is closed.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from hub.backoff import retry_wait_seconds
from hub.counted import counted
from hub.env import Env
from hub.errors import UpstreamDown, UpstreamFailed
from hub.route import Breaking

__all__ = ["Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "half-open"]

_SECONDS_MAX: Final = 120.0


class Breaker:
    def __init__(self, server: str, env: Env, breaking: Breaking | None) -> None:
        """
        Args:
            breaking: `None`: failures never open it.
        """
        self.failures = 0
        """In a row, with no answer between."""
        self.held = False
        """Whether calls have to ask before they go through: it is not closed."""
        self._server = server
        self._env = env
        self._breaking = breaking
        self._until = 0.0
        self._asked = False
        self._trying = False
        self._opened = 0

    @property
    def state(self) -> BreakerState:
        if not self.held:
            return "closed"
        return "open" if self._env.monotonic() < self._until else "half-open"

    @property
    def left_seconds(self) -> float:
        """Until a call may go through again, while it is open."""
        return max(0.0, self._until - self._env.monotonic()) if self.held else 0.0

    def sentence(self) -> str | None:
        """For people: why calls are refused; `None` where they are not."""
        if not self.held:
            return None
        if self._asked:
            why = "it asked to be left alone"
        else:
            why = f"{counted(self.failures, 'call')} in a row failed"
        left = math.ceil(self.left_seconds)
        return f"{why}; {f'no call before {left} s' if left else 'the next call tries it again'}"

    def admit(self) -> bool:
        """Whether the call is the one that tries the server, where it may go through at all.

        Raises:
            UpstreamDown: it may not.
        """
        if not self.held:
            return False
        left = self.left_seconds
        if left > 0:
            raise UpstreamDown(
                f"Server {self._server!r} is left alone for {math.ceil(left)} s, as "
                f"{'it asked for' if self._asked else 'it did not answer'}; nothing was sent",
                retry_seconds=left,
            )
        if self._trying:
            raise UpstreamDown(
                f"Server {self._server!r} is being tried again after it did not answer; nothing was sent",
                retry_seconds=1,
            )
        self._trying = True
        return True

    def answered(self) -> None:
        """It said something."""
        if self._asked and self._env.monotonic() < self._until:
            return  # One that was under way: what it asked for still holds.
        self.failures, self.held, self._asked, self._trying, self._opened = 0, False, False, False, 0

    def failed(self, tried: bool, retry_seconds: float | None = None) -> None:
        """A call came to nothing.

        Args:
            tried: What `admit` said of it.
            retry_seconds: For how long the server asked to be left alone.
        """
        if tried:
            self._trying = False
        self.failures += 1
        now = self._env.monotonic()
        if retry_seconds is not None:
            self.held = self._asked = True
            self._until = max(self._until, now + retry_seconds)
        elif self._breaking is not None and (
            tried or (not self.held and self.failures >= self._breaking.failures)
        ):
            wait = retry_wait_seconds(
                self._opened, self._env.random_bytes(8), base=self._breaking.wait_seconds, cap=_SECONDS_MAX
            )
            self._opened += 1
            self.held, self._asked, self._until = True, False, now + wait
        elif tried:
            self.held = self._asked = False

    def ended(self, tried: bool, error: BaseException, *, late: bool) -> None:
        """A call ended with `error`; where that says nothing of the server, another may try it.

        Args:
            late: Whether it was ended because its time was over.
        """
        if isinstance(error, UpstreamFailed):
            self.failed(tried, error.retry_seconds)
        elif late:
            self.failed(tried)
        elif tried:
            self._trying = False
