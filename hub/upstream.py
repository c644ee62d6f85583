"""One server that the hub supervises: start it when it is wanted, learn what it offers, pass calls on.

A task of its own (`run`) owns the link from start to end, so a request never enters or leaves a
connection's context, and a server that dies, hangs or floods costs only its own entries. What it
offered last is kept when it is down: an agent may ask for it, and the call starts it.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from connectors.base import ConfigError, Context, Json, Link, LinkError, Peer
from hub.backoff import retry_wait_seconds
from hub.catalog import Offer
from hub.env import Env
from hub.errors import UpstreamDown, UpstreamFailed, UpstreamTimeout
from hub.learn import CHANGES, Known, learn
from hub.manifest import ServerManifest
from hub.model import Call, Kind, Result
from hub.progress import teller

__all__ = ["State", "Surroundings", "Upstream"]

log = logging.getLogger(__name__)

State = Literal["stopped", "starting", "ready", "failed"]

_REFRESH_SECONDS = 1.0
"""At most one new look at a server's lists in this time, however often it says they changed (T8)."""
_STEADY_SECONDS = 60.0
"""A server that stayed up this long starts its backoff from the beginning."""
_STDERR_LINES = 200
_PROGRESS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every upstream is given by the fleet."""

    env: Env
    context: Callable[[ServerManifest, dict[str, Any]], Context]
    """Makes the connector's context: of a manifest, with the given fields replaced."""
    starts: anyio.CapacityLimiter
    """How many servers may be starting at once."""
    changed: Callable[[Upstream, Known], None]
    """Called when a server has been learnt. Must not block."""
    stderr: Callable[[str, str], None]
    """`(server, line)`: keeps what a process wrote for people."""


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    may_pass: bool = True
    """Whether trying again can help while nobody changes anything."""


class Upstream:
    def __init__(self, manifest: ServerManifest, around: Surroundings, known: Known | None) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.known = known
        self.state: State = "stopped"
        self.reason: str | None = None
        """Why it failed, or is stopped; a sentence for people, never for agents."""
        self.doing: str | None = None
        """What starting does right now."""
        self.since = around.env.now()
        self.retry_at: float | None = None
        """When it may be started again, on the wall clock, where it failed."""
        self.peer: Peer | None = None
        self.stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self.calls_under_way = 0
        self._around = around
        self._env = around.env
        self._link: Link | None = None
        self._moved = anyio.Event()
        self._wanted = anyio.Event()
        self._hurry = anyio.Event()
        self._ending = anyio.Event()
        self._was_ready = False
        self._stale: set[Kind] = set()
        self._stale_event = anyio.Event()
        self._used = around.env.monotonic()
        self._retry_at = 0.0
        self._born = around.env.monotonic()
        self._retired = False
        self._drained = anyio.Event()

    @property
    def offer(self) -> Offer:
        return Offer(self.name, self.manifest.view(), self.known.definitions if self.known else {})

    @property
    def settled(self) -> bool:
        """Whether there is no use in waiting for it: learnt once, failed, or its time to connect is over."""
        waited = self._env.monotonic() - self._born
        return self.known is not None or self.state == "failed" or waited > self.manifest.limits.connect

    @property
    def patience_seconds(self) -> float:
        """How long one call may take, the start of the server included where it is not up."""
        limits = self.manifest.limits
        return limits.call if self._link is not None else limits.call + limits.connect

    async def moved(self) -> None:
        """Return when its state, or what it does to get there, has changed."""
        await self._moved.wait()

    async def send(self, call: Call) -> Result:
        """Pass one call on and return the server's result as it came.

        Raises:
            RemoteError: the server answered with an error.
            UpstreamError: it could not be reached, or broke.
        """
        entry = call.entry
        assert entry is not None
        params = call.params
        if entry.own != call.name:
            params = {**params, "uri" if entry.kind == "resource" else "name": entry.own}
        self.calls_under_way += 1
        try:
            for attempt in (1, 2):
                link = self._link or await self._demand(call)
                try:
                    return await link.request(
                        call.method,
                        params,
                        capabilities=None,
                        log_level=call.log_level,
                        on_notify=call.notify,
                    )
                except LinkError as error:
                    # Nothing left the hub, so asking again cannot run anything twice.
                    if error.sent or attempt == 2 or self._retired:
                        raise self._failure(error) from None
                    if self.manifest.connect.lasting:
                        await self._left(link)
            raise AssertionError("the second attempt returns or raises")
        finally:
            self.calls_under_way -= 1
            self._used = self._env.monotonic()
            if self._retired and not self.calls_under_way:
                self._drained.set()

    async def check(self) -> None:
        """Start it if it is not up, and learn it anew.

        Raises:
            UpstreamError: it is not to be had, within its time to connect.
        """
        link = self._link
        if link is None:
            self._retry_at = 0.0
            self._hurry.set()
            await self._demand(None)
            return
        try:
            with anyio.fail_after(self.manifest.limits.connect):
                await self._learn(link, None)
        except TimeoutError:
            raise UpstreamTimeout(f"{self._title} did not say what it offers in time") from None
        except LinkError as error:
            raise self._failure(error) from None

    async def restart(self) -> None:
        """End the link, if there is one, and start it again.

        Raises:
            UpstreamError: it did not come up again within its time to connect.
        """
        link = self._link
        self._ending.set()
        if link is not None:
            await self._left(link)
        await self.check()

    async def retire(self, grace_seconds: float) -> None:
        """Take no more calls; return once those under way have ended, or after the grace."""
        self._retired = True
        self._stir()
        if self.calls_under_way:
            with anyio.move_on_after(grace_seconds):
                await self._drained.wait()

    async def run(self) -> None:
        """Supervise until cancelled."""
        if self.manifest.start == "eager" or self.known is None:
            self._wanted.set()
        missing = self.manifest.connect.missing()
        if missing is not None:
            self._move("failed", missing)
        failures = 0
        while True:
            await self._wanted.wait()
            with anyio.move_on_after(max(0.0, self._retry_at - self._env.monotonic())):
                await self._hurry.wait()
            self._wanted, self._hurry, self._ending = anyio.Event(), anyio.Event(), anyio.Event()
            self._was_ready, started = False, self._env.monotonic()
            failure = await self._live()
            if failure is None:
                failures = 0
                continue
            if self._env.monotonic() - started > _STEADY_SECONDS:
                failures = 0
            failures += 1
            # What worked and broke once is started again at the next call; then it waits longer each time.
            wait = 0.0 if self._was_ready and failures == 1 else self._wait_seconds(failures - 1)
            self._retry_at = self._env.monotonic() + wait
            self.retry_at = self._env.now() + wait
            self._move("failed", failure.reason)
            log.warning("%s: %s", self.name, failure.reason)
            if failure.may_pass and (self.manifest.start == "eager" or self.known is None):
                self._wanted.set()

    def _wait_seconds(self, failures: int) -> float:
        return retry_wait_seconds(failures, self._env.random_bytes(8))

    async def _live(self) -> _Failure | None:
        """One life of the link: from being started to its end. `None` where it was ended on purpose."""
        limits = self.manifest.limits
        self.doing, self.retry_at = "waiting for its turn to start", None
        self._move("starting", None)
        starting = True
        await self._around.starts.acquire_on_behalf_of(self)
        try:
            # One scope for the link's whole life, so that its context is left where it was entered;
            # its deadline counts only until the server has been learnt.
            with anyio.CancelScope() as scope:
                self._progressed("starting")
                context = self._around.context(self.manifest, self._context_fields())
                await self.manifest.connect.prepare(context)
                scope.deadline = anyio.current_time() + limits.connect
                async with self.manifest.connect.open(context) as link:
                    self._progressed("asking what it offers")
                    self.peer = link.peer
                    await self._learn(link, None)
                    scope.deadline = math.inf
                    self._around.starts.release_on_behalf_of(self)
                    starting = False
                    return await self._serve(link)
            return _Failure(
                f"it was not ready within {limits.connect:g} s ({self.doing}){self._last_words()}"
            )
        except ConfigError as error:
            return _Failure(str(error), may_pass=False)
        except LinkError as error:
            return _Failure(error.reason)
        except Exception as error:
            # A connector's fault must cost this server only.
            log.exception("%s: the connection failed in an unforeseen way", self.name)
            return _Failure(f"the connection failed in an unforeseen way: {type(error).__name__}")
        finally:
            if starting:
                self._around.starts.release_on_behalf_of(self)
            self._link, self.peer, self.doing = None, None, None

    def _context_fields(self) -> dict[str, Any]:
        return {
            "version": self.known.version if self.known else None,
            "on_notify": self._notified,
            "on_stderr": self._wrote,
            "on_progress": self._progressed,
        }

    async def _serve(self, link: Link) -> _Failure | None:
        """Let calls through until the link ends, is idle for too long, or is ended."""
        ended: list[str] = []
        self._link, self.doing, self._was_ready = link, None, True
        self._used = self._env.monotonic()
        self._move("ready", None)
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                ended.append(await link.wait_closed())
                self._ending.set()

            tasks.start_soon(watch)
            tasks.start_soon(self._keep_fresh, link)
            await self._until_idle()
            self._link = None
            tasks.cancel_scope.cancel()
        if ended and not self._retired:
            return _Failure(ended[0])
        self._move("stopped", None)
        return None

    async def _until_idle(self) -> None:
        idle = self.manifest.limits.idle
        if not self.manifest.connect.lasting or self.manifest.start == "eager":
            idle = math.inf
        while not self._ending.is_set():
            left = self._used + idle - self._env.monotonic()
            if self.calls_under_way:
                left = idle
            elif left <= 0:
                return
            with anyio.move_on_after(left):
                await self._ending.wait()

    async def _keep_fresh(self, link: Link) -> None:
        """Look at the lists again when the server says that they changed."""
        while True:
            await self._stale_event.wait()
            kinds, self._stale = frozenset(self._stale), set()
            self._stale_event = anyio.Event()
            try:
                with anyio.fail_after(self.manifest.limits.connect):
                    await self._learn(link, kinds)
            except (LinkError, TimeoutError) as error:
                log.warning(
                    "%s: its lists could not be read again: %s", self.name, error or "no answer in time"
                )
            await anyio.sleep(_REFRESH_SECONDS)

    async def _learn(self, link: Link, kinds: frozenset[Kind] | None) -> None:
        self.known = await learn(link, kinds, self.known)
        self._around.changed(self, self.known)

    def _notified(self, method: str, params: Json) -> None:
        kinds = CHANGES.get(method)
        if kinds is not None:
            self._stale.update(kinds)
            self._stale_event.set()

    def _wrote(self, line: str) -> None:
        self.stderr.append(line)
        self._around.stderr(self.name, line)

    def _progressed(self, sentence: str) -> None:
        self.doing = sentence
        self._stir()

    async def _demand(self, call: Call | None) -> Link:
        """The link, once there is one.

        Raises:
            UpstreamDown: it failed, or was not ready within its time to connect.
        """
        tell = teller(call)
        with anyio.move_on_after(self.manifest.limits.connect):
            while True:
                if self._link is not None:
                    return self._link
                if self._retired:
                    raise UpstreamDown(f"{self._title} is being replaced; ask again", retry_seconds=1)
                if self.state == "failed" and self._retry_at > self._env.monotonic():
                    raise self._down()
                self._wanted.set()
                moved = self._moved
                if tell is not None:
                    tell(f"{self._title}: {self.doing or 'waiting to be started'}")
                with anyio.move_on_after(_PROGRESS_SECONDS):
                    await moved.wait()
        raise UpstreamDown(
            f"{self._title} was not ready within {self.manifest.limits.connect:g} s "
            f"({self.doing or 'waiting to be started'}); ask again later"
        )

    async def _left(self, link: Link) -> None:
        """Return once `link` is no longer the one in use, for a short while at most."""
        with anyio.move_on_after(1):
            while self._link is link:
                moved = self._moved
                self._ending.set()
                await moved.wait()

    def _down(self) -> UpstreamDown:
        wait = max(0.0, self._retry_at - self._env.monotonic())
        return UpstreamDown(
            f"{self._title} is not available; it is tried again in {math.ceil(wait)} s", retry_seconds=wait
        )

    def _failure(self, error: LinkError) -> UpstreamFailed:
        log.warning("%s: a call failed: %s", self.name, error.reason)
        if error.sent:
            return UpstreamFailed(f"{self._title} broke off; what the call did is not known", sent=True)
        return UpstreamFailed(f"{self._title} could not be reached")

    @property
    def _title(self) -> str:
        return f"Server {self.name!r}"

    def _last_words(self) -> str:
        words = list(self.stderr)[-3:]
        return ". Its last words: " + " / ".join(words) if words else ""

    def _move(self, state: State, reason: str | None) -> None:
        self.state, self.reason, self.since = state, reason, self._env.now()
        self._stir()

    def _stir(self) -> None:
        moved, self._moved = self._moved, anyio.Event()
        moved.set()
