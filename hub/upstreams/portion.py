"""How many of a server's places one agent has while others come too: no more than bring it something.

A server that does one thing at a time is no faster with 60 calls before it than with two, and whoever comes
then waits behind 60. So half as many places are tried, and half of those, while nearly as many calls end in a
second; and twice as many, in case that brings much more. Calls that take their time beside each other keep
all places. What counts is what comes of it: nobody has to say, or guess, how long a call of a server takes.

Nothing is tried where no call waits, or only one agent comes: it has all places then. Knows no calls and no
agents, only that one has ended while others wait (0.7 us each; nothing where none waits).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["LOOK_SECONDS", "OTHERS_SECONDS", "Portion"]

OTHERS_SECONDS: Final = 60.0
"""For so long after another agent came, one counts on the next."""
LOOK_SECONDS: Final = 0.25
"""Where no call has ended for so long, and for four times as long as usual, all places are given: what goes
on now is not what was measured."""
TRIAL_SECONDS: Final = 0.05
TRIAL_ENDED: Final = 16
"""How long it takes, and how many calls have to end, at the least, to say how many do in a second."""
REST_TRIALS: Final = 32
"""For how many times as long as that trial nothing else is tried, at the most, where fewer were too few: for
twice as long each time, as the first such trial may have been bad luck."""
AS_MANY: Final = 0.8
"""With this share of the calls in a second, half the places are enough."""
MANY_MORE: Final = 1.25
"""With so many times the calls in a second, twice the places are worth it."""


class Portion:
    """
    Args:
        places: How many one agent ever has.
        clock: Seconds that only go forward.
    """

    __slots__ = (
        "_all", "_before", "_began", "_clock", "_ended", "_last", "_more", "_rate", "_rests",
        "_rests_until",
        "_shared_until", "_tries", "most",
    )  # fmt: skip

    def __init__(self, places: int, clock: Callable[[], float]) -> None:
        self.most = places
        """How many one agent has at present."""
        self._all = self._before = places
        self._clock = clock
        self._tries = False
        """Whether `most` is only tried, instead of `_before`."""
        self._more = False
        """Whether more are tried next, or were last; otherwise fewer."""
        self._rate = 0.0
        """How many calls ended in a second before that."""
        self._ended = -1
        """How many have ended now; below zero: so many are still to end that were begun before."""
        self._began = self._last = 0.0
        """When it was begun to count, and when a call ended last."""
        self._rests = 1
        """How many trials' time it rests next."""
        self._rests_until = self._shared_until = 0.0

    @property
    def is_narrow(self) -> bool:
        return self.most < self._all

    def others(self) -> None:
        """Another agent is here than the one that waits."""
        self._shared_until = self._clock() + OTHERS_SECONDS

    def pause(self) -> None:
        """No call waits any more: how many end now says nothing."""
        self._ended = -1

    def look(self) -> bool:
        """Whether all places were given, as nothing ends, or no other agent comes."""
        return self._is_over(self._clock())

    def ended(self) -> None:
        """A call has, and others wait for its place."""
        moment = self._clock()
        if self._is_over(moment) or moment >= self._shared_until:
            return
        self._last = moment
        self._ended += 1
        if not self._ended:
            self._began = moment
        elif self._ended > 0 and not self._ended % (self.most * -(-TRIAL_ENDED // self.most)):
            # Whole rounds only: calls that began together may end together.
            seconds = moment - self._began
            if seconds >= TRIAL_SECONDS:
                self._judge(self._ended / seconds, moment, seconds)

    def _is_over(self, moment: float) -> bool:
        if not self.is_narrow or (
            moment < self._shared_until and moment - self._last < max(LOOK_SECONDS, 4 / self._rate)
        ):
            return False
        self._tries = self._more = False
        self._rests_until = 0.0
        self._set(self._all)
        return True

    def _judge(self, rate: float, moment: float, seconds: float) -> None:
        """So many calls end in a second: go on as it is, or with another number."""
        if self._tries and rate < self._rate * (MANY_MORE if self._more else AS_MANY):
            if not self._more:
                self._rest(moment, seconds)
            self._tries, self._more = False, not self._more
            self._set(self._before)
            return
        if self._tries:
            self._rests = 1
        self._tries, self._rate, self._ended, self._began = False, rate, 0, moment
        if moment < self._rests_until:
            return
        self._more = self._more and self.is_narrow
        if self.most == 1 and not self._more:
            self._more = True
            self._rest(moment, seconds)
            return
        self._tries, self._before = True, self.most
        self._set(min(2 * self.most, self._all) if self._more else self.most // 2)

    def _rest(self, moment: float, seconds: float) -> None:
        self._rests_until = moment + self._rests * seconds
        self._rests = min(2 * self._rests, REST_TRIALS)

    def _set(self, most: int) -> None:
        self._ended = -max(self.most, most)
        self.most = most
