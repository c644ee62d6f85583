"""Operations where no hub runs: read from files and the store, or done by a hub that lives for one of them.

The answers are those of `hub.admin.admin`, name by name. What only reads costs no event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from hub import lock, records
from hub.audit import leftover
from hub.commands import access, edits, logs
from hub.commands.memo import recalled
from hub.env import SystemEnv
from hub.failure import Failure
from hub.home import OTHERS, Home
from hub.model import Json, Kind
from hub.store import reading

if TYPE_CHECKING:
    from hub.admin.admin import Progress
    from hub.commands.picture import Picture
    from hub.manifests.manifest import Manifests
    from hub.secrets import Secrets
    from hub.upstreams.pin_changes import Change
    from hub.upstreams.pins import Held

__all__ = ["REMEMBERED", "do"]

REMEMBERED: Final = frozenset({"servers", "server", "entries", "resources", "entry"})
"""Operations whose answer is older than it would be with a hub."""

_KEPT: Final = frozenset({"servers", "entries", "resources", "agents", "can"})
"""Operations that must be quick, and whose answers depend on manifests and the record alone."""

_LIVE: Final = frozenset({"server_check", "tool_call", "resource_read", "prompt_get"})


def do(home: Home, operation: str, arguments: Json, progress: Progress) -> Any:
    """Do one operation for a home that no hub serves.

    Raises:
        Failure, HubError: why it was not done.
    """
    if operation in _LIVE:
        return _live(home, operation, arguments, progress)
    here = getattr(_Alone(home), operation, None)
    if here is None:
        raise Failure("unexpected", f"No hub runs for {home.path}.", "Start one: `hub serve`.")
    # With arguments the moment counts too (`when`).
    if operation in _KEPT and not arguments.get("pairs") and arguments.get("labels") is None:
        return recalled(home, [operation, arguments], partial(here, **arguments), SystemEnv())
    return here(**arguments)


def _live(home: Home, operation: str, arguments: Json, progress: Progress) -> Any:
    import json
    import logging

    import anyio

    from connectors import jsonrpc
    from hub import settings
    from hub.admin.admin import Admin
    from hub.app import open_app

    if not home.is_furnished:
        raise Failure("home", f"{home.path} is no hub's folder. {OTHERS}")
    # Why a server fails is in the answer; the log of it is for who runs a hub.
    logging.getLogger().addHandler(logging.NullHandler())

    async def once() -> Any:
        async with open_app(home, settings.load(home.settings)) as app:
            return await getattr(Admin(app), operation)(**arguments, progress=progress)

    # Through text, as from a running hub: numbers and all else come out the same.
    return json.loads(jsonrpc.encode(anyio.run(once)))


class _Alone:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._env = SystemEnv()

    def servers(self) -> list[Json]:
        return self._picture.servers()

    def server(self, name: str) -> Json:
        from hub.kept_logins import shown
        from hub.secrets_file import logins_file

        found = self._picture.server(name)
        return {**found, "logins": shown(logins_file(self._home, self._env), name)}

    def server_logs(self, name: str, lines: int) -> list[str]:
        self._picture.server_manifest(name)
        return logs.last_lines(self._home.logs / f"{name}.log", lines)

    def server_add(self, name: str, connect: Json, title: str | None = None) -> Json:
        return edits.add_server(self._home, name, connect, title)

    def server_remove(self, name: str) -> Json:
        self._picture.server_manifest(name)
        return edits.remove_server(self._home, name)

    def entries(self, kind: Kind, agent: str, server: str | None = None) -> list[Json]:
        return self._picture.entries(kind, agent, server)

    def resources(self, agent: str, server: str | None = None) -> list[Json]:
        return self._picture.resources(agent, server)

    def entry(self, kind: Kind, name: str, agent: str) -> Json:
        return self._picture.entry(kind, name, agent)

    def agents(self) -> list[Json]:
        return self._picture.agents()

    def agent(self, name: str) -> Json:
        return {**self._picture.agent(name), "tokens": self.tokens(name)}

    def can(
        self,
        agent: str,
        name: str,
        pairs: list[str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> Json:
        return self._picture.can(agent, name, pairs or [], self._env.now(), labels)

    def agent_limits(self, name: str) -> list[Json]:
        from hub import allowances
        from hub.identity import scopes

        grants, now = self._picture.agent_manifest(name).grants(), self._env.now()
        rows = self._read(partial(reading.current_usage, now=int(now * 1000)), [])
        used = {(row.meter, row.measure, row.period): row.used for row in rows}
        live = self._read(partial(reading.live_scopes, agent=name, now=int(now * 1000)), [])
        return allowances.shown(
            name,
            grants,
            lambda meter, measure, period: used.get((meter, measure, int(period)), 0),
            now,
            scopes.readable(live, within=grants),
        )

    def agent_config(self, name: str) -> Json:
        from hub.commands.client_config import client_config

        self._picture.agent_manifest(name)
        return client_config(self._home, name, None)

    def agent_add(self, name: str, may: list[str], never: list[str], title: str | None = None) -> Json:
        with lock.held(self._home):
            added = edits.add_agent(self._home, name, may, never, title)
            _, token = edits.issue_token(self._home, name, self._env)
        return {**added, "token": token}

    def agent_remove(self, name: str) -> Json:
        self._picture.agent_manifest(name)
        with lock.held(self._home):
            removed = edits.remove_agent(self._home, name)
            edits.revoke_tokens(self._home, name, self._env)
        return removed

    def secrets(self) -> list[Json]:
        return access.overview(self._secrets(), self._manifests().servers)

    def secret_set(self, name: str, value: str) -> Json:
        access.set_secret(self._secrets(), name, value)
        return {"name": name, "servers": []}

    def secret_remove(self, name: str) -> Json:
        access.remove_secret(self._secrets(), name)
        return {"name": name, "servers": []}

    def login_changed(self, server: str) -> Json:
        """There is no hub that would have to know."""
        return {"servers": []}

    def _secrets(self) -> Secrets:
        from hub import settings
        from hub.secrets import secrets_of

        return secrets_of(self._home, settings.load(self._home.settings), self._env)

    def _manifests(self) -> Manifests:
        from hub import settings
        from hub.manifests import manifest
        from hub.results.limits import with_right_to_read

        tokens = settings.load(self._home.settings).results.tokens
        return with_right_to_read(manifest.load(self._home.manifests), tokens)

    def tokens(self, agent: str) -> list[Json]:
        self._picture.agent_manifest(agent)
        return records.tokens(self._read(partial(reading.list_tokens, agent=agent), []))

    def token_issue(
        self,
        agent: str,
        may: list[str] | None = None,
        never: list[str] | None = None,
        expires: str | None = None,
        calls: int | None = None,
        parent: str | None = None,
    ) -> Json:
        self._picture.agent_manifest(agent)
        terms = edits.terms(may, never, expires, calls, parent)
        with lock.held(self._home):
            id, token = edits.issue_token(self._home, agent, self._env, terms)
        return {"agent": agent, "id": id, "token": token}

    def token_rotate(self, agent: str) -> Json:
        self._picture.agent_manifest(agent)
        with lock.held(self._home):
            edits.revoke_tokens(self._home, agent, self._env)
            _, token = edits.issue_token(self._home, agent, self._env)
            edits.keep_token(self._home, agent, token)
        return {"agent": agent, "token": token}

    def token_revoke(self, agent: str, id: str) -> Json:
        edits.must_be_live(id, self.tokens(agent), agent)
        with lock.held(self._home):
            edits.revoke_token(self._home, id, self._env)
        return {"agent": agent, "id": id}

    def approvals(self, everything: bool = False, agent: str | None = None, limit: int = 50) -> list[Json]:
        from hub.approvals import rows as approval_rows

        now = int(self._env.now() * 1000)
        query = partial(reading.list_approvals, now=now, everything=everything, agent=agent, limit=limit)
        return approval_rows.rows(self._read(query, []), now)

    def approval(self, id: str) -> Json:
        from hub.approvals import rows as approval_rows

        row = self._read(partial(reading.find_approval, id=id), None)
        return approval_rows.whole(row, id, int(self._env.now() * 1000))

    def approval_approve(self, id: str, reason: str | None = None) -> Json:
        return self._decide(id, True, reason)

    def approval_deny(self, id: str, reason: str | None = None) -> Json:
        return self._decide(id, False, reason)

    def _decide(self, id: str, approve: bool, reason: str | None) -> Json:
        from hub import settings
        from hub.approvals import rows as approval_rows

        self.approval(id)
        with lock.held(self._home):
            row = edits.decide(self._home, id, approve, reason, settings.load(self._home.settings), self._env)
        return approval_rows.whole(row, id, int(self._env.now() * 1000))

    def tools_changed(self) -> list[Json]:
        from hub.upstreams import pin_changes

        return pin_changes.rows(self._changes())

    def tool_changed(self, name: str) -> Json:
        import json

        from connectors import jsonrpc
        from hub.upstreams import pin_changes

        shown = pin_changes.shown(pin_changes.chosen(self._changes(), name), name)
        # Through text, as from a running hub: numbers come out the same.
        read: Json = json.loads(jsonrpc.encode(shown))
        return read

    def tool_approve(self, name: str, id: str) -> Json:
        from hub.upstreams import pin_changes

        some = pin_changes.chosen(self._changes(), name)
        pin_changes.must_be(some, id)
        with lock.held(self._home):
            by = edits.approve_tools(self._home, some, self._env)
        return {"approved": [each.name for each in some], "by": by}

    def calls(self, **wanted: Any) -> list[Json]:
        chosen = records.call_filter(self._env.now(), **wanted)
        return records.calls(self._read(partial(reading.list_calls, wanted=chosen), []))

    def call(self, id: str) -> Json:
        from hub.commands import trace

        found: Json | None = self._read(partial(trace.call, id=id), None)
        return records.call(None, id) if found is None else found

    def call_trace(self, id: str) -> Json:
        from hub.commands import trace

        found: Json | None = self._read(partial(trace.trace, id=id), None)
        return records.call(None, id) if found is None else found

    def sessions(self, agent: str | None = None, limit: int = 50) -> list[Json]:
        return records.sessions(self._read(partial(reading.list_sessions, agent=agent, limit=limit), []))

    def session(self, id: str) -> Json:
        from hub.commands import session_files

        found: Json | None = self._read(partial(session_files.shown, id=id), None)
        return records.session(None, id, ()) if found is None else found

    def session_label(self, id: str, pairs: list[str]) -> Json:
        from hub import labels

        return {
            "session": id,
            "labels": labels.label_alone(self._home, id, labels.changes(pairs), self._env),
        }

    def session_delete(self, id: str) -> Json:
        from hub.commands import session_files

        return session_files.forget_alone(self._home, id, self._env)

    def result_delete(self, id: str) -> Json:
        from hub.commands import result_files

        return result_files.forget_alone(self._home, id, self._env)

    def _read(self, query: Callable[[Any], Any], empty: Any) -> Any:
        """What the store has; `empty` where no hub has ever run."""
        if not self._home.database.exists():
            return empty
        leftover.take_up(self._home)
        connection = reading.open_read_only(self._home.database)
        try:
            return query(connection)
        finally:
            connection.close()

    @cached_property
    def _picture(self) -> Picture:
        # Here: reading manifests costs 0.2 s, which calls and sessions need not pay.
        from hub.commands.remembered import picture

        return picture(self._manifests(), self._servers, self._held)

    @cached_property
    def _servers(self) -> list[reading.ServerRow]:
        return self._read(reading.list_servers, [])  # type: ignore[no-any-return]

    @cached_property
    def _held(self) -> dict[str, dict[str, Held]]:
        from hub.commands import remembered

        marks: dict[str, str] = self._read(reading.list_pinned_servers, {})
        pinned = self._read(reading.list_pins, [])
        now = int(self._env.now() * 1000)
        return remembered.held(self._manifests(), self._servers, marks, pinned, now)

    def _changes(self) -> list[Change]:
        from hub import records
        from hub.upstreams import pin_changes, pins

        held = self._held
        wanted = [(server, tool) for server, tools in held.items() for tool in tools]
        offered = {
            row.name: pins.definitions_of(records.definitions(row).get("tool", ()), row.instructions)
            for row in self._servers
            if row.name in held
        }
        pinned = self._read(partial(reading.pinned_texts, tools=wanted), {})
        return pin_changes.changes(self._picture.catalog, held, offered, pinned)
