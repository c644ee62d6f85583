"""All upstreams: one task each, added, replaced and removed without touching the others."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
from anyio.abc import TaskGroup

from connectors.base import Access, Context
from connectors.children import Children
from connectors.large import Large
from hub import __version__
from hub.builtin.own import SERVER, Own
from hub.catalog import Catalog
from hub.env import Env
from hub.errors import InvalidParams, UpstreamDown, UpstreamError
from hub.home import Home
from hub.kept_logins import Logins, sites_of
from hub.manifests.manifest import ServerManifest
from hub.mask import Mask
from hub.model import Call, Json, Result
from hub.parts import Parts
from hub.secrets import Secrets
from hub.secrets_file import logins_file
from hub.settings import Settings
from hub.upstreams.learn import Known
from hub.upstreams.moved import outward
from hub.upstreams.pins import Pins
from hub.upstreams.replicas import Replicas
from hub.upstreams.surroundings import Surroundings
from hub.upstreams.upstream import Upstream
from hub.variables import expander
from hub.watching import Listener, Watching

__all__ = ["Fleet"]

log = logging.getLogger(__name__)

_LOG_BYTES_MAX = 4 * 1024 * 1024
_LOOK_SECONDS = 5.0
"""How long a call waits until its server has said what it has."""


class Fleet:
    def __init__(
        self,
        env: Env,
        home: Home,
        children: Children,
        secrets: Secrets,
        settings: Settings,
        *,
        save: Callable[[ServerManifest, Known], None],
        swap: Callable[[Catalog], None],
        own: Own,
        parts: Parts,
        pins: Pins,
        late: Callable[[], bool],
        hub: str,
    ) -> None:
        """
        Args:
            hub: The name that this hub tells its agents' clients.
            late: Whether the call of this task is being ended because its time is over.
            own: Stands where the server `hub` would.
            pins: Says which of servers' tools are kept back.
            save: Keeps what a server has been learnt to offer. Must not block.
            swap: Puts a new catalog in place.
        """
        self.upstreams: Mapping[str, Upstream] = {}
        self.mask = Mask()
        self.logins = Logins(logins_file(home, env), env, self.mask.learn)
        self._env = env
        self._home = home
        self._children = children
        self._secrets = secrets
        self._large = Large(settings.large_bytes_max)
        self._save = save
        self._swap = swap
        self._own = own
        self._pins = pins
        self._looking: dict[str, anyio.Event] = {}
        """By server that is asked what it has before calls go out: set when that is over."""
        self._revision = 0
        self._catalog = Catalog()
        self._scopes: dict[Upstream, anyio.CancelScope] = {}
        self._replicas: dict[Upstream, Replicas] = {}
        """By the upstream whose offer is the server's, where there are further links to it."""
        self._watched: dict[str, set[Watching]] = {}
        """By server, whether there is such a server now or not."""
        self._around = Surroundings(
            env,
            self._context,
            self.logins.agents,
            self.mask,
            anyio.CapacityLimiter(settings.starts_at_once),
            self._changed,
            self._keep_line,
            parts,
            pins.check,
            late,
            hub,
        )

    def send(self, call: Call) -> Awaitable[Result]:
        """The innermost handler of the chain: to the server, and back."""
        if call.entry is not None and call.entry.server == SERVER:
            return self._own.send(call)
        upstream = self._upstream(call)
        if upstream.main.hearing.gap and self._waits_for_a_look(call):
            return self._send_after_a_look(upstream, call)
        if self._pins.holds:
            self._pins.check(call)
        to = self._replicas.get(upstream) or upstream if self._replicas else upstream
        return self._send_and_move(to, call) if to.name in self._catalog.moved else to.send(call)

    def replicas(self, upstream: Upstream) -> list[Json]:
        """For people: the further links to a server, as they are."""
        return self._replicas[upstream].shown() if upstream in self._replicas else []

    def _waits_for_a_look(self, call: Call) -> bool:
        """Whether a call is of a tool, which may be another than it was."""
        return call.kind == "tool" and not call.method.startswith("tasks/")

    async def _send_after_a_look(self, upstream: Upstream, call: Call) -> Result:
        """Ask a server that nobody heard of for a while what it has, once for all who call; then pass it on.

        Where it does not say, the call goes on all the same: it will fail of itself, and be counted.
        """
        looking = self._looking.get(upstream.name)
        if looking is not None:
            await looking.wait()
        elif upstream.main.link is not None and not upstream.breaker.held:
            self._looking[upstream.name] = looking = anyio.Event()
            try:
                with anyio.move_on_after(_LOOK_SECONDS), suppress(UpstreamError):
                    await upstream.check()
                    upstream.main.hearing.gap = False
            finally:
                del self._looking[upstream.name]
                looking.set()
        if self._pins.holds:
            self._pins.check(call)
        return await self._send_and_move(self._replicas.get(upstream) or upstream, call)

    async def _send_and_move(self, upstream: Upstream | Replicas, call: Call) -> Result:
        result = await upstream.send(call)
        moved = self._catalog.moved.get(upstream.name)
        return result if moved is None else outward(result, moved)

    async def listen(self, call: Call) -> None:
        """Hear of a server on a stream of its own, until that ends.

        Raises:
            RemoteError: the server refuses to tell.
            UpstreamError: it is not to be had, or the stream broke.
        """
        upstream = self._upstream(call)
        await (self._replicas.get(upstream) or upstream).listen(call)

    def _upstream(self, call: Call) -> Upstream:
        assert call.entry is not None
        upstream = self.upstreams.get(call.entry.server)
        if upstream is None:
            raise UpstreamDown(f"Server {call.entry.server!r} has just been removed")
        return upstream

    def watch(self, call: Call, listener: Listener) -> Watching:
        """Hear of the resource that `call` reads, which keeps its server up, until that is stopped."""
        watching = Watching(call, listener, self._unwatched)
        self._watched.setdefault(watching.server, set()).add(watching)
        upstream = self.upstreams.get(watching.server)
        if watching.server == SERVER:
            watching.fail(InvalidParams("The hub's own resources do not change"))
        elif upstream is None:
            watching.fail(UpstreamDown(f"Server {watching.server!r} has just been removed"))
        else:
            upstream.watch(watching)
        return watching

    def _unwatched(self, watching: Watching) -> None:
        watched = self._watched[watching.server]
        watched.discard(watching)
        if not watched:
            del self._watched[watching.server]

    def patience_seconds(self, server: str, call_seconds: float | None = None) -> float:
        """How long a call may take. `call_seconds`: what its tool's own limit is, where it has one."""
        upstream = self.upstreams.get(server)
        if upstream is None:
            return call_seconds or 60.0
        patience = upstream.patience_seconds
        return patience if call_seconds is None else patience + call_seconds - upstream.manifest.limits.call

    def checks_arguments(self, server: str) -> bool:
        upstream = self.upstreams.get(server)
        if upstream is None:
            return server == SERVER
        return upstream.manifest.check == "arguments"

    def counts(self) -> dict[str, int]:
        """How many servers are how."""
        held = {"ready": "degraded", "stopped": "degraded"}
        return dict(Counter(
            held.get(each.state, each.state) if each.breaker.held else each.state
            for each in self.upstreams.values()
        ))  # fmt: skip

    async def apply(
        self, manifests: Mapping[str, ServerManifest], known: Mapping[str, Known], tasks: TaskGroup
    ) -> None:
        """Make the running servers those of `manifests`; what is unchanged is not touched.

        A changed or removed server takes no more calls; those under way end in its own call limit.

        Args:
            known: What servers were last known to offer, for those that are new here.
            tasks: Runs them. Cancelling it ends all.
        """
        upstreams = dict(self.upstreams)
        for name in [*upstreams]:
            if name not in manifests or manifests[name] != upstreams[name].manifest:
                tasks.start_soon(self._end, upstreams.pop(name))
        for name, manifest in manifests.items():
            if name not in upstreams:
                upstreams[name] = await self._begin(manifest, known.get(name), tasks)
        self.upstreams = dict(sorted(upstreams.items()))
        self.rebuild()

    async def renew(self, concerns: Callable[[ServerManifest], bool], tasks: TaskGroup) -> list[str]:
        """Replace servers as if their manifests had changed; what they are known to offer stays.

        Returns:
            Their names.
        """
        names = [name for name, upstream in self.upstreams.items() if concerns(upstream.manifest)]
        for name in names:
            before = self.upstreams[name]
            upstream = await self._begin(before.manifest, before.known, tasks)
            self.upstreams = {**self.upstreams, name: upstream}
            tasks.start_soon(self._end, before)
        self.rebuild()
        return names

    async def _begin(self, manifest: ServerManifest, known: Known | None, tasks: TaskGroup) -> Upstream:
        upstream = Upstream(manifest, self._around, known)
        await tasks.start(self._run, upstream)
        if manifest.replicas:
            others = [
                Upstream(replace(manifest, connect=each, replicas=()), self._around, None)
                for each in manifest.replicas
            ]
            self._replicas[upstream] = Replicas(upstream, others)
            for other in others:
                await tasks.start(self._run, other)
        for watching in self._watched.get(manifest.name, ()):
            watching.release()
            upstream.watch(watching)
        return upstream

    async def _run(self, upstream: Upstream, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.CancelScope() as scope:
            self._scopes[upstream] = scope
            task_status.started()
            try:
                await upstream.run()
            finally:
                del self._scopes[upstream]

    async def _end(self, upstream: Upstream) -> None:
        replicas = self._replicas.get(upstream)
        async with anyio.create_task_group() as tasks:
            for each in (upstream, *(() if replicas is None else replicas.others)):
                tasks.start_soon(self._end_one, each)
        self._replicas.pop(upstream, None)

    async def _end_one(self, upstream: Upstream) -> None:
        await upstream.retire(upstream.manifest.call_seconds_max)
        scope = self._scopes.get(upstream)
        if scope is not None:
            scope.cancel()

    def rebuild(self) -> None:
        """Make the catalog anew of what servers offer now."""
        self._revision += 1
        offers = [
            self._own.offer,
            *(
                self._pins.over(
                    each.manifest, each.offer, None if each.known is None else each.known.instructions
                )
                for each in self.upstreams.values()
            ),
        ]
        self._catalog = Catalog.build(offers, self._revision)
        self._swap(self._catalog)

    def _changed(self, upstream: Upstream, known: Known) -> None:
        if any(upstream in replicas.others for replicas in self._replicas.values()):
            return
        self._save(upstream.manifest, known)
        if self.upstreams.get(upstream.name) is upstream:
            self.rebuild()

    async def _context(self, manifest: ServerManifest, agent: str | None, fields: dict[str, Any]) -> Context:
        values = await self._secrets.find(manifest.secrets(), self._children)
        self.mask.learn(values.values())
        expand = expander(os.environ, home=self._home.path, data=self._home.data, secrets=values.get)
        context = Context(
            name=manifest.name,
            home=self._home.path,
            data=self._home.data,
            children=self._children,
            expand=expand,
            client={"name": "hub", "title": "MCP tool hub", "version": __version__},
            access=self._access(manifest, agent, expand),
            cwd=None if manifest.cwd is None else self._home.path / expand(manifest.cwd),
            era=manifest.era,
            message_bytes_max=manifest.limits.message,
            large=self._large,
            concurrent_max=manifest.limits.concurrent,
            memory_bytes_max=manifest.limits.memory,
            files_max=manifest.limits.files,
            processes_max=manifest.limits.processes,
        )
        return replace(context, **fields)

    def _access(
        self, manifest: ServerManifest, agent: str | None, expand: Callable[[str], str]
    ) -> Access | None:
        if manifest.connect_kind != "url":
            return None
        from connectors.http import Http  # loaded by then: its manifest was read

        connect = manifest.connect
        if not isinstance(connect, Http) or not connect.takes_token:
            return None
        return self.logins.access(
            manifest.name, connect, agent, sites_of(connect, expand, self._home.path), expand
        )

    def _keep_line(self, server: str, line: str) -> None:
        """Append to the server's log file; start it anew when it has grown too long."""
        path = self._home.logs / f"{server}.log"
        try:
            too_long = path.exists() and path.stat().st_size > _LOG_BYTES_MAX
            with path.open("w" if too_long else "a", encoding="utf-8", errors="replace") as file:
                file.write(line + "\n")
        except OSError as error:
            log.debug("%s: its log cannot be written: %s", server, error)
