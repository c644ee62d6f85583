"""`hub__memory`: values that an agent keeps under keys, beyond its window, its connection and the hub's end.

Three scopes: a session's, an agent's (all its sessions and tokens), and one that all agents share. The shared
one needs a rule of its own in the manifest, one that says something of the argument `scope` and lets
`shared` through: a grant of the tool alone is none of what others wrote.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from connectors.jsonrpc import Budget, encode, parse
from hub import records, units
from hub.builtin.definitions import MEMORY
from hub.builtin.own import OwnTool, Wrong, is_a_persons_word, said
from hub.env import Env
from hub.model import Call, Json, Result
from hub.store import memory, shares
from hub.store.memory import KEYS_MAX, MemoryRow, Owner, Scope
from hub.store.shares import Lease

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["MemoryTool", "start_of", "value_of"]

KEY_BYTES_MAX: Final = 256
VALUE_BYTES_MAX: Final = 64 * 1024
_SHOWN_LENGTH: Final = 200
_LIMIT: Final = 10
_LEASE_MS: Final = 60_000
_LEASE_MS_MAX: Final = 24 * 3600_000
_BUDGET: Final = Budget(1024 * 1024, 1_000_000)


class MemoryTool:
    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env
        self._actions: Mapping[str, Callable[[Call, Json], Awaitable[Result]]] = {
            "put": self._put,
            "get": self._get,
            "search": self._search,
            "forget": self._forget,
            "lease": self._lease,
            "release": self._release,
        }

    @property
    def tool(self) -> OwnTool:
        return OwnTool.of(MEMORY, self._run)

    async def _run(self, call: Call, arguments: Json) -> Result:
        return await self._actions[arguments["action"]](call, arguments)

    async def _put(self, call: Call, arguments: Json) -> Result:
        owner, key = await self._place(call, arguments, to_change=True)
        if "value" not in arguments:
            raise Wrong("put needs a value.")
        value = encode(arguments["value"]).decode()
        size = len(value.encode())
        if size > VALUE_BYTES_MAX:
            raise Wrong(f"A value has at most {VALUE_BYTES_MAX} bytes as JSON; this one has {size}.")
        now = self._now()
        row = MemoryRow(
            *owner, key, value, size + len(key.encode()), call.agent.name, call.session, call.id,
            now, _until(now, arguments),
        )  # fmt: skip
        wrong = await self._store.write(partial(_put, row=row, fence=arguments.get("fence")))
        if isinstance(wrong, Lease):
            raise Wrong(_hindered(key, wrong, now, arguments))
        if wrong is not None:
            raise Wrong(f"Not kept: {wrong}. Forget some first.")
        ends = "" if row.until is None else f", until {records.moment(row.until)}"
        return said(f"Kept {key!r} ({owner[0]}{ends}).")

    async def _get(self, call: Call, arguments: Json) -> Result:
        owner, key = await self._place(call, arguments)
        row = await self._store.read(partial(memory.get, owner=owner, key=key, now=self._now()))
        if row is None:
            raise Wrong(f"There is no {key!r} in scope {owner[0]}.")
        return said(f"{_value(row)}\n\n{_where_from(row)}", _told(row))

    async def _search(self, call: Call, arguments: Json) -> Result:
        scope = arguments.get("scope")
        owners = [_owner(call, {"scope": each}) for each in ([scope] if scope else ["session", "agent"])]
        limit, query = arguments.get("limit", _LIMIT), arguments.get("query")
        work = (
            partial(memory.newest, owners=owners, now=self._now(), limit=limit)
            if query is None
            else partial(memory.search, owners=owners, query=query, now=self._now(), limit=limit)
        )
        rows = await self._store.read(work)
        lines = [
            f"{row.key} ({row.scope}, {records.moment(row.at)}, by {row.agent}): {start_of(row)}"
            for row in rows
        ]
        return said(
            "\n".join(lines) or "Nothing found.", {"found": [_told(row, whole=False) for row in rows]}
        )

    async def _forget(self, call: Call, arguments: Json) -> Result:
        owner, key = await self._place(call, arguments, to_change=True)
        now = self._now()
        found = await self._store.write(
            partial(
                _forget, owner=owner, key=key, agent=call.agent.name, fence=arguments.get("fence"), now=now
            )
        )
        if isinstance(found, Lease):
            raise Wrong(_hindered(key, found, now, arguments))
        if not found:
            raise Wrong(f"There is no {key!r} in scope {owner[0]}.")
        return said(f"Forgot {key!r} ({owner[0]}).")

    async def _lease(self, call: Call, arguments: Json) -> Result:
        owner, key = await self._place(call, arguments, to_change=True)
        now = self._now()
        until = _until(now, arguments) or now + _LEASE_MS
        if until - now > _LEASE_MS_MAX:
            raise Wrong("A lease is for at most 24h.")
        fence, agent = arguments.get("fence"), call.agent.name
        given, held = await self._store.write(
            partial(shares.lease, owner=owner, key=key, agent=agent, fence=fence, now=now, until=until)
        )
        if not given and not held.fence and fence is None:
            raise Wrong(f"There are {KEYS_MAX} leased keys already.")
        if not given:
            raise Wrong(_hindered(key, held, now, arguments))
        text = (
            f"{key!r} is yours to change until {records.moment(held.until)}, with fence {held.fence}: give "
            "it with each put and forget. If another one has leased it since, they are refused."
        )
        return said(text, {"fence": held.fence, "until": records.moment(held.until)})

    async def _release(self, call: Call, arguments: Json) -> Result:
        owner, key = await self._place(call, arguments, to_change=True)
        if "fence" not in arguments:
            raise Wrong("release needs the fence that you got with the lease.")
        fence, agent = arguments["fence"], call.agent.name
        work = partial(shares.release, owner=owner, key=key, agent=agent, fence=fence, now=self._now())
        if not await self._store.write(work):
            raise Wrong(f"{key!r} is not leased to you with fence {fence}.")
        return said(f"{key!r} is free again.")

    async def _place(self, call: Call, arguments: Json, *, to_change: bool = False) -> tuple[Owner, str]:
        """Whose key is meant, and which. Raises `Wrong`."""
        key, lender = _key(arguments), arguments.get("of")
        if lender is None:
            return _owner(call, arguments), key
        found = await self._store.read(
            partial(shares.session_of, agent=lender, reader=call.agent.name, key=key)
        )
        if found is None:
            raise Wrong(f"There is no {key!r} that {lender} has shared with you.")
        session, may_change = found
        if to_change and not may_change:
            raise Wrong(f"{lender} lets you read {key!r}, and not change it.")
        return ("session", session), key

    def _now(self) -> int:
        return int(self._env.now() * 1000)


def _put(connection: Any, row: MemoryRow, fence: int | None) -> Lease | str | None:
    held = shares.hindered(connection, (row.scope, row.owner), row.key, row.agent, fence, row.at)
    return memory.put(connection, row) if held is None else held


def _forget(connection: Any, owner: Owner, key: str, agent: str, fence: int | None, now: int) -> Lease | bool:
    held = shares.hindered(connection, owner, key, agent, fence, now)
    return memory.forget(connection, owner, key) if held is None else held


def _hindered(key: str, held: Lease, now: int, arguments: Json) -> str:
    if "fence" in arguments:
        return (
            f"The fence {arguments['fence']} for {key!r} does not count (any longer). Nothing was changed: "
            "read it anew."
        )
    return (
        f"{key!r} is leased to {held.agent} until {records.moment(held.until)}. Nothing was changed. "
        "If it is you, give the fence; else try again then."
    )


def _owner(call: Call, arguments: Json) -> Owner:
    """Raises `Wrong`."""
    scope: Scope = arguments.get("scope", "session")
    if scope == "session":
        return scope, call.session
    if scope == "agent":
        return scope, call.agent.name
    if not is_a_persons_word(call, "scope"):
        raise Wrong(
            "The scope 'shared' is not granted to this agent: a person has to allow it in the agent's "
            "manifest, with a rule about the argument 'scope' of hub__memory. Use 'session' or 'agent'."
        )
    return scope, ""


def _key(arguments: Json) -> str:
    """Raises `Wrong`."""
    key = arguments.get("key")
    if not isinstance(key, str) or not 0 < len(key.encode("utf-8", "surrogatepass")) <= KEY_BYTES_MAX:
        raise Wrong(f"{arguments['action']} needs a key of 1 to {KEY_BYTES_MAX} bytes.")
    return key


def _until(now: int, arguments: Json) -> int | None:
    """Raises `Wrong`."""
    if "ttl" not in arguments:
        return None
    try:
        return now + int(units.lifetime_seconds(arguments["ttl"]) * 1000)
    except ValueError as error:
        raise Wrong(f"ttl: {error}") from None


def value_of(row: MemoryRow) -> Any:
    return parse(row.value.encode(), _BUDGET)


def _value(row: MemoryRow) -> str:
    """As a model reads it: text as it is, anything else as JSON."""
    value = value_of(row)
    return value if isinstance(value, str) else row.value


def _where_from(row: MemoryRow) -> str:
    ends = "" if row.until is None else f", until {records.moment(row.until)}"
    where = f"by {row.agent}, session {row.session}, call {row.call}"
    return f"({row.scope}; {where}, {records.moment(row.at)}{ends})"


def _told(row: MemoryRow, *, whole: bool = True) -> Json:
    about: Json = {
        "key": row.key,
        "scope": row.scope,
        "agent": row.agent,
        "session": row.session,
        "call": row.call,
        "at": records.moment(row.at),
        "until": records.moment(row.until),
    }
    return {**about, "value": value_of(row)} if whole else about


def start_of(row: MemoryRow) -> str:
    text = _value(row)
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + " ..."
