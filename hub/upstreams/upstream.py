"""One server that the hub supervises: learn what it offers, choose the link for a call, pass it on.

Most servers have one link for all (`main`). A server of the older era fixes at its handshake what it
may ask its client, and its questions do not say whom they are for: an agent session whose client can
be asked gets a link of its own there. What a server offered last is kept while it is down: an agent
may ask for it, and the call starts it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from connectors.base import MODERN_VERSIONS, Context, Era, Json, Link, LinkError, Peer, RemoteError
from hub.backoff import retry_wait_seconds
from hub.catalog import Offer
from hub.errors import HubError, InvalidParams, UpstreamDown, UpstreamTimeout
from hub.manifests.manifest import ServerManifest
from hub.model import KINDS, Call, Kind, Result
from hub.upstreams.berth import Berth, State
from hub.upstreams.breaker import Breaker
from hub.upstreams.freshness import Freshness
from hub.upstreams.hearing import Hearing, can_tell
from hub.upstreams.learn import Known, learn
from hub.upstreams.levels import from_level
from hub.upstreams.parking import QUESTION_KINDS, Parking
from hub.upstreams.passing import Passing, inward
from hub.upstreams.room import Room
from hub.upstreams.surroundings import Surroundings
from hub.watching import Watching

__all__ = ["State", "Upstream"]

_STDERR_LINES: Final = 200
_OWN_MAX: Final = 256
"""How many links of their own sessions may have to one server."""
_OWN_IDLE_SECONDS: Final = 600.0
"""How long a session's own link to a server that needs no process may be unused."""


_Key = tuple[Era, str, frozenset[str], str | None]
"""Era, session, what its client can be asked, and the agent whose own account it is."""


class Upstream:
    def __init__(self, manifest: ServerManifest, around: Surroundings, known: Known | None) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.known = known
        self.stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self.calls_under_way = 0
        self.breaker = Breaker(self.name, around.env, manifest.breaking)
        self._around = around
        self._env = around.env
        self._freshness = Freshness(self.name, self._learn, manifest.limits.connect, lambda: self.known)
        self.main = self._berth(manifest.era, {}, None, shared=True)
        self._passing = Passing(self._env, manifest.mirrors, lambda: self.known, self._learn, around.check)
        self._own: dict[_Key, tuple[Berth, anyio.CancelScope]] = {}
        self._tasks: TaskGroup | None = None
        self._taken: list[Watching] = []
        """What is to be watched as soon as it runs."""
        self._parking: Parking | None = None
        self._only_modern = False
        """Whether it was found not to speak the older era as well."""
        self._born = around.env.monotonic()
        self._retired = False
        self._drained = anyio.Event()

    # How it is: that of the link for all.

    @property
    def state(self) -> State:
        return self.main.state

    @property
    def reason(self) -> str | None:
        return self.main.reason

    @property
    def doing(self) -> str | None:
        return self.main.doing

    @property
    def since(self) -> float:
        return self.main.since

    @property
    def retry_at(self) -> float | None:
        return self.main.retry_at

    @property
    def peer(self) -> Peer | None:
        return self.main.peer

    async def moved(self) -> None:
        """Return when its state, or what it does to get there, has changed."""
        await self.main.moved()

    @property
    def offer(self) -> Offer:
        known = self.known
        if known is None:
            # Whatever it has may appear at any moment.
            return replace(self.manifest.offer(None, {}, {}), ttl_ms=dict.fromkeys(KINDS, 0))
        offer = self.manifest.offer(known.version, known.capabilities, known.definitions)
        return replace(offer, ttl_ms=known.freshness_ms)

    @property
    def settled(self) -> bool:
        """Whether there is no use in waiting for it: learnt once, failed, or its time to connect is over."""
        waited = self._env.monotonic() - self._born
        return self.known is not None or self.state == "failed" or waited > self.manifest.limits.connect

    @property
    def patience_seconds(self) -> float:
        """How long one call may take, the start of the server included where it is not up."""
        limits = self.manifest.limits
        return limits.call if self.main.link is not None else limits.call + limits.connect

    async def run(self) -> None:
        """Supervise until cancelled."""
        missing = self.manifest.connect.missing()
        if missing is not None:
            self.main.fail(missing)
        async with anyio.create_task_group() as tasks:
            self._tasks, self._parking = tasks, Parking(self._env, tasks)
            for watching in self._taken:
                tasks.start_soon(self._watch, watching)
            await self.main.run()

    async def send(self, call: Call) -> Result:
        """Pass one call on and return the server's result as it came.

        Raises:
            RemoteError: the server answered with an error.
            UpstreamError: it could not be reached, broke, or is left alone for a while.
        """
        breaker = self.breaker
        tried = breaker.held and breaker.admit()
        self.calls_under_way += 1
        params = inward(call)
        if call.sources or (call.entry is not None and call.entry.curation is not None):
            self._around.parts.sent(call, params)
        try:
            result = await self._send(call, params)
            if breaker.failures:
                breaker.answered()
            return self._around.mask.result(result) if result.get("isError") is True else result
        except RemoteError as error:
            breaker.answered()
            raise self._around.mask.error(error) from None
        except BaseException as error:
            breaker.ended(tried, error, late=self._around.late())
            raise
        finally:
            self.calls_under_way -= 1
            if self._retired and not self.calls_under_way:
                self._drained.set()

    async def listen(self, call: Call) -> None:
        """Hear on a stream of its own until that ends. It does not keep the server from being replaced."""
        await self._send(call, call.params, lasting=True)

    async def _send(self, call: Call, params: Json, *, lasting: bool = False) -> Result:
        # Without a coroutine in the usual case.
        own = self._around.accounts(self.name)
        berth = self.main if own is None and self._is_for_all(call) else await self._chosen(call)
        berth.under_way += 1
        room = None
        try:
            if not lasting:
                waiter = berth.room.enter(call.agent.name)
                if waiter is not None:
                    await berth.room.wait(waiter)
                room = berth.room
            for attempt in (1, 2):
                link = berth.link or await berth.ready(call)
                try:
                    notify = self._around.parts.ear(call)
                    if call.log_level is not None and notify is not None and not link.peer.modern:
                        await berth.level.lower(link, call.log_level)
                        notify = from_level(call.log_level, notify)
                    if link.peer.modern or not berth.may_ask:
                        result = await self._passing.request(call, params, link, notify)
                    else:
                        assert self._parking is not None
                        result = await self._parking.send(replace(call, notify=notify), params, berth, link)
                    berth.served = True
                    return result
                except LinkError as error:
                    await berth.again(link, error, attempt)
            raise AssertionError("the second attempt returns or raises")
        finally:
            if room is not None:
                room.leave(call.agent.name)
            berth.under_way -= 1
            berth.used = self._env.monotonic()

    def _is_for_all(self, call: Call) -> bool:
        """Whether a call belongs on the link for all, as far as can be said without a look at it."""
        share, peer = self.manifest.share, self.main.peer
        return share == "hub" or (
            share == "auto" and call.modern and (not call.capabilities or (peer is not None and peer.modern))
        )

    async def _chosen(self, call: Call) -> Berth:
        """The link that a call belongs on, whether it is up or not."""
        own = self._around.accounts(self.name)
        account = call.agent.name if own is not None and call.agent.name in own else None
        if self._is_for_all(call):
            return self._shared(account)
        share, peer = self.manifest.share, self.main.peer
        asks = {
            kind: call.capabilities[kind] for kind in QUESTION_KINDS.values() if kind in call.capabilities
        }
        if share == "session":
            return self._own_berth("auto" if call.modern else "legacy", call.session, asks, account)
        if peer is None and self.known is None:
            peer = (await self.main.ready(call)).peer
        version = peer.version if peer is not None else self.known.version if self.known is not None else None
        if version not in MODERN_VERSIONS:
            return self._own_berth("auto", call.session, asks, account) if asks else self._shared(account)
        # Over HTTP a server may speak both eras: then it is reached in its agent's own.
        if call.modern or self._only_modern or self.manifest.era != "auto" or self.manifest.connect.lasting:
            return self._shared(account)
        berth = self._own_berth("legacy", call.session if asks else "", asks, account)
        if berth.link is None:
            try:
                await berth.ready(call)
            except UpstreamDown:
                self._only_modern = True
                return self._shared(account)
        return berth

    def _shared(self, account: str | None) -> Berth:
        """The link for all, or for all of an agent with an account of its own."""
        return self.main if account is None else self._own_berth("auto", "", {}, account)

    def _own_berth(self, era: Era, session: str, asks: Json, account: str | None) -> Berth:
        """The link of one session whose client can be asked so, or of all that speak an era."""
        if self.manifest.era != "auto":
            era = self.manifest.era
        key = (era, session, frozenset(asks), account)
        if key in self._own:
            return self._own[key][0]
        if len(self._own) >= _OWN_MAX:
            self._forget_unused()
        if len(self._own) >= _OWN_MAX:
            raise UpstreamDown(f"Server {self.name!r} has too many sessions of its own; try again later")
        assert self._tasks is not None
        berth, scope = self._berth(era, asks, account, shared=False), anyio.CancelScope()
        self._own[key] = berth, scope
        self._tasks.start_soon(self._run_own, berth, scope)
        return berth

    async def _run_own(self, berth: Berth, scope: anyio.CancelScope) -> None:
        with scope:
            await berth.run()

    def _forget_unused(self) -> None:
        for key, (berth, scope) in [*self._own.items()]:
            if berth.state in ("stopped", "failed") and not berth.under_way and not berth.hearing:
                del self._own[key]
                scope.cancel()

    def _berth(self, era: Era, capabilities: Json, account: str | None, *, shared: bool) -> Berth:
        limits, connector, clock = self.manifest.limits, self.manifest.connect, self._env.monotonic
        hearing = Hearing(self.name, self._around, self._freshness.changed, asks_for_lists=shared)
        idle = limits.idle if connector.lasting else math.inf if shared else _OWN_IDLE_SECONDS

        async def context() -> Context:
            version = self.known.version if self.known and era == self.manifest.era else None
            fields = {
                "era": era,
                "version": version,
                "capabilities": capabilities,
                "on_notify": hearing.hear,
                "on_stderr": self._wrote,
                "on_progress": lambda sentence: berth.tell(sentence),
            }
            return await self._around.context(self.manifest, account, fields)

        def wanted() -> bool:
            alone = self.manifest.start == "eager" or self.known is None
            return (shared and alone) or bool(hearing)

        async def nothing(link: Link) -> None:
            pass

        berth = Berth(
            self.name,
            self._env,
            connector,
            context,
            self._around.starts,
            login=f"hub login {self.name}" + (f" --agent {account}" if account is not None else ""),
            may_ask=bool(capabilities),
            room=Room(self.name, limits.concurrent or (64 if connector.lasting else 256), clock),
            connect_seconds=limits.connect,
            idle_seconds=idle,
            last_words=self._last_words,
            mask=self._around.mask.text,
            always=wanted,
            greet=self._learn_all if shared else nothing,
            attend=partial(self._freshness.attend, hearing) if shared else hearing.attend,
            hearing=hearing,
            check=self._around.check,
        )
        return berth

    def watch(self, watching: Watching) -> None:
        """See to it that a resource is heard of, on the link that its reader reads it on."""
        if self._tasks is None:
            self._taken.append(watching)
        else:
            self._tasks.start_soon(self._watch, watching)

    async def _watch(self, watching: Watching) -> None:
        failures = 0
        while not watching.stopped:
            try:
                berth = await self._chosen(watching.call)
                link = await berth.ready(watching.call)
                if not can_tell(link.peer.capabilities):
                    raise InvalidParams(f"Server {self.name!r} does not tell of changes of its resources")
                if not watching.stopped:
                    berth.hearing.watch(watching)
                return
            except HubError as error:
                watching.fail(error)
            await anyio.sleep(retry_wait_seconds(failures, self._env.random_bytes(8)))
            failures += 1

    def _berths(self) -> list[Berth]:
        return [self.main, *(berth for berth, _ in self._own.values())]

    async def check(self) -> None:
        """Start it if it is not up, and learn it anew.

        Raises:
            UpstreamError: it is not to be had, within its time to connect.
        """
        link = self.main.link
        if link is None:
            await self.main.hurry()
            return
        try:
            with anyio.fail_after(self.manifest.limits.connect):
                await self._learn(link, None)
        except TimeoutError:
            raise UpstreamTimeout(f"Server {self.name!r} did not say what it offers in time") from None
        except LinkError as error:
            await self.main.again(link, error, 2)

    async def restart(self) -> None:
        """End its links, if there are any, and start it again.

        Raises:
            UpstreamError: it did not come up again within its time to connect.
        """
        for berth in self._berths():
            if berth.link is not None:
                await berth.leave(berth.link)
        await self.main.hurry()

    async def retire(self, grace_seconds: float) -> None:
        """Take no more calls; return once those under way have ended, or after the grace."""
        self._retired = True
        for berth in self._berths():
            berth.retire()
        if self.calls_under_way:
            with anyio.move_on_after(grace_seconds):
                await self._drained.wait()

    async def _learn_all(self, link: Link) -> None:
        await self._learn(link, None)

    async def _learn(self, link: Link, kinds: frozenset[Kind] | None) -> None:
        known = await learn(link, kinds, self.known, self._around.hub)
        if known != self.known:
            self.known = known
            self._around.changed(self, known)

    def _wrote(self, line: str) -> None:
        line = self._around.mask.text(line)
        self.stderr.append(line)
        self._around.stderr(self.name, line)

    def _last_words(self) -> str:
        words = list(self.stderr)[-3:]
        return ". Its last words: " + " / ".join(words) if words else ""
