"""Who asks: a credential proves an agent, or is refused. There is no anonymous agent.

A token is `hub_` and 256 random bits; only its SHA-256 is kept, in memory and in the store. All that
does not prove an agent gets one and the same answer.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from hub.env import Env
from hub.errors import NotFound, Unauthorized
from hub.model import Agent
from hub.policy import Grants
from hub.store import tokens
from hub.store.connection import open_for_writing

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["Identities", "issue_offline"]

_PREFIX: Final = "hub_"
_SECRET_BYTES: Final = 32
_LENGTH: Final = len(_PREFIX) + 43
_CACHED_MAX: Final = 4096
_USED_EVERY_SECONDS: Final = 60.0
_REFUSAL: Final = (
    "No agent is proved by this request. Send `Authorization: Bearer TOKEN` with a token that "
    "`hub agents token NAME` printed and that is not revoked."
)


class Identities:
    """The agents that manifests name and the tokens that prove them. Starts with neither."""

    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env
        self._grants: dict[str, Grants] = {}
        self._tokens: dict[bytes, tuple[str, str]] = {}
        """SHA-256 -> (token id, agent's name)."""
        self._live: dict[str, str] = {}
        """Token id -> agent's name."""
        self._proved: dict[str, Agent] = {}
        """What a whole header proves; emptied at every change, so that an answer is never stale."""
        self._used: set[str] = set()
        self._flush_at = env.monotonic() + _USED_EVERY_SECONDS
        self._listeners: list[Callable[[], None]] = []
        self._changing = anyio.Lock()
        """One change of tokens at a time, so that memory and store agree on their order."""

    async def load(self) -> None:
        """Take the live tokens from the store. Raises `StoreError`."""
        rows = await self._store.read(tokens.live)
        self._tokens = {hash: (id, agent) for id, agent, hash in rows}
        self._live = {id: agent for id, agent, _ in rows}
        self._changed()

    def replace(self, agents: Mapping[str, Grants]) -> None:
        """All agents anew, by name. Those whose grants are equal stay as they are (`valid`)."""
        kept = {}
        for name, grants in agents.items():
            before = self._grants.get(name)
            kept[name] = before if before is not None and before == grants else grants
        self._grants = kept
        self._changed()

    def identify(self, authorization: str | None) -> Agent:
        """The agent that an `Authorization` header proves.

        Raises:
            Unauthorized: it proves none; the message is the same whatever is wrong.
        """
        if authorization is None:
            raise Unauthorized(_REFUSAL)
        agent = self._proved.get(authorization) or self._prove(authorization)
        if agent.token is not None:
            self._used.add(agent.token)
        if self._env.monotonic() >= self._flush_at:
            self.flush()
        return agent

    def local(self, name: str) -> Agent:
        """The agent of that name, for whoever the operating system has proved (stdio, admin socket).

        Raises:
            NotFound: no manifest names it.
        """
        grants = self._grants.get(name)
        if grants is None:
            raise _no_agent(name)
        return Agent(name, grants)

    def valid(self, agent: Agent) -> bool:
        """Whether it could be proved again just so: its token is live and its grants are the same."""
        if self._grants.get(agent.name) is not agent.grants:
            return False
        return agent.token is None or self._live.get(agent.token) == agent.name

    async def issue(self, agent: str) -> tuple[str, str]:
        """A further token: `(id, token)`. The token is nowhere else and cannot be shown again.

        Raises:
            NotFound: no manifest names that agent.
            StoreError: it cannot be kept.
        """
        return await self._issue(agent, alone=False)

    async def rotate(self, agent: str) -> str:
        """A new token; all older ones of that agent are dead. Raises as `issue`; the older ones stay then."""
        return (await self._issue(agent, alone=True))[1]

    async def revoke(self, id: str) -> bool:
        """Whether there was such a live token. It is dead at once, even if the store cannot say so yet.

        Raises:
            StoreError: it would live again after a restart: repeat this.
        """
        async with self._changing:
            self._drop(lambda token, _: token == id)
            return await self._store.write(partial(tokens.revoke, id=id, when=self._now()))

    async def remove(self, agent: str) -> None:
        """The agent is gone, and all its tokens are dead. Raises `StoreError` as `revoke` does."""
        async with self._changing:
            self._grants = {name: grants for name, grants in self._grants.items() if name != agent}
            self._drop(lambda _, owner: owner == agent)
            await self._store.write(partial(tokens.revoke_all, agent=agent, when=self._now()))

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every change of who is who, until the function returned is called.

        It must neither block nor raise; `valid` tells it which agents the change concerns.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def flush(self) -> None:
        """Note which tokens were used; done about once a minute by itself, and wanted before the end."""
        self._flush_at = self._env.monotonic() + _USED_EVERY_SECONDS
        used, self._used = self._used, set()
        if used:
            self._store.post(partial(tokens.mark_used, ids=used, when=self._now()))

    async def _issue(self, agent: str, *, alone: bool) -> tuple[str, str]:
        async with self._changing:
            if agent not in self._grants:
                raise _no_agent(agent)
            id, token, hash = _new(self._env)
            add = tokens.add_alone if alone else tokens.add
            await self._store.write(partial(add, id=id, agent=agent, hash=hash, created=self._now()))
            self._tokens[hash] = (id, agent)
            self._drop(lambda other, owner: alone and owner == agent and other != id)
            return id, token

    def _prove(self, authorization: str) -> Agent:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or len(token) != _LENGTH or not token.startswith(_PREFIX):
            raise Unauthorized(_REFUSAL)
        proved = self._tokens.get(_hash(token))
        grants = None if proved is None else self._grants.get(proved[1])
        if proved is None or grants is None:
            raise Unauthorized(_REFUSAL)
        if len(self._proved) >= _CACHED_MAX:
            self._proved.clear()
        agent = self._proved[authorization] = Agent(proved[1], grants, proved[0])
        return agent

    def _drop(self, wanted: Callable[[str, str], bool]) -> None:
        """Forget the tokens of which `wanted(id, agent)` is true."""
        self._tokens = {hash: pair for hash, pair in self._tokens.items() if not wanted(*pair)}
        self._live = dict(self._tokens.values())
        self._changed()

    def _changed(self) -> None:
        self._proved.clear()
        for listener in list(self._listeners):
            listener()

    def _now(self) -> int:
        return int(self._env.now() * 1000)


def issue_offline(path: Path, agent: str, env: Env) -> tuple[str, str]:
    """A further token `(id, token)` where no hub runs; whether a manifest names the agent is the caller's.

    Raises:
        StoreError: it cannot be kept.
    """
    id, token, hash = _new(env)
    connection = open_for_writing(path)
    try:
        tokens.add(connection, id, agent, hash, int(env.now() * 1000))
    finally:
        connection.close()
    return id, token


def _new(env: Env) -> tuple[str, str, bytes]:
    """`(id, token, hash)`."""
    secret = base64.urlsafe_b64encode(env.random_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    token = _PREFIX + secret
    return env.new_id(), token, _hash(token)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _no_agent(name: str) -> NotFound:
    return NotFound(f"There is no agent {name!r:.80}: no manifest names it (`hub agents list` shows all)")
