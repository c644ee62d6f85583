"""One supervised link to a server: started when it is wanted, ended when idle, started again when it broke.

A task of its own (`run`) owns the link from start to end, so that no request ever enters or leaves a
connection's context. A server that dies, hangs or floods is that task's trouble and nobody else's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from connectors.base import (
    ConfigError,
    Connector,
    Context,
    Link,
    LinkError,
    LoginNeeded,
    LoginTooNarrow,
    Peer,
)
from hub.backoff import retry_wait_seconds
from hub.env import Env
from hub.errors import UpstreamDown, UpstreamFailed
from hub.model import Call
from hub.upstreams.hearing import Hearing
from hub.upstreams.levels import Level
from hub.upstreams.progress import teller
from hub.upstreams.room import Room

__all__ = ["Berth", "State"]

log = logging.getLogger(__name__)

State = Literal["stopped", "starting", "ready", "failed"]

_STEADY_SECONDS = 60.0
"""A link that stayed up this long starts its backoff from the beginning."""
_PROGRESS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    may_pass: bool = True
    """Whether trying again can help while nobody changes anything."""
    needs_login: bool = False
    retry_seconds: float = 0.0
    """For how long the server itself asked to be left alone."""


class Berth:
    def __init__(
        self,
        server: str,
        env: Env,
        connector: Connector,
        context: Callable[[], Awaitable[Context]],
        starts: anyio.CapacityLimiter,
        *,
        login: str,
        may_ask: bool,
        room: Room,
        connect_seconds: float,
        idle_seconds: float,
        last_words: Callable[[], str],
        mask: Callable[[str], str],
        always: Callable[[], bool],
        greet: Callable[[Link], Coroutine[Any, Any, None]],
        attend: Callable[[Link], Coroutine[Any, Any, None]],
        hearing: Hearing,
        check: Callable[[Call], None],
    ) -> None:
        """
        Args:
            server: Its name, for messages.
            context: Makes the connector's context, anew for each start. May raise `ConfigError`.
            starts: How many servers may be starting at once.
            login: The command by which a person logs in at the server.
            may_ask: Whether the server was told that its client can be asked.
            room: The places for calls on it.
            idle_seconds: After how long without a request it is ended; `inf` for never.
            last_words: What its process last wrote for people, as the end of a sentence.
            mask: Takes secrets out of what is said of a failure.
            always: Whether it is wanted without anybody asking for it.
            greet: What must have been done before any call, within `connect_seconds`.
            attend: What goes on beside the calls for as long as the link is up.
            hearing: What hears the server on the link.
            check: Raises where a call that waited is no longer to be sent.
        """
        self.state: State = "stopped"
        self.reason: str | None = None
        """Why it failed; a sentence for people, never for agents."""
        self.doing: str | None = None
        """What starting does right now."""
        self.since = env.now()
        self.needs_login = False
        """Whether it failed for want of a person's login."""
        self._may_pass = True
        self.retry_at: float | None = None
        """When it may be started again, on the wall clock, where it failed."""
        self.peer: Peer | None = None
        self.link: Link | None = None
        self.used = env.monotonic()
        """When it was last used."""
        self.under_way = 0
        """Requests that run on it."""
        self.may_ask = may_ask
        self.room = room
        self.served = False
        """Whether a call was answered on the link that is up, or was last."""
        self.level = Level()
        self.hearing = hearing
        self._title = f"Server {server!r}"
        self._server = server
        self._env = env
        self._connector = connector
        self._context = context
        self._starts = starts
        self._login = login
        self._refused: LoginNeeded | None = None
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._last_words = last_words
        self._mask = mask
        self._always = always
        self._greet = greet
        self._attend = attend
        self._check = check
        self._moved = anyio.Event()
        self._wanted = anyio.Event()
        self._hurry = anyio.Event()
        self._ending = anyio.Event()
        self._was_ready = False
        self._logged: str | None = None
        self._retired = False
        self._retry_at = 0.0

    @property
    def waits(self) -> bool:
        """Whether it is started again only when somebody asks for it."""
        return not (self._may_pass and self._always())

    async def moved(self) -> None:
        """Return when its state, or what it does to get there, has changed."""
        await self._moved.wait()

    def tell(self, sentence: str) -> None:
        """What starting does right now."""
        self.doing = sentence
        self._stir()

    async def run(self) -> None:
        """Supervise until cancelled."""
        failures = 0
        while True:
            if self._always():
                self._wanted.set()
            await self._wanted.wait()
            with anyio.move_on_after(max(0.0, self._retry_at - self._env.monotonic())):
                await self._hurry.wait()
            self._wanted, self._hurry, self._ending = anyio.Event(), anyio.Event(), anyio.Event()
            self._was_ready, self._refused, started = False, None, self._env.monotonic()
            self.served = False
            failure = await self._live()
            if failure is None:
                failures = 0
                continue
            if self._env.monotonic() - started > _STEADY_SECONDS:
                failures = 0
            # What answered a call and broke then is no crash loop, however often it does: a second at most.
            failures = min(failures, 1) + 1 if self.served else failures + 1
            # What worked and broke once is started again at the next call; then it waits longer each time.
            wait = 0.0 if self._was_ready and failures == 1 else self._wait_seconds(failures - 1)
            wait = max(wait, failure.retry_seconds)
            self._retry_at = self._env.monotonic() + wait
            self.retry_at = self._env.now() + wait
            self.needs_login, self._may_pass = failure.needs_login, failure.may_pass
            self.fail(failure.reason)
            if self._was_ready or self.reason != self._logged:
                # Once, not at each of many attempts.
                log.warning("%s: %s", self._server, self.reason)
            self._logged = self.reason
            if not failure.may_pass:
                # Not again by itself: only somebody who asks may have changed what is wrong.
                await self._wanted.wait()

    def fail(self, reason: str) -> None:
        """It cannot be started, and why."""
        self._move("failed", self._mask(reason))

    def _wait_seconds(self, failures: int) -> float:
        return retry_wait_seconds(failures, self._env.random_bytes(8))

    async def _live(self) -> _Failure | None:
        """One life of the link: from being started to its end. `None` where it was ended on purpose."""
        seconds = self._connect_seconds
        self.doing, self.retry_at = "waiting for its turn to start", None
        self._move("starting", None)
        starting = True
        await self._starts.acquire_on_behalf_of(self)
        try:
            # One scope for the link's whole life, so that its context is left where it was entered;
            # its deadline counts only until the server has been greeted.
            with anyio.CancelScope() as scope:
                self.tell("starting")
                context = await self._context()
                await self._connector.prepare(context)
                scope.deadline = anyio.current_time() + seconds
                async with self._connector.open(context) as link:
                    self.tell("asking what it offers")
                    self.peer = link.peer
                    await self._greet(link)
                    scope.deadline = math.inf
                    self._starts.release_on_behalf_of(self)
                    starting = False
                    return await self._serve(link)
            return _Failure(f"it was not ready within {seconds:g} s ({self.doing}){self._last_words()}")
        except ConfigError as error:
            return _Failure(str(error), may_pass=False)
        except LoginNeeded as error:
            return self._without_login(error)
        except LinkError as error:
            return _Failure(error.reason, retry_seconds=error.retry_seconds or 0.0)
        except Exception as error:
            # A connector's fault must cost this server only.
            log.exception("%s: the connection failed in an unforeseen way", self._server)
            return _Failure(f"the connection failed in an unforeseen way: {type(error).__name__}")
        finally:
            if starting:
                self._starts.release_on_behalf_of(self)
            self.link, self.peer, self.doing = None, None, None

    async def _serve(self, link: Link) -> _Failure | None:
        """Let calls through until the link ends, is idle for too long, or is ended."""
        ended: list[str] = []
        self.link, self.doing, self._was_ready = link, None, True
        self.used = self._env.monotonic()
        self._move("ready", None)
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                ended.append(await link.wait_closed())
                self._ending.set()

            tasks.start_soon(watch)
            tasks.start_soon(self._attend, link)
            await self._until_idle()
            self.link = None
            tasks.cancel_scope.cancel()
        if self._refused is not None:
            return self._without_login(self._refused)
        if ended and not self._retired:
            return _Failure(ended[0])
        self._move("stopped", None)
        return None

    def _without_login(self, error: LoginNeeded) -> _Failure:
        reason = error.reason.removesuffix(".")
        return _Failure(f"{reason}. Log in: `{self._login}`.", may_pass=False, needs_login=True)

    async def _until_idle(self) -> None:
        while not self._ending.is_set():
            left = self.used + self._idle_seconds - self._env.monotonic()
            if left <= 0 and not self.under_way and not self._always():
                return
            # Idle for longer, and yet kept: another time as long.
            with anyio.move_on_after(left if left > 0 else max(self._idle_seconds, 0.01)):
                await self._ending.wait()

    async def ready(self, call: Call | None = None) -> Link:
        """The link, started if need be. Tells the agent of `call` what it waits for, if it asked to be told.

        Raises:
            Denied: what it calls is kept back by now.
            UpstreamDown: it failed, or was not ready within its time to connect.
        """
        tell, waited = teller(call), False
        with anyio.move_on_after(self._connect_seconds):
            while True:
                if self.link is not None:
                    if waited and call is not None:
                        self._check(call)
                    return self.link
                if self._retired:
                    raise UpstreamDown(f"{self._title} is being replaced; ask again", retry_seconds=1)
                if self.state == "failed" and self._retry_at > self._env.monotonic():
                    raise self._down()
                self._wanted.set()
                moved, waited = self._moved, True
                if tell is not None:
                    tell(f"{self._title}: {self.doing or 'waiting to be started'}")
                with anyio.move_on_after(_PROGRESS_SECONDS):
                    await moved.wait()
        raise UpstreamDown(
            f"{self._title} was not ready within {self._connect_seconds:g} s "
            f"({self.doing or 'waiting to be started'}); ask again later"
        )

    def want(self) -> None:
        """Start it soon, if it is not up."""
        self._wanted.set()

    async def hurry(self) -> Link:
        """As `ready`, but now, whatever failed before."""
        self._retry_at = 0.0
        self._hurry.set()
        return await self.ready()

    async def leave(self, link: Link) -> None:
        """End `link` and return once it is no longer the one in use, after a short while at most."""
        with anyio.move_on_after(1):
            while self.link is link:
                moved = self._moved
                self._ending.set()
                await moved.wait()

    def retire(self) -> None:
        """Let nobody wait for it any longer."""
        self._retired = True
        self._stir()

    async def again(self, link: Link, error: LinkError, attempt: int) -> None:
        """Return if what failed on `link` may be asked once more: nothing left, so nothing can run twice.

        Raises:
            UpstreamFailed: it may not.
        """
        if isinstance(error, LoginNeeded):
            if self.link is link:
                self._refused = error
                await self.leave(link)
            raise self._down() from None
        if isinstance(error, LoginTooNarrow):
            scopes = "".join(f" --scope {scope}" for scope in error.scopes)
            log.warning("%s: a call failed: %s: `%s%s`", self._server, error.reason, self._login, scopes)
            raise UpstreamFailed(
                f"{self._title} wants a login for more than there is one for: `{self._login}{scopes}`"
            ) from None
        if error.sent or attempt > 1 or self._retired:
            raise self.failure(error) from None
        if self._connector.lasting or link.closed:
            await self.leave(link)

    def failure(self, error: LinkError) -> UpstreamFailed:
        """What an agent is told of it; the reason itself is for people."""
        log.warning("%s: a call failed: %s", self._server, self._mask(error.reason))
        if error.too_large:
            return UpstreamFailed(
                f"{self._title} sent more at once than the hub takes (`limits: {{message: ...}}` in its "
                "manifest); what the call did is not known",
                sent=True,
            )
        if error.sent and error.retry_seconds is not None:
            return UpstreamFailed(
                f"{self._title} asks to be left alone for {math.ceil(error.retry_seconds)} s; what the call "
                "did is not known",
                sent=True,
                retry_seconds=error.retry_seconds,
            )
        if error.sent:
            return UpstreamFailed(f"{self._title} broke off; what the call did is not known", sent=True)
        return UpstreamFailed(f"{self._title} could not be reached", retry_seconds=error.retry_seconds)

    def _down(self) -> UpstreamDown:
        if self.needs_login or self._refused is not None:
            # An agent may tell its user, who may be who can do it.
            return UpstreamDown(f"{self._title} wants whoever runs the hub to log in: `{self._login}`")
        wait = max(0.0, self._retry_at - self._env.monotonic())
        return UpstreamDown(
            f"{self._title} is not available; it is tried again in {math.ceil(wait)} s", retry_seconds=wait
        )

    def _move(self, state: State, reason: str | None) -> None:
        self.state, self.reason, self.since = state, reason, self._env.now()
        self._stir()

    def _stir(self) -> None:
        moved, self._moved = self._moved, anyio.Event()
        moved.set()
