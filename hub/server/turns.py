"""Which request is begun next when more come than can be served: admission before any work is done.

As long as there is room, a request is begun at once: an event loop's turn begins at most `AT_ONCE` of them,
so that a turn stays short (some milliseconds) and what came meanwhile is looked at. Those above wait in
a bounded queue, one line for each agent, served in turn: an agent that floods the hub waits behind its own
requests, others do not. What does not fit is answered 429 with `Retry-After`, without a task, unparsed: in
the moment in which it has come, up to so many a second; further ones by and by, at that pace, so that no
flood takes the time for work. A burst may queue for a second; a queue that stands longer than that is
overload, and is cut short.

Costs a request 0.15 us where nothing waits, and each turn a callback and a look at the store (measured,
uvloop, Python 3.11).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Final

from connectors.jsonrpc import INTERNAL_ERROR, encode
from hub.server.wire_request import Head, Request

__all__ = [
    "AT_ONCE",
    "BURST_MAX",
    "OWN_MAX",
    "REFUSAL",
    "RETRY_SECONDS",
    "STANDING_MAX",
    "STEP_SECONDS",
    "TOLD_EACH_STEP",
    "Turns",
]

AT_ONCE: Final = 8
"""How many requests one turn of the event loop begins. With more, more calls are under way at once when the
loop itself is what is short, each costs more (with 128 connections 200 us of CPU at 32 here, 160 at 8), and
whoever calls now and then waits longer for each of its steps."""
OWN_MAX: Final = 256
"""How many requests of one agent may be under way; further ones wait, and are no work yet."""
BURST_MAX: Final = 2048
"""How many may wait, for a moment; an agent that waits for nothing else may always add one."""
STANDING_MAX: Final = 128
"""How many may wait where the queue has not been empty for `BURST_TICKS` seconds."""
BURST_TICKS: Final = 1
RETRY_SECONDS: Final = 1
STEP_SECONDS: Final = 0.005
TOLD_EACH_STEP: Final = 80
"""How many are told so in that time. Saying no costs 8 to 12 us, nearly all of it the kernel's, so that this
is a seventh of what one processor can do: the rest is for what was begun. Further ones wait to be told, and
as long as they do, their connections have nothing to send: a flood is slowed down where it comes from."""

_RETRY: Final = (b"retry-after", b"%d" % RETRY_SECONDS)


def _refusal(reason: str, sentence: str) -> bytes:
    data = {"reason": reason, "retry_after_seconds": RETRY_SECONDS}
    return encode({"jsonrpc": "2.0", "error": {"code": INTERNAL_ERROR, "message": sentence, "data": data}})


_BUSY: Final = _refusal("busy", "The hub has more to do than it can; nothing was done. Try again in a second")
REFUSAL: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n%b: %b\r\n\r\n%b" % (len(_BUSY), *_RETRY, _BUSY)
)
"""The same answer, with its head."""
_ENDING: Final = _refusal("ending", "The hub is about to end; nothing was done. Try again in a second")


class Turns:
    """Of one listening socket.

    Args:
        under_way: The requests that are begun and not answered.
        path: What is asked for there counts; anything else (`/health`) is begun at once.
        is_behind: Whether nothing should be begun at present. Asked once a turn.
    """

    def __init__(
        self,
        under_way: Collection[Request],
        path: str = "/mcp",
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self.refused = 0
        """How many were answered 429 so far."""
        self._path = path
        self._is_behind = is_behind
        self._under_way = under_way
        self._begun = 0
        self._turning = False
        """Whether the end of this turn is looked at."""
        self._lines: dict[bytes, deque[Request]] = {}
        """By who asks: what waits. In the order in which they are served."""
        self._waiting = 0
        self._own: Counter[bytes] = Counter()
        """By who asks: how many are under way. Counted while any wait."""
        self._ticks = 0
        """For how many ticks of a second the queue has not been empty."""
        self._refusals: deque[Request] = deque()
        """Those that are not served, and are not told so yet."""
        self._told = 0
        """How many were told in this step."""
        self._stepping = False
        self._ending = False

    def __len__(self) -> int:
        """How many requests wait."""
        return self._waiting

    def end(self) -> None:
        """Begin what waits, and answer 503 to what comes from now on."""
        self._ending = True

    def tick(self) -> None:
        """A second has passed."""
        self._ticks += 1

    def take(self, request: Request) -> None:
        """Begin it now or later, or answer that it is not."""
        if self._ending and request.head.path == self._path:
            request.close_after()
            request.answer(503, _ENDING, _RETRY)
        elif (
            self._begun < AT_ONCE
            and not self._waiting
            and len(self._under_way) < OWN_MAX
            and (self._turning or not self._is_behind())
        ):
            if not self._turning:
                self._turn()
            self._begun += 1
            request.begin()
        elif request.head.path != self._path:
            if self._waiting:
                self._own[_owner(request.head)] += 1
            request.begin()
        else:
            self._queue(request)

    def _queue(self, request: Request) -> None:
        if not self._waiting:
            self._ticks = 0
            self._own = Counter(_owner(each.head) for each in self._under_way)
        most = BURST_MAX if self._ticks < BURST_TICKS else STANDING_MAX
        owner = _owner(request.head)
        line = self._lines.get(owner)
        own = 0 if line is None else len(line)
        if self._waiting >= most and own >= max(1, most // len(self._lines)):
            self._refuse(request)
            return
        if line is None:
            line = self._lines[owner] = deque()
        line.append(request)
        self._waiting += 1
        if not self._turning:
            self._turn()

    def freed(self, request: Request) -> None:
        """A request is answered."""
        if self._waiting:
            owner = _owner(request.head)
            left = self._own[owner] - 1
            if left > 0:
                self._own[owner] = left
            else:
                self._own.pop(owner, None)
            if not self._turning:
                self._turn()

    def _refuse(self, request: Request) -> None:
        self.refused += 1
        if self._told >= TOLD_EACH_STEP:
            self._refusals.append(request)
            return
        self._told += 1
        request.answer_as_is(REFUSAL, 429, _BUSY, _RETRY)
        if not self._stepping:
            self._stepping = True
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._step)

    def _step(self) -> None:
        """Tell those who have waited longest for it, as many as there may be, and go on later."""
        refusals = self._refusals
        self._stepping = self._told > 0
        self._told = min(len(refusals), TOLD_EACH_STEP)
        for _ in range(self._told):
            refusals.popleft().answer_as_is(REFUSAL, 429, _BUSY, _RETRY)
        if self._stepping:
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._step)

    def _turn(self) -> None:
        self._turning = True
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """A turn of the event loop is over."""
        self._begun, self._turning = 0, False
        if not self._waiting:
            return
        if self._is_behind():
            self._turning = True
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._next)
            return
        own = self._own
        ready = deque(owner for owner in self._lines if own[owner] < OWN_MAX)
        while ready and self._begun < AT_ONCE:
            owner = ready.popleft()
            line = self._lines.pop(owner)
            request = line.popleft()
            self._waiting -= 1
            if line:
                self._lines[owner] = line  # behind all others
            if not request.gone:
                self._begun += 1
                own[owner] += 1
                request.begin()
            if line and own[owner] < OWN_MAX:
                ready.append(owner)
        if self._begun:
            self._turn()


def _owner(head: Head) -> bytes:
    """Who asks, as far as can be told before anything is proved: whose credential it is."""
    if head.owner is None:
        head.owner = next((value for name, value in head.pairs if name == b"authorization"), b"")
    return head.owner
