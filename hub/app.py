"""Wires everything. The only file that knows the whole.

`open_app` is a hub that runs but listens nowhere: the command line uses it for one operation, tests
and `hub.serve` for a long life.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from connectors.children import Children
from connectors.fetch import fetch
from hub import chain, lock, middleware
from hub.approvals.approvals import Approvals
from hub.approvals.tasks import ApprovalTasks
from hub.audit.keeper import Keeper
from hub.audit.keys import signer_at
from hub.audit.redact import Redactor
from hub.audit.tidying import Tidying
from hub.builtin.context import ContextTool
from hub.builtin.memory import MemoryTool
from hub.builtin.own import Own
from hub.builtin.read import ReadTool
from hub.builtin.session import SessionTool
from hub.builtin.sharing import Sharing
from hub.builtin.token import TokenTool
from hub.env import Env, SystemEnv
from hub.errors import Problem, Unauthorized
from hub.events import Events
from hub.home import Home
from hub.hub import Hub
from hub.identity import issuer_settings
from hub.identity.identity import Identities
from hub.identity.issuers import Issuers
from hub.manifests.manifest import Manifests, ServerManifest, load
from hub.manifests.reloading import kept, tell
from hub.meters import Meters
from hub.middleware.approve import Approve
from hub.middleware.authorize import Authorize
from hub.middleware.check import Check
from hub.middleware.deadline import Deadline
from hub.middleware.fallback import Fallback
from hub.middleware.limit import Limit
from hub.middleware.once import Once
from hub.middleware.questions import Questions
from hub.middleware.record import Record
from hub.middleware.refer import Refer
from hub.middleware.retry import Retries
from hub.middleware.shorten import Shorten
from hub.middleware.spend import Spend
from hub.middleware.tasks import Tasks
from hub.model import Agent, Call, Json, Result
from hub.parts import Parts
from hub.results.limits import ResultLimits, with_right_to_read
from hub.results.results import Results
from hub.seal import Seal, load_key
from hub.secrets import secrets_of
from hub.server.capabilities import merged
from hub.sessions import Sessions
from hub.settings import Settings
from hub.store import servers
from hub.store.calls import Calls
from hub.store.db import Store
from hub.tasks import TaskIds
from hub.threads import in_thread
from hub.upstreams.fleet import Fleet
from hub.upstreams.known_rows import known_of, row_of
from hub.upstreams.learn import Known
from hub.upstreams.pins import INSTRUCTIONS, Pins

__all__ = ["App", "open_app"]

log = logging.getLogger(__name__)

_WATCH_STEP_MS = 20
_WATCH_DEBOUNCE_MS = 60
"""A saved manifest counts within about a tenth of a second."""

_SETTLE_SECONDS = 5.0
"""Clients give a server ten seconds and more to begin."""


class App:
    """Everything that runs, by name."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        env: Env,
        store: Store,
        identities: Identities,
        sessions: Sessions,
        children: Children,
        seal: Seal,
        tasks: TaskGroup,
    ) -> None:
        self.home = home
        self.settings = settings
        self.env = env
        self.store = store
        self.identities = identities
        self.sessions = sessions
        self.manifests = Manifests({}, {}, ())
        self.started = env.now()
        self.recovered = 0
        """Calls that were under way when the hub last ended: what they did is not known."""
        self.secrets = secrets_of(home, settings, env)
        self.own = Own()
        redactor = Redactor(*settings.redact)
        self.events = Events(store)
        self.parts = Parts(store, env, settings.record_bytes_max, redactor)
        self.pins = Pins(store, env)
        self.fleet = Fleet(
            env,
            home,
            children,
            self.secrets,
            settings,
            save=self._save,
            swap=lambda catalog: self.hub.swap(catalog),
            own=self.own,
            parts=self.parts,
            pins=self.pins,
            late=lambda: self._deadline.late(),
            hub=seal.name,
        )
        self.seal, task_ids = seal, TaskIds(seal)
        self._deadline = Deadline(env, self.fleet.patience_seconds)
        self.meters = Meters(store, env)
        self._limit = Limit(self.meters, env)
        self.approvals = Approvals(
            store,
            env,
            seal,
            redactor,
            wait_seconds=settings.approval_wait,
            pending_seconds=settings.approval_pending,
            approved_seconds=settings.approval_use,
        )
        own_tasks = ApprovalTasks(self.approvals, self._use, identities.current, tasks)
        context = ContextTool(store, env)
        self.results = Results(store, env, settings.results)
        self._result_limits = ResultLimits(settings.results.tokens)
        read = ReadTool(self.results, self._result_limits.of_agent)
        self.own.add(
            SessionTool(sessions, store, env, Sharing(store, env).share).tool,
            MemoryTool(store, env).tool,
            context.tool,
            context.prompt,
            read.tool,
            read.template,
            TokenTool(identities).tool,
        )
        self._tasks = tasks
        attempts, decided = dict[str, int](), dict[str, str]()
        self._calls = Calls(store)
        self._applying = anyio.Lock()
        self._unknown_issuers: list[str] = []
        self.hub = Hub(
            env,
            chain.build(
                middleware.ordered(
                    Once(store, env, seal),
                    Shorten(self._result_limits.of, self.results.keep),
                    Fallback(env, lambda name: self.hub.catalog.known(name)),
                    Record(self._calls, env, settings.record_bytes_max, redactor, attempts, decided),
                    self._deadline,
                    Refer(self.results),
                    Authorize(env, decided),
                    Check(self.fleet.checks_arguments),
                    self._limit,
                    Approve(self.approvals, task_ids, seal, self._deadline.paused, self._limit.give_back),
                    Spend(identities.spend),
                    Retries(env, attempts, self._deadline.left_seconds, self._deadline.silence),
                    Tasks(task_ids, own_tasks.answer),
                    Questions(seal),
                ),
                self.fleet.send,
            ),
            self.fleet.watch,
            tasks=task_ids,
            watch_tasks=lambda watching: tasks.start_soon(watching.run, self.fleet.listen, env),
            own_tasks=own_tasks,
            name=seal.name,
        )

    async def start(self) -> None:
        """Take up what the store remembers, and start what the manifests say."""
        self.recovered = await self._calls.recover()
        if self.recovered:
            log.warning("%d calls were under way when the hub last ended; they are 'unknown'", self.recovered)
        await self.meters.load()
        await self.results.start()
        await self.pins.load()
        await self.fleet.logins.reload()
        self._tasks.start_soon(self._deadline.run)
        self._tasks.start_soon(self.meters.run)
        self._tasks.start_soon(self.parts.run)
        self._tasks.start_soon(self.results.run)
        self._tasks.start_soon(self.identities.run)
        await self.reload()

    async def reload(self) -> list[Problem]:
        """Read the manifests again and make them count, without dropping a call.

        Returns:
            What is wrong in them. A file that was right before counts as it did then.
        """
        async with self._applying:
            written = await in_thread(load, self.home.manifests)
            manifests = kept(self.manifests, written)
            manifests = with_right_to_read(manifests, self.settings.results.tokens)
            self._result_limits.replace(manifests)
            agents = manifests.agents
            self.identities.replace(
                {name: agent.grants() for name, agent in agents.items()},
                {name: agent.identified for name, agent in agents.items() if agent.identified},
            )
            self._limit.replace({name: server.limits.quota() for name, server in manifests.servers.items()})
            known = await self._known(manifests.servers)
            await self.fleet.apply(manifests.servers, known, self._tasks)
            tell(self.manifests, manifests)
            unknown = issuer_settings.unknown(agents.values(), self.settings.oauth)
            if unknown != self._unknown_issuers:
                self._unknown_issuers = unknown
                for sentence in unknown:
                    log.warning("%s", sentence)
            self.manifests = manifests
            return list(manifests.problems)

    async def renew(self, concerns: Callable[[ServerManifest], bool]) -> list[str]:
        """Connect anew to servers whose access has changed, and drop no call. Returns their names."""
        async with self._applying:
            return await self.fleet.renew(concerns, self._tasks)

    async def watch(self) -> None:
        """Reload when somebody saves a manifest, until cancelled."""
        from watchfiles import awatch

        self.home.manifests.mkdir(parents=True, exist_ok=True)
        stopped = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_set_when_cancelled, stopped)
            async for _ in awatch(
                self.home.manifests,
                step=_WATCH_STEP_MS,
                debounce=_WATCH_DEBOUNCE_MS,
                recursive=False,
                stop_event=stopped,
            ):
                await self.reload()

    async def _use(self, call: Call, params: Json) -> Result:
        """Use a tool, by the agent and in the session of `call`."""
        made = self.hub.new_call(
            call.agent,
            call.session,
            "tools/call",
            params,
            capabilities=call.capabilities,
            labels=call.labels,
        )
        return await self.hub.call(made)

    def ready(self) -> tuple[bool, Json]:
        """Whether every server has been learnt once, has failed, or had its time; and how many are how."""
        counts = self.fleet.counts()
        ready = all(upstream.settled for upstream in self.fleet.upstreams.values())
        trouble = self.store.trouble is not None
        status = "store cannot write" if trouble else "ready" if ready else "starting"
        return ready and not trouble, {"status": status, "servers": counts}

    async def calm(self) -> None:
        """Return once no call is under way. No bound: it is the caller's."""
        await self._deadline.calm()

    def end_calls(self) -> None:
        """Answer every call that is under way: that the hub ends."""
        self._deadline.end()

    async def settle(self) -> None:
        """Wait, at most five seconds, until every server has been learnt once or has failed.

        For an agent on stdio, which may be there before its hub is: many list what there is once,
        at their start, and never look again. Where all is remembered nothing is waited for.
        """
        with anyio.move_on_after(_SETTLE_SECONDS):
            for upstream in list(self.fleet.upstreams.values()):
                while not upstream.settled:
                    await upstream.moved()

    def instructions(self, agent: Agent) -> str | None:
        """What the servers that this agent may use say about their use, by server name."""
        said = self._used_by(agent)
        parts = [
            f"# {name}\n{known.instructions}"
            for name, known in said.items()
            if known.instructions and INSTRUCTIONS not in self.pins.held(name)
        ]
        return "\n\n".join(parts) or None

    def capabilities(self, agent: Agent) -> Json:
        """What this agent can do here: what the hub can, and the servers that it may use."""
        return merged(known.capabilities for known in self._used_by(agent).values())

    def _used_by(self, agent: Agent) -> dict[str, Known]:
        """What is known of the servers that an agent may use, by name."""
        used = {entry.server for entries in self.hub.sight(agent).entries.values() for entry in entries}
        return {
            name: upstream.known
            for name, upstream in self.fleet.upstreams.items()
            if name in used and upstream.known is not None
        }

    async def keep_token(self, agent: str) -> Path:
        """A file for its owner only that holds a live token of `agent`; made where there is none."""
        path = self.home.token_file(agent)
        if path.exists():
            try:
                if self.identities.identify(f"Bearer {path.read_text().strip()}").name == agent:
                    return path
            except Unauthorized:
                log.info("the token in %s is no longer live; a new one takes its place", path)
        _, token = await self.identities.issue(agent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
        return path

    async def _known(self, manifests: Mapping[str, ServerManifest]) -> dict[str, Known]:
        """What the store remembers of servers whose manifest still connects to the same thing."""
        return {
            row.name: known_of(row)
            for row in await self.store.read(servers.list_servers)
            if row.name in manifests and row.fingerprint == manifests[row.name].fingerprint
        }

    def _save(self, manifest: ServerManifest, known: Known) -> None:
        row = row_of(manifest, known, int(self.env.now() * 1000))
        self.store.post(partial(servers.save, row=row))


async def _set_when_cancelled(event: anyio.Event) -> None:
    # The watcher's thread cannot be cancelled, and by itself looks up only every five seconds.
    try:
        await anyio.sleep_forever()
    finally:
        event.set()


@asynccontextmanager
async def open_app(home: Home, settings: Settings, env: Env | None = None) -> AsyncIterator[App]:
    """A running hub without listeners. Ends its servers when left.

    Raises:
        HomeError: the folder is another hub's, or cannot be written.
        StoreError: the database cannot be used.
    """
    env = env or SystemEnv()
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(lock.held(home))
            store = await stack.enter_async_context(
                Store.open(home.database, env, synchronous=settings.synchronous)
            )
            signer = signer_at(home.audit_key, env)
            keeper = Keeper(store, signer, env, settings.retention, settings.record_bytes_max)
            await keeper.start()
            stack.push_async_callback(keeper.stop)
            children = await stack.enter_async_context(Children())
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            issuers = Issuers(settings.oauth, fetch, env, home.path) if settings.oauth is not None else None
            identities = Identities(store, env, issuers)
            await identities.load()
            seal = Seal(load_key(home.key, env), env)
            sessions = Sessions(store, env, idle_seconds=settings.session_idle)
            app = App(home, settings, env, store, identities, sessions, children, seal, tasks)
            await app.start()
            tasks.start_soon(keeper.run)
            tasks.start_soon(Tidying(store, sessions, env, settings.retention).run)
            yield app
            identities.flush()
            sessions.flush()
            app.meters.settle()
            app.parts.settle()
    except BaseExceptionGroup as group:
        # What failed inside is what failed; that a task group stood around it is nobody's concern.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
