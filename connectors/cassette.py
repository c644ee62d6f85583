"""A server that is a recording: the same lists and the same answers, from a file, with nothing behind it.

No process, no network, no clock. What was not recorded is refused, with the nearest thing that was. Lists
and resources that changed outside of any call change again, once the call that was made before has been.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar, Final, Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict

from connectors import jsonrpc
from connectors.base import (
    MODERN_VERSIONS,
    ConfigError,
    Context,
    Json,
    Link,
    LinkError,
    Notify,
    OnRequest,
    Peer,
    RemoteError,
)
from connectors.cassette_file import Exchange, Offered, Tape, read
from connectors.cassette_match import Matcher, subject
from connectors.stderr import harmless

__all__ = ["Cassette"]

_LISTS: Final[Mapping[str, str]] = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
_TOLD_AS: Final[Mapping[str, str]] = {key: method.split("/")[0] for method, key in _LISTS.items()}
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_NOTHING_TO_DO: Final = frozenset({"ping", "logging/setLevel"})


class Cassette(BaseModel):
    """`connect: {cassette: FILE}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lasting: ClassVar[bool] = True

    cassette: str
    """What `hub record` wrote; the path starts at the hub's folder."""
    of: str | None = None
    """Which server of it; `None` is the one that is called as the manifest calls it, or the only one."""
    match: Literal["strict", "lenient"] = "strict"
    """`lenient`: where no call has the same arguments, the nearest one of the same tool answers."""

    def describe(self) -> str:
        return harmless(f"cassette {self.cassette}")

    def missing(self) -> str | None:
        return None

    async def prepare(self, context: Context) -> None:
        """Nothing."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Link]:
        path = context.home / context.expand(self.cassette)
        tape = await anyio.to_thread.run_sync(read, path, abandon_on_cancel=True)
        link = _Link(context, self._chosen(tape, context.name), tape, self.match == "lenient")
        try:
            yield link
        finally:
            link.end()

    def _chosen(self, tape: Tape, name: str) -> Offered:
        """Raises `ConfigError`: it has no such server."""
        known = tape.offered
        wanted = self.of or (name if name in known or len(known) > 1 else next(iter(known)))
        if wanted not in known:
            raise ConfigError(
                f"the cassette '{harmless(self.cassette)}' has no server '{harmless(wanted)}', but "
                f"{', '.join(sorted(known))}. Say which with `of: NAME`."
            )
        return known[wanted]


class _Link:
    """See `connectors.base.Link`."""

    def __init__(self, context: Context, offered: Offered, tape: Tape, lenient: bool) -> None:
        # Questions were recorded as results that ask: as servers of this era put them.
        self.peer = Peer(MODERN_VERSIONS[-1], offered.info, offered.capabilities, offered.instructions)
        self._context = context
        self._offered = offered
        self._lenient = lenient
        self._matcher = Matcher(each for each in tape.exchanges if each.server == offered.server)
        self._lists = dict(offered.lists)
        self._changes = deque(each for each in tape.changes if each.server == offered.server)
        self._updated: list[str] = []
        """URIs of resources that are others now, of which nobody has been told yet."""
        self._listeners: list[tuple[Json, Notify]] = []
        self._ended = anyio.Event()

    @property
    def closed(self) -> bool:
        return self._ended.is_set()

    def end(self) -> None:
        self._ended.set()

    async def wait_closed(self) -> str:
        await self._ended.wait()
        return "it was closed"

    async def notify(self, method: str, params: Json) -> None:
        """Nobody hears it."""

    async def request(
        self,
        method: str,
        params: Json,
        *,
        capabilities: Json | None = None,
        log_level: str | None = None,
        on_notify: Notify | None = None,
        on_request: OnRequest | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        if self.closed:
            raise LinkError("it was closed", sent=False)
        if method in _LISTS:
            return {_LISTS[method]: [*self._lists.get(_LISTS[method], ())]}
        if method in _NOTHING_TO_DO:
            return {}
        if method == "subscriptions/listen":
            return await self._listen(params, on_notify)
        exchange = self._recorded(method, params)
        if on_notify is not None:
            _tell(exchange, params, log_level, on_notify)
        self._change(exchange.number)
        if exchange.error is not None:
            error = exchange.error
            raise RemoteError(error["code"], error["message"], error.get("data"))
        assert exchange.result is not None
        return exchange.result

    def _recorded(self, method: str, params: Json) -> Exchange:
        """Raises `RemoteError`: there is none."""
        found = self._matcher.find(method, params, lenient=self._lenient)
        about = subject(params)
        named = f"{method} of '{about:.100}'" if about else method
        if found is None:
            raise RemoteError(
                jsonrpc.INVALID_PARAMS,
                f"The cassette has no recorded {named} like this: {self._matcher.nearest(method, params)}",
            )
        if found.note is not None:
            how = "matched" if found.exact else "answered by the nearest recorded one, different in"
            self._context.on_stderr(harmless(f"{named}: {how}: {found.note}"[:1000]))
        return found.exchange

    def _change(self, number: int) -> None:
        """The lists are now what they were after so many exchanges; whoever listens is told."""
        changed: set[str] = set()
        while self._changes and self._changes[0].after <= number:
            change = self._changes.popleft()
            self._lists.update(change.lists)
            changed.update(_TOLD_AS[key] for key in change.lists)
            if change.updated is not None:
                self._updated.append(change.updated)
        for kind in sorted(changed):
            for wanted, on_notify in self._listeners:
                if wanted.get(f"{kind}ListChanged") is True:
                    on_notify(f"notifications/{kind}/list_changed", {})
        self._tell_updates()

    def _tell_updates(self) -> None:
        """Whoever watches a resource; while nobody does, it waits: somebody did when it was recorded."""
        for uri in [*self._updated]:
            told = [on_notify for wanted, on_notify in self._listeners if _watches(wanted, uri)]
            for on_notify in told:
                on_notify("notifications/resources/updated", {"uri": uri})
            if told:
                self._updated.remove(uri)

    async def _listen(self, params: Json, on_notify: Notify | None) -> Json:
        """To what changes, until the link is closed."""
        listener: tuple[Json, Notify] | None = None
        if on_notify is not None:
            wanted = params.get("notifications")
            listener = wanted if isinstance(wanted, dict) else {}, on_notify
            on_notify("notifications/subscriptions/acknowledged", {"notifications": listener[0]})
            self._listeners.append(listener)
            self._tell_updates()
        try:
            await self._ended.wait()
        finally:
            if listener is not None:
                self._listeners.remove(listener)
        raise LinkError("it was closed")


def _tell(exchange: Exchange, params: Json, log_level: str | None, on_notify: Notify) -> None:
    """What the server said meanwhile, to whoever asked to be told."""
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    for each in exchange.notifications:
        method, said = each["method"], each["params"]
        if method == "notifications/progress":
            if token is not None:
                on_notify(method, {**said, "progressToken": token})
        elif method != "notifications/message" or _is_wanted(said.get("level"), log_level):
            on_notify(method, said)


def _watches(wanted: Json, uri: str) -> bool:
    """Whether a filter has this resource in it, or one that it is below."""
    watched = wanted.get("resourceSubscriptions")
    return isinstance(watched, list) and any(
        isinstance(each, str) and (uri == each or uri.startswith(f"{each.rstrip('/')}/")) for each in watched
    )


def _is_wanted(level: object, least: str | None) -> bool:
    return least not in _LEVELS or level not in _LEVELS or _LEVELS.index(level) >= _LEVELS.index(least)
