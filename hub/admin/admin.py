"""What people may do with a running hub: each operation is a method of `Admin`.

Arguments and answers are JSON-able, so `hub/server/admin_http.py` offers exactly these. Uses of
entries go the way of every call: through `Hub.call`, as an agent, recorded and authorized. What
people may know and agents may not (why something is refused, why a server is down) is said here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, validate_call

from connectors.base import MODERN_VERSIONS
from hub import __version__, allowances, records
from hub.admin.access import AccessAdmin
from hub.admin.approvals import ApprovalAdmin
from hub.admin.lookback import LookbackAdmin
from hub.admin.pins import PinAdmin
from hub.admin.tokens import TokensAdmin
from hub.commands import edits, patience
from hub.commands.arguments import read_arguments
from hub.commands.client_config import client_config
from hub.commands.logs import last_lines
from hub.commands.patience import Progress
from hub.commands.picture import Picture, Status
from hub.errors import NotFound, UpstreamError
from hub.failure import Failure
from hub.model import Agent, Json, Kind, Result
from hub.sessions import Session
from hub.threads import in_thread
from hub.upstreams.pins import concerning

if TYPE_CHECKING:
    from hub.app import App
    from hub.upstreams.upstream import Upstream

__all__ = ["Admin", "Progress", "operations"]


class Admin(AccessAdmin, ApprovalAdmin, LookbackAdmin, PinAdmin, TokensAdmin):
    TELLING: ClassVar = frozenset(
        {"server_check", "server_restart", "tool_call", "resource_read", "prompt_get"}
    )
    """Operations that take a `progress`."""
    SIGNED: ClassVar = frozenset(
        {
            "approval_approve",
            "approval_deny",
            "result_delete",
            "session_delete",
            "session_label",
            "tool_approve",
        }
    )
    """Operations that take the operating system's user who asks, as `peer`."""

    def __init__(
        self, app: App, url: str | None = None, ready: Callable[[], tuple[bool, Json]] | None = None
    ) -> None:
        """
        Args:
            url: Where agents connect to, where the hub listens.
            ready: What `/ready` says there.
        """
        self._ready = ready or app.ready
        self._app = app
        self.url = url
        self._sessions: dict[str, Session] = {}

    # The hub

    async def status(self) -> Json:
        """How the hub as a whole is doing."""
        ready, counts = self._ready()
        return {
            "version": __version__,
            "home": str(self._app.home.path),
            "url": self.url,
            "ready": ready,
            **counts,
            "started": _moment(self._app.started),
            "trouble": self._app.store.trouble,
            "calls_unknown_since_last_end": self._app.recovered,
            "problems": [str(problem) for problem in self._app.manifests.problems],
        }

    async def reload(self) -> list[str]:
        """Read the manifests again. Returns what is wrong in them."""
        return [str(problem) for problem in await self._app.reload()]

    # Servers

    async def servers(self) -> list[Json]:
        return self._picture().servers()

    async def server(self, name: str) -> Json:
        return {**self._picture().server(name), "logins": await self.logins(name)}

    async def server_check(self, name: str, progress: Progress) -> Json:
        """Start it if it is not up, ask it anew what it offers, and return how it is."""
        upstream = self._upstream(name)
        await patience.until_up(upstream, upstream.check, progress)
        upstream.breaker.answered()
        return self._picture().server(name)

    async def server_restart(self, name: str, progress: Progress) -> Json:
        upstream = self._upstream(name)
        await patience.until_up(upstream, upstream.restart, progress)
        upstream.breaker.answered()
        return self._picture().server(name)

    async def server_logs(self, name: str, lines: int = 100) -> list[str]:
        """The last lines that its process wrote for people."""
        self._picture().server_manifest(name)
        return await in_thread(last_lines, self._app.home.logs / f"{name}.log", lines)

    async def server_add(self, name: str, connect: Json, title: str | None = None) -> Json:
        """Write a server's manifest, and take it up."""
        added = await in_thread(edits.add_server, self._app.home, name, connect, title)
        await self._app.reload()
        return added

    async def server_remove(self, name: str) -> Json:
        """Remove a server's manifest, and end it."""
        self._picture().server_manifest(name)
        removed = await in_thread(edits.remove_server, self._app.home, name)
        await self._app.reload()
        return removed

    # Entries

    async def entries(self, kind: Kind, agent: str, server: str | None = None) -> list[Json]:
        return self._picture().entries(kind, agent, server)

    async def resources(self, agent: str, server: str | None = None) -> list[Json]:
        return self._picture().resources(agent, server)

    async def entry(self, kind: Kind, name: str, agent: str) -> Json:
        return self._picture().entry(kind, name, agent)

    async def tool_call(
        self,
        name: str,
        agent: str,
        progress: Progress,
        pairs: list[str] | None = None,
        given: Json | None = None,
    ) -> Json:
        """Call a tool as `agent`.

        Args:
            pairs: `KEY=VALUE`, read by the tool's own schema, over those of `given`.

        Returns:
            `result` as the tool gave it, and `notes` about the arguments.
        """
        schema = await self._definition("tool", name, progress)
        arguments, notes = read_arguments(pairs or [], schema.get("inputSchema", {}), given)
        params = {"name": name, "arguments": arguments}
        return {"result": await self._use(agent, "tools/call", params, progress), "notes": notes}

    async def resource_read(self, uri: str, agent: str, progress: Progress) -> Result:
        await self._definition("resource", uri, progress)
        return await self._use(agent, "resources/read", {"uri": uri}, progress)

    async def prompt_get(
        self, name: str, agent: str, progress: Progress, pairs: list[str] | None = None
    ) -> Json:
        definition = await self._definition("prompt", name, progress)
        listed = definition.get("arguments")
        known = (
            [each.get("name") for each in listed if isinstance(each, dict)]
            if isinstance(listed, list)
            else []
        )
        # A prompt's arguments are strings, all of them.
        schema = {
            "properties": {key: {"type": "string"} for key in known},
            "additionalProperties": {"type": "string"},
        }
        arguments, notes = read_arguments(pairs or [], schema)
        params = {"name": name, "arguments": arguments}
        return {"result": await self._use(agent, "prompts/get", params, progress), "notes": notes}

    # Agents

    async def agents(self) -> list[Json]:
        return self._picture().agents()

    async def agent(self, name: str) -> Json:
        return {**self._picture().agent(name), "tokens": await self.tokens(name)}

    async def can(
        self,
        agent: str,
        name: str,
        pairs: list[str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> Json:
        return self._picture().can(agent, name, pairs or [], self._app.env.now(), labels)

    async def agent_limits(self, name: str) -> list[Json]:
        """What an agent has used of its limits, and what is left."""
        grants = self._picture().agent_manifest(name).grants()
        scopes = self._app.identities.scopes(name)
        return allowances.shown(name, grants, self._app.meters.used, self._app.env.now(), scopes)

    async def agent_config(self, name: str) -> Json:
        """A client's configuration to connect as that agent."""
        self._picture().agent_manifest(name)
        return client_config(self._app.home, name, self.url)

    async def agent_add(self, name: str, may: list[str], never: list[str], title: str | None = None) -> Json:
        """Write an agent's manifest, take it up, and issue a token."""
        added = await in_thread(edits.add_agent, self._app.home, name, may, never, title)
        await self._app.reload()
        _, token = await self._app.identities.issue(name)
        return {**added, "token": token}

    async def agent_remove(self, name: str) -> Json:
        """Remove an agent's manifest, revoke its tokens, close its sessions."""
        self._picture().agent_manifest(name)
        removed = await in_thread(edits.remove_agent, self._app.home, name)
        await self._app.identities.remove(name)
        await self._app.fleet.logins.reload()
        await self._app.sessions.close_all(name)
        await self._app.reload()
        return removed

    # How

    def _picture(self) -> Picture:
        fleet = self._app.fleet
        statuses = {
            name: _status(
                upstream,
                fleet.replicas(upstream),
                len(concerning(upstream.manifest, self._app.pins.held(name))),
            )
            for name, upstream in fleet.upstreams.items()
        }
        return Picture(self._app.manifests, self._app.hub.catalog, statuses)

    def _upstream(self, name: str) -> Upstream:
        self._picture().server_manifest(name)
        upstream = self._app.fleet.upstreams.get(name)
        if upstream is None:
            raise Failure("upstream_down", f"Server {name!r} is just being taken up; try again.")
        return upstream

    async def _use(self, agent: str, method: str, params: Json, progress: Progress) -> Result:
        who = self._agent(agent)
        by = await self._session(who)
        session = self._app.sessions.context(by)
        call = self._app.hub.new_call(
            who,
            session.id,
            method,
            {**params, "_meta": {"progressToken": "admin"}},
            notify=lambda method, said: _pass_on(progress, method, said),
            labels=session.labels,
            came_by=by.id,
        )
        try:
            return await self._app.hub.call(call)
        except NotFound:
            picture = self._picture()
            if call.entry is not None:
                picture.must_be_allowed(who.grants, agent, call.entry)
            kind: Kind = (
                "resource" if method == "resources/read" else "prompt" if "prompt" in method else "tool"
            )
            raise picture.unknown(kind, call.name) from None
        except UpstreamError as error:
            # An agent is told that its server failed; a person also why.
            upstream = self._app.fleet.upstreams.get(call.entry.server) if call.entry else None
            why = upstream.reason if upstream is not None and upstream.state == "failed" else None
            raise Failure(
                error.reason, f"{error}{': ' + why if why else ''}", _where_to_look(call.entry)
            ) from None

    def _agent(self, name: str) -> Agent:
        self._picture().agent_manifest(name)
        return self._app.identities.local(name)

    async def _session(self, agent: Agent) -> Session:
        """The agent's session of this plane, one as long as the hub runs."""
        known = self._sessions.get(agent.name)
        if known is None or await self._app.sessions.get(known.id, agent) is None:
            known = await self._app.sessions.open(
                agent,
                kind="local",
                version=MODERN_VERSIONS[-1],
                client={"name": "hub command line", "version": __version__},
                capabilities={},
            )
            self._sessions[agent.name] = known
        return known

    async def _definition(self, kind: Kind, name: str, progress: Progress) -> Json:
        """The definition of what is to be used; `{}` where there is none.

        Waits for servers that have never been asked what they offer, as the name may be theirs.
        """
        for upstream in list(self._app.fleet.upstreams.values()):
            theirs = (
                upstream.manifest.names == "bare"
                or kind == "resource"
                or name.startswith(f"{upstream.name}__")
            )
            if upstream.known is None and theirs and self._app.hub.find(kind, name) is None:
                await patience.until_learnt(upstream, progress)
                if upstream.state == "failed" and kind != "resource" and upstream.manifest.names != "bare":
                    raise Failure(
                        "upstream_down",
                        f"{upstream.name}: {upstream.reason}",
                        f"`hub servers show {upstream.name}` shows more.",
                    )
        entry = self._app.hub.find(kind, name)
        return {} if entry is None else entry.definition


def operations(admin: Admin) -> Mapping[str, Callable[..., Awaitable[Any]]]:
    """Every operation by name.

    Called with arguments that do not fit, it raises pydantic's `ValidationError` at once.
    """
    return {
        name: _checked(method)
        for name, method in inspect.getmembers(admin, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }


def _checked(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    # Around a plain function: around a coroutine function pydantic checks only when it is awaited,
    # and then its error cannot be told from one of the operation's own.
    @functools.wraps(method)
    def begin(*args: Any, **kwargs: Any) -> Awaitable[Any]:
        return method(*args, **kwargs)

    return validate_call(config=ConfigDict(strict=True, arbitrary_types_allowed=True))(begin)


def _status(upstream: Upstream, replicas: list[Json], held: int) -> Status:
    known = upstream.known
    return Status(
        state=upstream.state,
        reason=upstream.reason,
        doing=upstream.doing,
        needs_login=upstream.main.needs_login,
        since=_moment(upstream.since),
        retry_at=_moment(upstream.retry_at),
        waits=upstream.main.waits,
        protocol=known.version if known else None,
        info=known.info if known else None,
        capabilities=known.capabilities if known else None,
        instructions=known.instructions if known else None,
        last_words=tuple(upstream.stderr)[-20:],
        breaker=upstream.breaker.state,
        left_alone=upstream.breaker.sentence(),
        held=held,
        replicas=tuple(replicas),
    )


def _moment(seconds: float | None) -> str | None:
    return records.moment(None if seconds is None else int(seconds * 1000))


def _pass_on(progress: Progress, method: str, params: Json) -> None:
    if method == "notifications/progress":
        message, done, total = params.get("message"), params.get("progress"), params.get("total")
        progress(str(message) if message else f"{done}{'' if total is None else f' of {total}'}")


def _where_to_look(entry: Any) -> str:
    return f"`hub servers show {entry.server}` shows more." if entry is not None else ""
