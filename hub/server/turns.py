"""Which request is begun next when more come than can be served: admission before any work is done.

As long as there is room, a request is begun at once: an event loop's turn begins at most `AT_ONCE` of them,
so that a turn stays short (some milliseconds) and what came meanwhile is looked at. Those above wait in
a bounded queue, one line for each agent, served in turn: an agent that floods the hub waits behind its own
requests, others do not. Where many of them end in one turn, it is the hub itself that they wait for, each
of them in all of its steps: then fewer of one agent are under way, as they get on no slower, cost less, and
others' steps come sooner. What does not fit is answered 429 with `Retry-After`, without a task, unparsed: in
the moment in which it has come, up to so many a second; further ones by and by, at that pace, so that no
flood takes the time for work.

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
    "FEW",
    "FEW_ALONE",
    "HERE_MAX",
    "OWN_MAX",
    "REFUSAL",
    "RETRY_SECONDS",
    "STEP_SECONDS",
    "TOLD_EACH",
    "TOLD_LEAST",
    "TOLD_MOST",
    "Turns",
    "owner_of",
]

AT_ONCE: Final = 8
"""How many requests one turn of the event loop begins. With more, more calls are under way at once when the
loop itself is what is short, each costs more (with 128 connections 200 us of CPU at 32 here, 160 at 8), and
whoever calls now and then waits longer for each of its steps."""
OWN_MAX: Final = 256
"""How many requests of one agent may be under way; further ones wait, and are no work yet."""
FEW: Final = 4
FEW_ALONE: Final = 8
"""Where others wait and more than this end in one turn, so many more than are left may be under way of one
agent; and so many more again every `STEP_SECONDS`. The larger one counts where no other agent has waited
beside it of late: with 64 connections of one agent, that is 7 % more calls. Calls that take their time at
their servers end one by one, and soon all may be under way. (With 300 connections of one agent that make
calls of a millisecond, another's call waited for 5 ms of the hub's work, and for 1 ms with this; a call cost
216 us, then 180.)"""
OTHERS_SECONDS: Final = 60.0
"""For so long after another agent came, the hub counts on the next."""
HERE_MAX: Final = 384
"""How many may wait, what their agent has under way counted in; an agent that waits for nothing else may
always add one. More would be told late that they came for nothing, or be served when nobody waits for it any
more: where answers are long, this is a second's work."""
RETRY_SECONDS: Final = 1
STEP_SECONDS: Final = 0.005
TOLD_LEAST: Final = 16
TOLD_EACH: Final = 6
TOLD_MOST: Final = 40
"""How many are told so in that time: the least, and so many more for each request that was begun in the last
such time. Saying no costs 12 us, and twice that where the machine is busy, nearly all of it the kernel's. (At
five times of what can be served, four to five are to be told for one that is begun.) Further ones wait to be
told, and as long as they do, their connections have nothing to send: a flood is slowed down at its source."""

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
        self._ended = 0
        """How many were answered in this turn, while any waited."""
        self._own_most = OWN_MAX
        """How many of one agent may be under way at present."""
        self._growing = False
        """Whether that will soon be more."""
        self._shared = False
        """Whether agents have waited beside each other of late."""
        self._turning = False
        """Whether the end of this turn is looked at."""
        self._lines: dict[bytes, deque[Request]] = {}
        """By who asks: what waits. In the order in which they are served."""
        self._waiting = 0
        self._own: Counter[bytes] = Counter()
        """By who asks: how many are under way. Counted while any wait."""
        self._refusals: deque[Request] = deque()
        """Those that are not served, and are not told so yet."""
        self._tells = TOLD_LEAST
        """How many more may be told so in this step."""
        self._begun_since = 0
        """How many requests were begun in this step, while it is one."""
        self._stepping = False
        self._ending = False

    def __len__(self) -> int:
        """How many requests wait."""
        return self._waiting

    def end(self) -> None:
        """Begin what waits, and answer 503 to what comes from now on."""
        self._ending = True

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
                self._own[owner_of(request.head)] += 1
            request.begin()
        else:
            self._queue(request)

    def _queue(self, request: Request) -> None:
        if not self._waiting:
            self._own = Counter(owner_of(each.head) for each in self._under_way)
        owner = owner_of(request.head)
        most = HERE_MAX - min(self._own[owner], OWN_MAX)
        line = self._lines.get(owner)
        own = 0 if line is None else len(line)
        if self._waiting >= most and own >= max(1, most // len(self._lines)):
            self._refuse(request)
            return
        if line is None:
            if self._lines and not self._shared:
                self._shared = True
                asyncio.get_running_loop().call_later(OTHERS_SECONDS, self._alone)
            line = self._lines[owner] = deque()
        line.append(request)
        self._waiting += 1
        if not self._turning:
            self._turn()

    def freed(self, request: Request) -> None:
        """A request is answered."""
        if self._waiting:
            self._ended += 1
            owner = owner_of(request.head)
            left = self._own[owner] - 1
            if left > 0:
                self._own[owner] = left
            else:
                self._own.pop(owner, None)
            if not self._turning:
                self._turn()

    def _refuse(self, request: Request) -> None:
        self.refused += 1
        if not self._tells:
            self._refusals.append(request)
            return
        self._tells -= 1
        request.answer_as_is(REFUSAL, 429, _BUSY, _RETRY)
        if not self._stepping:
            self._stepping = True
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._step)

    def _step(self) -> None:
        """Tell those who have waited longest for it, as many as there may be, and go on later."""
        refusals = self._refusals
        tells = min(TOLD_MOST, TOLD_LEAST + TOLD_EACH * self._begun_since)
        self._stepping = bool(refusals) or self._begun_since > 0
        self._begun_since = 0
        while refusals and tells:
            tells -= 1
            refusals.popleft().answer_as_is(REFUSAL, 429, _BUSY, _RETRY)
        self._tells = tells
        if self._stepping:
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._step)

    def _turn(self) -> None:
        self._turning = True
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """A turn of the event loop is over."""
        ended, self._ended = self._ended, 0
        self._begun, self._turning = 0, False
        if not self._waiting:
            return
        own = self._own
        if ended > FEW:
            few = FEW if self._shared else FEW_ALONE
            if ended > few:
                self._own_most = min(self._own_most, len(self._under_way) // max(1, len(own)) + few)
            if not self._growing:
                self._growing = True
                asyncio.get_running_loop().call_later(STEP_SECONDS, self._grow)
        if self._is_behind():
            self._turning = True
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._next)
            return
        ready = deque(owner for owner in self._lines if own[owner] < self._own_most)
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
            if line and own[owner] < self._own_most:
                ready.append(owner)
        if self._begun:
            if self._stepping:
                self._begun_since += self._begun
            self._turn()

    def _alone(self) -> None:
        self._shared = False

    def _grow(self) -> None:
        self._own_most = min(OWN_MAX, self._own_most + FEW)
        self._growing = self._own_most < OWN_MAX
        if self._growing:
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._grow)
        if self._waiting and not self._turning:
            self._turn()


def owner_of(head: Head) -> bytes:
    """Who asks, as far as can be told before anything is proved: whose credential it is."""
    if head.owner is None:
        value = next((value for name, value in head.pairs if name == b"authorization"), b"")
        # However much white space is round it, and however the scheme is spelt.
        head.owner = value.strip(b" \t").rpartition(b" ")[2]
    return head.owner
