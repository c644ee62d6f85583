"""Hears on one link what a server says of itself: its lists changed, or a resource that somebody watches.

A modern server says so on a `subscriptions/listen` stream, which names what is wanted: when that
changes, a new stream stands before the old one is left, so that nothing is missed between. A
server of the older era says list changes by itself, and is asked for each resource. Wherever
something may have been missed, it counts as changed. Whoever wants and stops wanting, again and
again, costs a server a few requests a second at most.

Source: specification 2026-07-28, basic/patterns/subscriptions; 2025-11-25, server/resources.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import anyio

from connectors.base import SUBSCRIPTION_ID_KEY, Json, Link, LinkError, RemoteError
from connectors.jsonrpc import METHOD_NOT_FOUND, encode
from hub.backoff import retry_wait_seconds
from hub.errors import InvalidParams, UpstreamDown
from hub.model import Kind
from hub.templates import URI_LENGTH_MAX
from hub.upstreams.learn import CHANGES
from hub.watching import Watching

if TYPE_CHECKING:
    from hub.upstreams.surroundings import Surroundings

__all__ = ["PAUSE_SECONDS", "WATCHED_MAX", "Hearing", "can_tell"]

log = logging.getLogger(__name__)

WATCHED_MAX: Final = 10_000
"""How many resources may be watched on one link."""
PAUSE_SECONDS: Final = 0.25
"""At least this long between two changes of what a server is asked to tell."""

_ANSWER_SECONDS: Final = 10.0
"""How long a server may take to acknowledge."""
_RETRY_SECONDS_MAX: Final = 60.0
_STEADY_SECONDS: Final = 60.0
"""A stream that stood so long was no failure."""
_AT_ONCE: Final = 16
_DEPTH_MAX: Final = 64
"""How far up from an updated URI a watched one is looked for."""
_SAID_BYTES_MAX: Final = 16 * 1024
"""Of an update, as JSON."""
_UPDATED: Final = "notifications/resources/updated"
_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_URIS: Final = "resourceSubscriptions"
_LISTS: Final = ("tools", "prompts", "resources")


class _Stream:
    """One `subscriptions/listen`, opened again whenever it breaks."""

    def __init__(self, wanted: Json) -> None:
        self.wanted = wanted
        self.scope = anyio.CancelScope()
        self.heard = anyio.Event()
        """Set once it stands, or has failed once."""
        self.uris: frozenset[str] = frozenset()
        """What it tells of while it stands."""
        self.lists: frozenset[str] = frozenset()


class Hearing:
    def __init__(
        self,
        server: str,
        around: Surroundings,
        stale: Callable[[Iterable[Kind]], None],
        *,
        asks_for_lists: bool,
    ) -> None:
        """
        Args:
            stale: Told which lists may have changed.
            asks_for_lists: Whether a modern server is asked to tell of them; else another link does.
        """
        self._server = server
        self._env = around.env
        self._parts = around.parts
        self._stale = stale
        self._asks_for_lists = asks_for_lists
        self._watched: dict[str, set[Watching]] = {}
        self._standing: set[str] = set()
        """The URIs that an older server was asked for and has agreed to, on the link of now."""
        self._refused: dict[str, Exception] = {}
        """The URIs that it does not tell of, and why: not asked for again while somebody watches them."""
        self._streams: list[_Stream] = []
        self._changed = anyio.Event()
        self.gap = False
        """Whether its tools may be others by now, as nobody heard of it for a while."""

    def __bool__(self) -> bool:
        """Whether anybody watches a resource."""
        return bool(self._watched)

    def watch(self, watching: Watching) -> None:
        """See to it, until it is released.

        Raises:
            UpstreamDown: too much is watched already.
        """
        uri = watching.uri
        if uri not in self._watched and len(self._watched) >= WATCHED_MAX:
            raise UpstreamDown(f"Server {self._server!r} has too many resources that are watched")
        self._watched.setdefault(uri, set()).add(watching)
        watching.held(lambda: self._leave(watching))
        if uri in self._covered:
            watching.confirm()
        elif uri in self._refused:
            watching.fail(self._refused[uri])
        else:
            self._change()

    def hear(self, method: str, params: Json) -> None:
        """What the server says on this link, to no request of ours."""
        kinds = CHANGES.get(method)
        if kinds is not None:
            # An older server may say so on the one link whose session made the change.
            self._stale(kinds)
        elif method == _UPDATED:
            uri = params.get("uri")
            if type(uri) is str:
                if len(uri) <= URI_LENGTH_MAX or uri in self._watched:
                    self._tell(uri, _short(_plain(params)))
            elif uri is None:
                # Our own link says so after a gap.
                self._forget()
                self._change()

    async def attend(self, link: Link) -> None:
        """Listen on a link for as long as it is up. Never ends it by itself."""
        self._forget()
        self.gap = False  # It has just been asked.
        try:
            if link.peer.modern:
                await self._listen(link)
            elif can_tell(link.peer.capabilities):
                await self._subscribe(link)
        finally:
            self._forget()
            self._streams.clear()

    def _forget(self) -> None:
        """What an older server was asked for has to be asked again."""
        self._standing.clear()
        self._refused.clear()

    @property
    def _covered(self) -> set[str]:
        """What the server tells of now."""
        return self._standing.union(*(stream.uris for stream in self._streams))

    def _leave(self, watching: Watching) -> None:
        others = self._watched.get(watching.uri, set())
        others.discard(watching)
        if not others:
            self._watched.pop(watching.uri, None)
            self._refused.pop(watching.uri, None)
            self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _tell(self, uri: str, params: Json) -> None:
        """An update concerns whoever watches the URI, or one that it is below."""
        above = uri
        for _ in range(_DEPTH_MAX):
            for watching in [*self._watched.get(above, ())]:
                watching.tell(uri, params)
                self._parts.updated(watching.call.session, self._server, uri)
            slash = above.rfind("/")
            if slash <= 0:
                return
            above = above[:slash] if above.endswith("/") else above[: slash + 1]

    def _confirm(self, uris: Iterable[str]) -> None:
        for uri in uris:
            for watching in [*self._watched.get(uri, ())]:
                watching.confirm()

    def _refuse(self, uris: Iterable[str], problem: Exception) -> None:
        for uri in uris:
            if uri in self._watched:
                self._refused[uri] = problem
            for watching in [*self._watched.get(uri, ())]:
                watching.fail(problem)

    # A modern server

    async def _listen(self, link: Link) -> None:
        async with anyio.create_task_group() as tasks:
            stream: _Stream | None = None
            while True:
                changed, wanted = self._changed, self._wanted(link)
                if stream is None or wanted != stream.wanted:
                    before, stream = stream, None
                    if wanted:
                        stream = _Stream(wanted)
                        tasks.start_soon(self._keep_listening, link, stream)
                        with anyio.move_on_after(_ANSWER_SECONDS):
                            await stream.heard.wait()
                    if before is not None:
                        before.scope.cancel()
                await anyio.sleep(PAUSE_SECONDS)
                await changed.wait()

    def _wanted(self, link: Link) -> Json:
        """The filter of a stream: what the server says that it can say, and somebody wants to hear."""
        wanted: Json = {}
        if self._asks_for_lists:
            wanted = {f"{kind}ListChanged": True for kind in _LISTS if _says(link, kind, "listChanged")}
        if self._watched and can_tell(link.peer.capabilities):
            wanted[_URIS] = sorted(self._watched)
        return wanted

    async def _keep_listening(self, link: Link, stream: _Stream) -> None:
        def on_notify(method: str, params: Json) -> None:
            if method == _ACKNOWLEDGED:
                self._acknowledged(stream, params)
            else:
                self.hear(method, params)

        failures, asked = 0, stream.wanted
        with stream.scope:
            try:
                while not link.closed:
                    began = self._env.monotonic()
                    try:
                        await link.request(
                            "subscriptions/listen", {"notifications": asked}, on_notify=on_notify
                        )
                    except RemoteError as error:
                        log.info("%s: it does not say when it changes: %s", self._server, error)
                        self._refuse(asked.get(_URIS, ()), error)
                        if error.code == METHOD_NOT_FOUND:
                            return
                        # It may mind the resources only.
                        asked = {key: value for key, value in asked.items() if key != _URIS} or asked
                    except LinkError as error:
                        log.info("%s: its stream of changes ended: %s", self._server, error)
                    self._fallen(stream)
                    stream.heard.set()
                    failures = 0 if self._env.monotonic() - began > _STEADY_SECONDS else failures + 1
                    await anyio.sleep(self._wait_seconds(failures))
            finally:
                self._fallen(stream)
                stream.heard.set()

    def _acknowledged(self, stream: _Stream, params: Json) -> None:
        """The stream stands. What no stream told of until now may have changed meanwhile."""
        agreed = params.get("notifications")
        agreed = agreed if type(agreed) is dict else {}
        asked: list[str] = stream.wanted.get(_URIS, [])
        given = agreed.get(_URIS)
        uris = frozenset(asked).intersection(
            [uri for uri in given if type(uri) is str] if type(given) is list else ()
        )
        lists = frozenset(kind for kind in _LISTS if agreed.get(f"{kind}ListChanged") is True)
        news = uris - self._covered
        unheard = lists.difference(*(other.lists for other in self._streams))
        stream.uris, stream.lists = uris, lists
        if stream not in self._streams:
            self._streams.append(stream)
        self._confirm(news)
        self._refuse(set(asked) - uris, _not_told(self._server))
        if self._asks_for_lists:
            for kind in sorted(unheard):
                self._stale(CHANGES[f"notifications/{kind}/list_changed"])
        stream.heard.set()

    def _fallen(self, stream: _Stream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
        if "tools" in stream.lists and not any("tools" in other.lists for other in self._streams):
            self.gap = True
        stream.uris = stream.lists = frozenset()

    # A server of the older era

    async def _subscribe(self, link: Link) -> None:
        asked: set[str] = set()
        failures = 0
        while True:
            changed, wanted = self._changed, set(self._watched)
            limiter, failed = anyio.CapacityLimiter(_AT_ONCE), list[str]()
            async with anyio.create_task_group() as tasks:
                for uri in sorted(asked - wanted):
                    tasks.start_soon(self._unsubscribe_from, link, uri, limiter)
                for uri in sorted(wanted - self._standing - self._refused.keys()):
                    tasks.start_soon(self._subscribe_to, link, uri, limiter, failed)
            asked = wanted
            failures = failures + 1 if failed else 0
            await anyio.sleep(PAUSE_SECONDS)
            with anyio.move_on_after(self._wait_seconds(failures)) if failed else anyio.CancelScope():
                await changed.wait()

    async def _subscribe_to(
        self, link: Link, uri: str, limiter: anyio.CapacityLimiter, failed: list[str]
    ) -> None:
        try:
            async with limiter:
                with anyio.fail_after(_ANSWER_SECONDS):
                    await link.request("resources/subscribe", {"uri": uri})
        except RemoteError as error:
            self._refuse([uri], error)
        except (LinkError, TimeoutError) as error:
            log.info("%s: it could not be asked for changes of a resource: %s", self._server, error)
            failed.append(uri)
        else:
            self._standing.add(uri)
            self._confirm([uri])

    async def _unsubscribe_from(self, link: Link, uri: str, limiter: anyio.CapacityLimiter) -> None:
        self._standing.discard(uri)
        try:
            async with limiter:
                with anyio.fail_after(_ANSWER_SECONDS):
                    await link.request("resources/unsubscribe", {"uri": uri})
        except (RemoteError, LinkError, TimeoutError) as error:
            log.info("%s: it goes on telling of a resource: %s", self._server, error)

    def _wait_seconds(self, failures: int) -> float:
        return retry_wait_seconds(failures, self._env.random_bytes(8), cap=_RETRY_SECONDS_MAX)


def can_tell(capabilities: Json) -> bool:
    """Whether a server says that it can tell of changes of a resource."""
    said = capabilities.get("resources")
    return isinstance(said, dict) and said.get("subscribe") is True


def _says(link: Link, capability: str, detail: str) -> bool:
    said = link.peer.capabilities.get(capability)
    return isinstance(said, dict) and said.get(detail) is True


def _not_told(server: str) -> InvalidParams:
    return InvalidParams(f"Server {server!r} does not tell of changes of this resource")


def _short(params: Json) -> Json:
    """What may wait for slow readers: where it says a lot besides, the URI alone."""
    return params if len(params) == 1 or len(encode(params)) <= _SAID_BYTES_MAX else {"uri": params["uri"]}


def _plain(params: Json) -> Json:
    """Without the stream's own mark, which tells agents nothing."""
    meta = params.get("_meta")
    if type(meta) is not dict or SUBSCRIPTION_ID_KEY not in meta:
        return params
    kept = {key: value for key, value in meta.items() if key != SUBSCRIPTION_ID_KEY}
    return {**params, "_meta": kept} if kept else {key: params[key] for key in params if key != "_meta"}
