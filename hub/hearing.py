"""Hears what one server says of itself: that its lists changed, or a resource that somebody watches.

A modern server says so on a `subscriptions/listen` stream, which names what is wanted: when that
changes, a new stream is opened before the old one is left, so that nothing is missed between. A
server of the older era says list changes by itself, and is asked for each resource.

Source: specification 2026-07-28, basic/patterns/subscriptions; 2025-11-25, server/resources.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

import anyio

from connectors.base import Json, Link, LinkError, RemoteError
from hub.env import Env

__all__ = ["WATCHED_MAX", "Hearing"]

log = logging.getLogger(__name__)

WATCHED_MAX: Final = 10_000
"""How many resources of one server may be watched."""
_WAIT_SECONDS: Final = 1.0
_WAIT_SECONDS_MAX: Final = 60.0
_LISTS: Final = ("tools", "prompts", "resources")


class Hearing:
    def __init__(self, server: str, env: Env, missed: Callable[[], None]) -> None:
        """
        Args:
            missed: Called when changes may have been missed: the stream was away for a while.
        """
        self._server = server
        self._env = env
        self._missed = missed
        self._watched: Counter[str] = Counter()
        self._changed = anyio.Event()

    def __bool__(self) -> bool:
        return bool(self._watched)

    def watch(self, uri: str) -> Callable[[], None]:
        """Want to hear of a resource, by the URI that the server knows; returns how to stop that."""
        self._watched[uri] += 1
        if self._watched[uri] == 1:
            self._change()
        released = False

        def release() -> None:
            nonlocal released
            if released:
                return
            released = True
            self._watched[uri] -= 1
            if not self._watched[uri]:
                del self._watched[uri]
                self._change()

        return release

    @property
    def is_full(self) -> bool:
        return len(self._watched) >= WATCHED_MAX

    async def attend(self, link: Link) -> None:
        """Listen on a link for as long as it is up. Never ends it by itself."""
        if link.peer.modern:
            await self._listen(link)
        elif _has(link, "resources", "subscribe"):
            await self._subscribe(link)

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _listen(self, link: Link) -> None:
        async with anyio.create_task_group() as tasks:
            before: anyio.CancelScope | None = None
            while True:
                changed = self._changed
                wanted = self._wanted(link)
                if wanted:
                    scope, heard = anyio.CancelScope(), anyio.Event()
                    tasks.start_soon(self._keep_listening, link, wanted, scope, heard)
                    await heard.wait()
                else:
                    scope = None
                if before is not None:
                    before.cancel()
                before = scope
                await changed.wait()

    def _wanted(self, link: Link) -> Json:
        """The filter of a stream: what the server says that it can say, and somebody wants to hear."""
        wanted: Json = {f"{kind}ListChanged": True for kind in _LISTS if _has(link, kind, "listChanged")}
        if self._watched and _has(link, "resources", "subscribe"):
            wanted["resourceSubscriptions"] = sorted(self._watched)
        return wanted

    async def _keep_listening(
        self, link: Link, wanted: Json, scope: anyio.CancelScope, heard: anyio.Event
    ) -> None:
        """One stream, opened again whenever it ends; `heard` is set once it stands or has failed once."""

        def on_notify(method: str, params: Json) -> None:
            if method == "notifications/subscriptions/acknowledged":
                if heard.is_set():
                    self._missed()
                heard.set()

        wait = _WAIT_SECONDS
        with scope:
            while not link.closed:
                began = self._env.monotonic()
                try:
                    await link.request("subscriptions/listen", {"notifications": wanted}, on_notify=on_notify)
                except RemoteError as error:
                    log.info("%s: it does not say when it changes: %s", self._server, error)
                    heard.set()
                    return
                except LinkError as error:
                    log.info("%s: its stream of changes ended: %s", self._server, error)
                heard.set()
                lasted = self._env.monotonic() - began
                wait = _WAIT_SECONDS if lasted > _WAIT_SECONDS_MAX else min(wait * 2, _WAIT_SECONDS_MAX)
                await anyio.sleep(wait)
        heard.set()

    async def _subscribe(self, link: Link) -> None:
        asked: set[str] = set()
        while True:
            changed = self._changed
            wanted = set(self._watched)
            for uri in sorted(wanted - asked):
                await self._say(link, "resources/subscribe", uri)
            for uri in sorted(asked - wanted):
                await self._say(link, "resources/unsubscribe", uri)
            asked = wanted
            await changed.wait()

    async def _say(self, link: Link, method: str, uri: str) -> None:
        try:
            await link.request(method, {"uri": uri})
        except (RemoteError, LinkError) as error:
            log.info("%s: %s was refused: %s", self._server, method, error)


def _has(link: Link, capability: str, detail: str) -> bool:
    said = link.peer.capabilities.get(capability)
    return isinstance(said, dict) and said.get(detail) is True
