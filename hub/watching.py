"""One wish to hear of a resource: who has it, what it hears, and whether its server keeps to it.

It outlives links and servers: while nobody can tell of its resource it waits, and once somebody can
again, its listener is told that the resource may have changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from hub.model import Call, Json

__all__ = ["Listener", "Watching"]

Listener = Callable[[str, Json], None]
"""`(URI at its server, params)` of an update: of the resource itself, or of one below it. Must not block."""


class Watching:
    def __init__(self, call: Call, listener: Listener, stopped: Callable[[Watching], None]) -> None:
        """
        Args:
            call: The reading of the resource: says which, and which of its server's links it is read on.
            stopped: Called once, when nobody wants it any longer.
        """
        assert call.entry is not None
        self.call = call
        self.server = call.entry.server
        self.uri = call.entry.own
        """At its server."""
        self.grant = call.entry.grant
        self.stopped = False
        self._listener = listener
        self._on_stop = stopped
        self._release: Callable[[], None] | None = None
        self._settled = anyio.Event()
        self._problem: Exception | None = None
        self._promised = False

    async def settled(self, seconds: float) -> None:
        """Return once its server tells of the resource, or after that time; then it is still seen to.

        Raises:
            RemoteError: the server refuses to.
            HubError: the server is not to be had, or cannot tell.
        """
        with anyio.move_on_after(seconds):
            await self._settled.wait()
        if self._problem is not None:
            raise self._problem
        self.promise()

    def promise(self) -> None:
        """Somebody counts on it: a gap from here on is an update."""
        self._promised = True

    def stop(self) -> None:
        """Nobody wants it any longer. May be called twice."""
        if not self.stopped:
            self.stopped = True
            self.release()
            self._on_stop(self)

    # What its server does.

    def held(self, release: Callable[[], None]) -> None:
        """It is taken care of; `release` ends that."""
        self.release()
        self._release = release

    def release(self) -> None:
        """Nobody takes care of it for now."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def confirm(self) -> None:
        """The server tells of it from now on."""
        self._problem = None
        self._settled.set()
        if self._promised:
            self.tell(self.uri, {})
        self._promised = True

    def fail(self, problem: Exception) -> None:
        """The server does not tell of it, and why."""
        if not self._settled.is_set():
            self._problem = problem
            self._settled.set()

    def tell(self, uri: str, params: Json) -> None:
        """An update of `uri`: its own, or one below it."""
        self._listener(uri, params)
