"""Which answer belongs to which request, on a channel that many requests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from connectors.base import Json, LinkError, Notify, OnRequest

__all__ = ["Correlation", "Waiting"]


class Waiting:
    """One request that is under way."""

    __slots__ = ("_future", "id", "lasting", "on_notify", "on_request", "token")

    def __init__(
        self, id: int, on_notify: Notify | None, on_request: OnRequest | None, token: Any, lasting: bool
    ) -> None:
        self.id = id
        self.on_notify = on_notify
        self.on_request = on_request
        self.token = token
        """The asker's own progress token, given back in what `on_notify` gets."""
        self.lasting = lasting
        """It stays under way (`subscriptions/listen`): not what a server means that says nothing of it."""
        self._future: asyncio.Future[Json] | None = None

    @property
    def future(self) -> asyncio.Future[Json]:
        """Gets the response, where that is found by its id."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        return self._future


class Correlation:
    """Which answer belongs to which request, on one channel that many requests share.

    Ids are our own integers, never an agent's, and an answer counts only with the exact id of a
    request that still waits: `"2"` and `2.0` are not `2` (threat T6).
    """

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, Waiting] = {}
        self.stray = 0
        """Answers and progress that belonged to nothing."""

    def __len__(self) -> int:
        return len(self._waiting)

    def open(
        self,
        params: Json,
        on_notify: Notify | None,
        on_request: OnRequest | None = None,
        *,
        lasting: bool = False,
        answered_apart: bool = False,
    ) -> tuple[Waiting, Json]:
        """A new request: its place, and the params to send, with our progress token in them.

        Args:
            answered_apart: Its response is not to be found by its id.
        """
        self._last += 1
        id = self._last
        token = None
        meta = params.get("_meta")
        if meta is not None and "progressToken" in meta:
            token = meta["progressToken"]
            params = {**params, "_meta": {**meta, "progressToken": id}}
        waiting = Waiting(id, on_notify, on_request, token, lasting)
        if not answered_apart or on_notify is not None or on_request is not None:
            self._waiting[id] = waiting
        return waiting, params

    def close(self, waiting: Waiting) -> None:
        """Nobody waits any longer; a late answer is dropped. May be called twice."""
        self._waiting.pop(waiting.id, None)

    def settle(self, response: Json) -> None:
        """Hand a response to whoever waits for it."""
        waiting = self.find(response["id"])
        if waiting is None:
            self.stray += 1
            return
        del self._waiting[waiting.id]
        if not waiting.future.done():
            waiting.future.set_result(response)

    def reject(self, id: object, reason: str, *, lasting: bool | None = None) -> bool:
        """Fail the request with exactly this id; False if there is none (of that kind)."""
        waiting = self.find(id)
        if waiting is None or lasting not in (None, waiting.lasting):
            self.stray += 1
            return False
        del self._waiting[waiting.id]
        if not waiting.future.done():
            waiting.future.set_exception(LinkError(reason))
        return True

    def find(self, id: object) -> Waiting | None:
        """The request under way with exactly this id."""
        return self._waiting.get(id) if type(id) is int else None

    def progress(self, params: Json) -> bool:
        """Hand `notifications/progress` to its request; False if there is none."""
        waiting = self.find(params.get("progressToken"))
        if waiting is None or waiting.token is None:  # Nobody waits, or nobody asked for progress.
            self.stray += 1
            return False
        if waiting.on_notify is not None:
            waiting.on_notify("notifications/progress", {**params, "progressToken": waiting.token})
        return True

    def asked(self) -> OnRequest | None:
        """What answers a question that does not say whom it is for: the newest request that can be asked."""
        for waiting in reversed(self._waiting.values()):
            if waiting.on_request is not None:
                return waiting.on_request
        return None

    def only(self) -> Waiting | None:
        """The one request under way, if there is exactly one (lasting ones apart)."""
        passing = [waiting for waiting in self._waiting.values() if not waiting.lasting]
        return passing[0] if len(passing) == 1 else None

    def fail(self, error: Callable[[], Exception]) -> None:
        """The channel is gone: every request that waits fails with an exception of its own."""
        waiting, self._waiting = list(self._waiting.values()), {}
        for each in waiting:
            if not each.future.done():
                each.future.set_exception(error())
