"""Who asks: a credential proves an agent, or is refused. There is no anonymous agent.

A token is `hub_` and 256 random bits; only its SHA-256 is kept, in memory and in the store. One of
another issuer (a JWT) is checked once (`hub.identity.issuers`), then known by its hash until it ends. All
that does not prove an agent gets one and the same answer.

What is revoked, over or narrower counts at once, for what is open too: whoever holds an `Agent`
listens (`on_change`) and asks again (`valid`, `current`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from hub.env import Env
from hub.errors import NotFound, Refused, Unauthorized
from hub.identity.claims import Identified, named_by
from hub.identity.tokens import Terms, Tokens, hash_of, is_token, new_secret
from hub.model import Agent
from hub.policy import Grants
from hub.store import tokens
from hub.store.connection import open_for_writing

if TYPE_CHECKING:
    from hub.identity.issuers import Issuers
    from hub.store.db import Store

__all__ = ["Identities", "issue_offline"]

_CACHED_MAX: Final = 4096
_USED_EVERY_SECONDS: Final = 60.0
_NEVER: Final = math.inf
_LOOK_SECONDS: Final = 10.0
"""While a token ends some day, how often to look at the clock at least, in case it was set."""
_REFUSAL: Final = (
    "No agent is proved by this request. Send `Authorization: Bearer TOKEN` with a token that "
    "`hub agents token NAME` printed and that is neither revoked nor over."
)


class Identities:
    """The agents that manifests name and the tokens that prove them. Starts with neither."""

    def __init__(self, store: Store, env: Env, issuers: Issuers | None = None) -> None:
        """
        Args:
            issuers: Who else's tokens are taken, where any are.
        """
        self._store = store
        self._env = env
        self._issuers = issuers
        self._grants: dict[str, Grants] = {}
        self._identified: Mapping[str, tuple[Identified, ...]] = {}
        self._tokens = Tokens(self._grants_of)
        self._proved: dict[str, Agent] = {}
        """What a whole header proves; emptied at every change, so that an answer is never stale."""
        self._ends = _NEVER
        """When the next token ends, by the wall clock."""
        self._used: set[str] = set()
        self._flush_at = env.monotonic() + _USED_EVERY_SECONDS
        self._listeners: list[Callable[[], None]] = []
        self._changing = anyio.Lock()
        """One change of tokens at a time, so that memory and store agree on their order."""
        self._moved = anyio.Event()

    async def load(self) -> None:
        """Take the live tokens from the store. Raises `StoreError`."""
        rows = await self._store.read(partial(tokens.live, now=self._now()))
        self._tokens.replace(rows)
        self._changed()

    async def run(self) -> None:
        """End what is open for tokens at the moment they end, until cancelled."""
        while True:
            self._moved = anyio.Event()
            left = self._ends - self._env.now()
            with anyio.move_on_after(max(0.0, left if left == _NEVER else min(left, _LOOK_SECONDS))):
                await self._moved.wait()
            self._end_what_is_over()

    def replace(
        self, agents: Mapping[str, Grants], identified: Mapping[str, tuple[Identified, ...]] | None = None
    ) -> None:
        """All agents anew, by name. Those whose grants are equal stay as they are (`valid`).

        Args:
            identified: How other issuers' tokens name them.
        """
        kept = {}
        for name, grants in agents.items():
            before = self._grants.get(name)
            kept[name] = before if before is not None and before == grants else grants
        self._grants = kept
        self._identified = identified or {}
        self._tokens.drop_foreign(lambda token: self._named_by(token.claims) != token.agent)
        self._changed()

    def identify(self, authorization: str | None) -> Agent:
        """The agent that an `Authorization` header proves, of all tokens that are known: 0.5 us.

        Raises:
            Unauthorized: it proves none; the message is the same whatever is wrong.
        """
        if authorization is None:
            raise Unauthorized(_REFUSAL)
        if self._ends != _NEVER and self._env.now() >= self._ends:
            self._end_what_is_over()
        agent = self._proved.get(authorization) or self._prove(authorization)
        if agent.token is not None:
            self._used.add(agent.token)
        if self._env.monotonic() >= self._flush_at:
            self.flush()
        return agent

    def may_prove(self, authorization: str | None) -> bool:
        """Whether `prove` may know more of a header that `identify` refuses: it has a JWT's shape."""
        return self._issuers is not None and authorization is not None and authorization.count(".") == 2

    async def prove(self, authorization: str | None) -> Agent:
        """As `identify`, and checks another issuer's token that is not known yet. Waits some seconds at most.

        Raises:
            Unauthorized: it proves none; the message is the same whatever is wrong.
        """
        try:
            return self.identify(authorization)
        except Unauthorized:
            if self._issuers is None or authorization is None or not self.may_prove(authorization):
                raise
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(_REFUSAL)
        checked = await self._issuers.check(text)
        name = None if checked is None else self._named_by(checked.claims)
        if checked is None or name is None:
            raise Unauthorized(_REFUSAL)
        somebody_gave_way = self._tokens.add_foreign(hash_of(text), name, checked.ends, checked.claims)
        self._changed(quietly=not somebody_gave_way)
        return self.identify(authorization)

    def local(self, name: str) -> Agent:
        """The agent of that name, for whoever the operating system has proved (stdio, admin socket).

        Raises:
            NotFound: no manifest names it.
        """
        grants = self._grants.get(name)
        if grants is None:
            raise _no_agent(name)
        return Agent(name, grants)

    def current(self, agent: Agent) -> Agent | None:
        """The same agent with the grants of now; `None` once its token is dead or it is removed."""
        if agent.token is None:
            grants = self._grants.get(agent.name)
            if grants is None:
                return None
            return agent if grants is agent.grants else Agent(agent.name, grants)
        if self._env.now() >= self._ends:
            self._end_what_is_over()
        token = self._tokens.by_id.get(agent.token)
        if token is None or token.agent != agent.name:
            return None
        return self._tokens.agent_of(token)

    def scopes(self, agent: str) -> list[Grants]:
        """What the live tokens of an agent are good for, of those that have a scope of their own."""
        mine = [
            token for token in self._tokens.by_id.values() if token.agent == agent and token.scope is not None
        ]
        return [proved.grants for token in mine if (proved := self._tokens.agent_of(token)) is not None]

    def valid(self, agent: Agent) -> bool:
        """Whether it could be proved again just so: its token is live and its grants are the same."""
        now = self.current(agent)
        return now is not None and now.grants is agent.grants

    async def issue(self, agent: str, terms: Terms | None = None) -> tuple[str, str]:
        """A further token: `(id, token)`. The token is nowhere else and cannot be shown again.

        Raises:
            NotFound: no manifest names that agent, or it has no such live parent.
            InvalidParams: there are too many children.
            StoreError: it cannot be kept.
        """
        return await self._issue(agent, terms or Terms(), alone=False)

    async def rotate(self, agent: str, terms: Terms | None = None) -> str:
        """A new token; all older ones of that agent are dead. Raises as `issue`; the older ones stay then."""
        return (await self._issue(agent, terms or Terms(), alone=True))[1]

    async def mint(
        self,
        agent: Agent,
        scope: str | None = None,
        expires_seconds: float | None = None,
        calls: int | None = None,
    ) -> tuple[str, str]:
        """A child of the token that proved `agent`, for it to give away: `(id, token)`. Only ever narrower.

        Args:
            scope: As `hub.identity.scopes.written` returns it.

        Raises:
            Refused: no token of the hub's own proved it, so there is no parent; or the parent is dead.
            InvalidParams: there are too many children.
            StoreError: it cannot be kept.
        """
        parent = None if agent.token is None else self._tokens.by_id.get(agent.token)
        if parent is None or parent.foreign or self.current(agent) is None:
            raise Refused(
                "A child token needs a parent: only who came with a live token of the hub can mint one"
            )
        return await self.issue(agent.name, Terms(scope, expires_seconds, calls, parent.id))

    def ends(self, id: str) -> float:
        """When a live token ends, in seconds since 1970; infinite where it does not."""
        return self._tokens.by_id[id].ends

    async def revoke_child(self, agent: Agent, id: str) -> bool:
        """End a live token that descends from the one that proved `agent`; whether there was one.

        Raises:
            StoreError: as `revoke`.
        """
        if agent.token is None or not self._tokens.descends(id, agent.token):
            return False
        return await self.revoke(id)

    async def revoke(self, id: str) -> bool:
        """Whether there was such a live token. It and all that descend from it are dead at once, even if
        the store cannot say so yet.

        Raises:
            StoreError: it would live again after a restart: repeat this.
        """
        async with self._changing:
            self._tokens.drop_tree(id)
            self._changed()
            return await self._store.write(partial(tokens.revoke, id=id, when=self._now()))

    async def remove(self, agent: str) -> None:
        """The agent is gone, and all its tokens are dead. Raises `StoreError` as `revoke` does."""
        async with self._changing:
            self._grants = {name: grants for name, grants in self._grants.items() if name != agent}
            self._tokens.drop(lambda token: token.agent == agent)
            self._changed()
            await self._store.write(partial(tokens.revoke_all, agent=agent, when=self._now()))

    def spend(self, agent: Agent) -> Awaitable[None]:
        """Count one call to the agent's token and to those above it; to be awaited before it is made.

        Raises:
            TokenSpent: one of them has none left.
            StoreError: it cannot be counted.
        """
        token = None if agent.token is None else self._tokens.by_id.get(agent.token)
        if token is None:
            raise Refused("This token is revoked or over")
        return self._store.write(partial(tokens.spend, ids=self._tokens.counted(token)))

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every change by which somebody may have less. Returns how to stop that.

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

    async def _issue(self, agent: str, terms: Terms, *, alone: bool) -> tuple[str, str]:
        async with self._changing:
            if agent not in self._grants:
                raise _no_agent(agent)
            token, row = _new(self._env, agent, terms)
            add = tokens.add_alone if alone else tokens.add
            kept = await self._store.write(partial(add, token=row))
            if alone:
                self._tokens.drop(lambda other: other.agent == agent)
            self._tokens.add(kept)
            # Where nobody has less than before, nobody needs to be looked at: agents mint by themselves.
            self._changed(quietly=not alone)
            return kept.id, token

    def _prove(self, authorization: str) -> Agent:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not (is_token(text) or self.may_prove(authorization)):
            raise Unauthorized(_REFUSAL)
        token = self._tokens.by_hash.get(hash_of(text))
        agent = None if token is None else self._tokens.agent_of(token)
        if agent is None:
            raise Unauthorized(_REFUSAL)
        if len(self._proved) >= _CACHED_MAX:
            self._proved.clear()
        self._proved[authorization] = agent
        return agent

    def _grants_of(self, agent: str) -> Grants | None:
        return self._grants.get(agent)

    def _named_by(self, claims: Mapping[str, object]) -> str | None:
        """The one agent that another issuer's token stands for; `None` where it fits none, or several."""
        names = [name for name in named_by(claims, self._identified) if name in self._grants]
        return names[0] if len(names) == 1 else None

    def _end_what_is_over(self) -> None:
        now = self._env.now()
        if now >= self._ends:
            self._tokens.drop(lambda token: token.ends <= now)
            self._changed()

    def _changed(self, *, quietly: bool = False) -> None:
        """Forget what was proved, and say so; quietly where nobody has less than before."""
        self._ends = self._tokens.next_end()
        self._proved.clear()
        self._moved.set()
        if not quietly:
            for listener in list(self._listeners):
                listener()

    def _now(self) -> int:
        return int(self._env.now() * 1000)


def issue_offline(path: Path, agent: str, env: Env, terms: Terms | None = None) -> tuple[str, str]:
    """A further token `(id, token)` where no hub runs; whether a manifest names the agent is the caller's.

    Raises:
        NotFound, InvalidParams: as `Identities.issue`.
        StoreError: it cannot be kept.
    """
    token, row = _new(env, agent, terms or Terms())
    connection = open_for_writing(path)
    try:
        tokens.add(connection, row)
    finally:
        connection.close()
    return row.id, token


def _new(env: Env, agent: str, terms: Terms) -> tuple[str, tokens.NewToken]:
    """The token itself, and what is kept of it."""
    token, now = new_secret(env), env.now()
    ends = None if terms.expires_seconds is None else int((now + terms.expires_seconds) * 1000)
    created = int(now * 1000)
    row = tokens.NewToken(
        env.new_id(), agent, hash_of(token), created, ends, terms.scope, terms.calls, terms.parent
    )
    return token, row


def _no_agent(name: str) -> NotFound:
    return NotFound(f"There is no agent {name!r:.80}: no manifest names it (`hub agents list` shows all)")
