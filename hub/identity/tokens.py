"""The live tokens in memory: a tree in which a child is its parent, narrower. No I/O and no clock.

What a token proves is made once and kept, so that who compares grants by identity sees no change
where there is none.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hub.env import Env
from hub.errors import ManifestError
from hub.model import Agent

if TYPE_CHECKING:
    from hub.policy import Grants
    from hub.store.tokens import NewToken

__all__ = ["Terms", "Token", "Tokens", "hash_of", "is_token", "new_secret"]

_PREFIX: Final = "hub_"
_SECRET_BYTES: Final = 32
_LENGTH: Final = len(_PREFIX) + 43
_FOREIGN_PREFIX: Final = "jwt_"
_FOREIGN_MAX: Final = 4096
"""How many tokens of other issuers are known at once; the oldest is checked anew when it comes again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a new token is good for; what is left out is as its agent's, or its parent's."""

    scope: str | None = None
    """As `hub.identity.scopes.written` returns it."""
    expires_seconds: float | None = None
    calls: int | None = None
    parent: str | None = None
    """The id of the token that it is a child of."""


@dataclass(slots=True)
class Token:
    id: str
    agent: str
    hash: bytes
    ends: float
    """Seconds since 1970; infinite where it does not end."""
    scope: str | None = None
    is_counted: bool = False
    """Whether it is for a number of calls. (A child of such a one always is.)"""
    parent: str | None = None
    foreign: bool = False
    """Whether another issuer made it: it is in no store."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    base: Grants | None = None
    """What `proves` was made within."""
    proves: Agent | None = None


class Tokens:
    def __init__(self, grants_of: Callable[[str], Grants | None]) -> None:
        """
        Args:
            grants_of: What an agent's manifest grants, by its name; always the same object.
        """
        self._grants_of = grants_of
        self.by_hash: dict[bytes, Token] = {}
        self.by_id: dict[str, Token] = {}
        self._foreign: dict[str, Token] = {}
        """Those of other issuers, by id, oldest first."""

    def replace(self, rows: Iterable[NewToken]) -> None:
        """All that the store has, parents first."""
        self.by_hash, self.by_id, self._foreign = {}, {}, {}
        for row in rows:
            # A child whose parent is gone would have lost what it is narrower than.
            if row.parent is None or row.parent in self.by_id:
                self.add(row)

    def add(self, row: NewToken) -> None:
        ends = math.inf if row.expires is None else row.expires / 1000
        self._put(Token(row.id, row.agent, row.hash, ends, row.scope, row.calls is not None, row.parent))

    def add_foreign(self, hash: bytes, agent: str, ends: float, claims: Mapping[str, Any]) -> bool:
        """A checked token of another issuer; whether an older one had to give way."""
        is_full = len(self._foreign) >= _FOREIGN_MAX
        if is_full:
            oldest = next(iter(self._foreign))
            self.drop(lambda token: token.id == oldest)
        token = Token(_FOREIGN_PREFIX + hash.hex()[:26], agent, hash, ends, foreign=True, claims=claims)
        self._foreign[token.id] = token
        self._put(token)
        return is_full

    def agent_of(self, token: Token) -> Agent | None:
        """What it proves, with the grants of now; `None` where its agent is removed, or its scope broken."""
        base = self._base_of(token)
        if base is None:
            return None
        if token.proves is None or token.base is not base:
            grants = _within(token, base)
            if grants is None:
                return None
            token.base, token.proves = base, Agent(token.agent, grants, token.id, token.is_counted)
        return token.proves

    def counted(self, token: Token) -> Sequence[str]:
        """The ids of all tokens that a call counts for: this one and those above it, if they are counted."""
        found: list[str] = []
        each: Token | None = token
        while each is not None:
            if each.is_counted:
                found.append(each.id)
            each = None if each.parent is None else self.by_id.get(each.parent)
        return found

    def descends(self, id: str, above: str) -> bool:
        """Whether one token is a child of another, or a child's child, and so on."""
        token = self.by_id.get(id)
        while token is not None and token.parent is not None:
            if token.parent == above:
                return True
            token = self.by_id.get(token.parent)
        return False

    def next_end(self) -> float:
        """When the next one ends; infinite where none does."""
        return min((token.ends for token in self.by_id.values()), default=math.inf)

    def drop(self, wanted: Callable[[Token], bool]) -> None:
        """Forget those tokens of which `wanted` is true, and all that descend from them."""
        gone: set[str] = set()
        for token in self.by_id.values():  # parents come first
            if wanted(token) or token.parent in gone:
                gone.add(token.id)
        for id in gone:
            token = self.by_id.pop(id)
            self.by_hash.pop(token.hash, None)
            self._foreign.pop(id, None)

    def drop_tree(self, id: str) -> None:
        """Forget one token and all that descend from it."""
        self.drop(lambda token: token.id == id)

    def drop_foreign(self, wanted: Callable[[Token], bool]) -> None:
        """Forget those of other issuers of which `wanted` is true."""
        self.drop(lambda token: token.foreign and wanted(token))

    def _put(self, token: Token) -> None:
        self.by_hash[token.hash] = token
        self.by_id[token.id] = token

    def _base_of(self, token: Token) -> Grants | None:
        if token.parent is None:
            return self._grants_of(token.agent)
        parent = self.by_id.get(token.parent)
        proved = None if parent is None or parent.agent != token.agent else self.agent_of(parent)
        return None if proved is None else proved.grants


def new_secret(env: Env) -> str:
    """A new token: `hub_` and 256 random bits."""
    return _PREFIX + base64.urlsafe_b64encode(env.random_bytes(_SECRET_BYTES)).rstrip(b"=").decode()


def is_token(text: str) -> bool:
    """Whether it has the shape of one of the hub's own."""
    return len(text) == _LENGTH and text.startswith(_PREFIX)


def hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _within(token: Token, base: Grants) -> Grants | None:
    """What its scope leaves of `base`: the very same object where there is none."""
    if token.scope is None:
        return base
    from hub.identity import scopes

    try:
        return scopes.grants(token.scope, within=base, name=f"token {token.id}")
    except ManifestError as error:
        # Written by a version that knew more: what it means is not known, so it means nothing.
        log.warning(
            "token %s of agent %s proves nothing: its scope cannot be read: %s", token.id, token.agent, error
        )
        return None
