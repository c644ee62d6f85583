"""The hub's own logins at servers: kept sealed, made anew before they are over, one renewal at a time.

A login belongs to a server, or to a server and an agent whose calls then use that account and no other. It is
sent to the address that it was made for, and to nothing else. It is never an agent's token (threat T12).
`hub/commands/login.py` makes them; this file only goes on with them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from connectors.base import Bearer, ConfigError, LinkError, LoginNeeded
from connectors.jsonrpc import Budget, Malformed, encode, parse
from hub.env import Env
from hub.errors import HomeError, NoThread
from hub.model import Json
from hub.secrets_file import SecretFile
from hub.threads import in_thread

if TYPE_CHECKING:
    from connectors import oauth
    from connectors.http import Http
    from connectors.oauth_metadata import Sites
    from connectors.oauth_settings import OAuth

__all__ = ["Login", "Logins", "key_of", "shown", "sites_of"]

log = logging.getLogger(__name__)

_BUDGET: Final = Budget(1024 * 1024, 10_000)
_EARLY_SECONDS: Final = 60.0
_REFUSED_SECONDS: Final = 10.0
"""A token that is refused so soon after it was made will not be accepted by making another."""
_PASSING: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


def key_of(server: str, agent: str | None) -> str:
    """What a login is kept under. Neither name can hold a space."""
    return server if agent is None else f"{server} {agent}"


def sites_of(connect: Http, expand: Callable[[str], str], home: Path) -> Sites:
    """What may be reached on behalf of a server. Raises `ConfigError`: a variable is not set."""
    from connectors.oauth_metadata import Sites  # a hub without servers over HTTP needs none of this

    ca = None if connect.ca is None else home / expand(connect.ca)
    return Sites(expand(connect.url), connect.allow_private, ca)


@dataclass(frozen=True, slots=True)
class Login:
    """What a login got, with all that it takes to go on with it. Secret as a whole."""

    url: str
    """Of the server that it is for."""
    issuer: str
    token_url: str
    revoke_url: str | None
    client_id: str
    client_secret: str | None
    proof: oauth.Proof
    resource: str
    scopes: tuple[str, ...]
    access: str
    refresh: str | None
    lasts: int | None
    """How many seconds the access token counts from when it was given."""
    ends: int | None
    """When it is over: seconds since 1970."""

    @property
    def client(self) -> oauth.Client:
        from connectors import oauth

        return oauth.Client(self.client_id, self.client_secret, self.proof)

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(each for each in (self.access, self.refresh, self.client_secret) if each)

    def with_tokens(self, tokens: oauth.Tokens, now: float) -> Login:
        lasts = None if tokens.seconds is None else int(tokens.seconds)
        return replace(
            self,
            access=tokens.access,
            refresh=tokens.refresh or self.refresh,
            scopes=tokens.scopes or self.scopes,
            lasts=lasts,
            ends=None if lasts is None else int(now) + lasts,
        )

    def text(self) -> str:
        return encode(asdict(self)).decode()

    @classmethod
    def read(cls, text: str) -> Login:
        """Raises `ConfigError`: another version of the hub wrote it."""
        try:
            said = parse(text.encode(), _BUDGET)
            return cls(**{**said, "scopes": tuple(said["scopes"])})
        except (Malformed, TypeError, KeyError):
            raise ConfigError("its login cannot be read; log in anew") from None


def shown(file: SecretFile, server: str) -> list[Json]:
    """The logins at a server, for people: no token, and nothing that could be one.

    Raises:
        HomeError, ConfigError: one cannot be read.
    """
    found = []
    for key in file.names():
        name, _, agent = key.partition(" ")
        text = file.get(key) if name == server else None
        if text is not None:
            login = Login.read(text)
            said: Json = {"agent": agent or None, "issuer": login.issuer, "scopes": [*login.scopes]}
            found.append({**said, "ends": login.ends, "renewable": login.refresh is not None})
    return found


class Logins:
    def __init__(self, file: SecretFile, env: Env, learn: Callable[[Iterable[str]], None]) -> None:
        """
        Args:
            learn: Is told every secret value, so that no log repeats one.
        """
        self._file = file
        self._env = env
        self._learn = learn
        self._accounts: dict[str, _Account] = {}
        self._agents: Mapping[str, frozenset[str]] = {}

    async def reload(self) -> None:
        """Take up what there is. Links that are open go on with what they have."""
        agents: dict[str, set[str]] = {}
        try:
            names = await in_thread(self._file.names)
        except HomeError as error:
            log.warning("%s", error)
            names = []
        for name in names:
            server, _, agent = name.partition(" ")
            if agent:
                agents.setdefault(server, set()).add(agent)
        self._agents = {server: frozenset(each) for server, each in agents.items()}
        for account in self._accounts.values():
            account.look_again()

    def agents(self, server: str) -> frozenset[str] | None:
        """The agents that have an account of their own at a server; `None` for none, which is quick."""
        return self._agents.get(server)

    def access(
        self, server: str, connect: Http, agent: str | None, sites: Sites, expand: Callable[[str], str]
    ) -> _Access | _OwnAccess:
        """Where a link to the server gets its token from. Reads nothing yet."""
        if connect.oauth is not None and connect.oauth.grant == "client_credentials":
            return _OwnAccess(connect.oauth, sites, expand, self._env, self._learn)
        key = key_of(server, agent)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account(key, self._file, self._env, self._learn)
        return _Access(account, sites)


class _Account:
    """One login, whatever links use it."""

    def __init__(self, key: str, file: SecretFile, env: Env, learn: Callable[[Iterable[str]], None]) -> None:
        self._key = key
        self._file = file
        self._env = env
        self._learn = learn
        self._lock = anyio.Lock()
        self._login: Login | None = None
        self._text: str | None = None
        """As it is in the file."""
        self._is_stale = True
        self._lost: str | None = None
        self._made = -_REFUSED_SECONDS

    def look_again(self) -> None:
        """The file may hold another one now. (It is the same object to all its links, so that an old link and
        a new one never renew at once.)"""
        self._is_stale = True

    async def current(self, sites: Sites) -> Bearer | None:
        async with self._lock:
            login = await self._get(sites)
            if login is None:
                return None
            left = self._left(login)
            if left is not None and left <= 0:
                try:
                    login = await self._renew(login, sites)
                except LoginNeeded:
                    raise
                except LinkError:
                    # It is asked for early: until its end the old one counts.
                    if login.ends is None or login.ends <= self._env.now():
                        raise
            return self._bearer(login)

    async def renewed(self, refused: str, sites: Sites) -> Bearer | None:
        async with self._lock:
            login = await self._get(sites)
            if login is None:
                return None
            if login.access == refused:
                if self._env.monotonic() - self._made < _REFUSED_SECONDS:
                    raise LoginNeeded("the server refuses its login, although that was just renewed")
                login = await self._renew(login, sites)
            return self._bearer(login)

    async def _get(self, sites: Sites) -> Login | None:
        if self._is_stale:
            await self._read()
        if self._login is not None and self._login.url != sites.url:
            raise LoginNeeded(
                "its login is for another address than its manifest has now, and is not sent there"
            )
        return self._login

    async def _read(self) -> None:
        try:
            text = await in_thread(self._file.get, self._key)
        except HomeError as error:
            raise ConfigError(str(error)) from None
        except NoThread as error:
            raise LinkError(str(error), sent=False) from None
        if text != self._text:
            self._lost, self._made = None, -_REFUSED_SECONDS
        self._text, self._login = text, None if text is None else Login.read(text)
        self._is_stale = False
        if self._login is not None:
            self._learn(self._login.secrets)

    def _left(self, login: Login) -> float | None:
        """After how many seconds it should be made anew; `None` where nobody knows."""
        if login.ends is None or login.lasts is None:
            return None
        return login.ends - min(_EARLY_SECONDS, login.lasts / 4) - self._env.now()

    def _bearer(self, login: Login) -> Bearer:
        left = self._left(login)
        return Bearer(login.access, None if left is None else max(left, 1.0))

    async def _renew(self, login: Login, sites: Sites) -> Login:
        """Raises `LoginNeeded`, `LinkError`."""
        from connectors import oauth

        if self._lost is not None:
            raise LoginNeeded(self._lost)
        if login.refresh is None:
            raise LoginNeeded("its login is over, and cannot be renewed")
        # Whoever asks may give up meanwhile; the old refresh token may be worth nothing by then, so that
        # what came has to be kept. Bounded by the request's own limit.
        with anyio.CancelScope(shield=True):
            try:
                tokens = await oauth.refresh(
                    sites, login.token_url, login.client, token=login.refresh, resource=login.resource
                )
            except oauth.Refused as refused:
                if refused.error in _PASSING:
                    raise LinkError(str(refused), sent=False) from None
                self._lost = f"its login is over: {refused}"
                raise LoginNeeded(self._lost) from None
            except LinkError as error:
                raise LinkError(f"its login could not be renewed: {error.reason}", sent=False) from None
            made = login.with_tokens(tokens, self._env.now())
            self._learn(made.secrets)
            self._made = self._env.monotonic()
            await self._keep(made)
        return made

    async def _keep(self, made: Login) -> None:
        text = made.text()
        try:
            assert self._text is not None
            if not await in_thread(self._file.change, self._key, self._text, text):
                log.info("%s: somebody has logged in or out meanwhile: that counts", self._key)
                self._is_stale = True
        except (HomeError, NoThread) as error:
            log.warning("%s: its renewed login is not kept, so it ends with the hub: %s", self._key, error)
        self._login, self._text = made, text


class _Access:
    """A login, for one link. See `connectors.base.Access`."""

    def __init__(self, account: _Account, sites: Sites) -> None:
        self._account = account
        self._sites = sites

    async def current(self) -> Bearer | None:
        return await self._account.current(self._sites)

    async def renewed(self, refused: str) -> Bearer | None:
        return await self._account.renewed(refused, self._sites)


class _OwnAccess:
    """The hub as who asks (`client_credentials`): no person, and nothing to keep."""

    def __init__(
        self,
        settings: OAuth,
        sites: Sites,
        expand: Callable[[str], str],
        env: Env,
        learn: Callable[[Iterable[str]], None],
    ) -> None:
        self._settings = settings
        self._sites = sites
        self._expand = expand
        self._env = env
        self._learn = learn
        self._lock = anyio.Lock()
        self._token: str | None = None
        self._made = -_REFUSED_SECONDS

    async def current(self) -> Bearer | None:
        async with self._lock:
            return await self._ask()

    async def renewed(self, refused: str) -> Bearer | None:
        async with self._lock:
            if self._token == refused and self._env.monotonic() - self._made < _REFUSED_SECONDS:
                return None
            return await self._ask()

    async def _ask(self) -> Bearer:
        from connectors import oauth
        from connectors.oauth_metadata import find_issuer, find_resource

        settings = self._settings
        assert settings.issuer and settings.client_id and settings.client_secret
        issuer = await find_issuer(self._sites, settings.issuer)
        resource = await find_resource(self._sites, None)
        secret = self._expand(settings.client_secret)
        client = oauth.known_client(issuer, self._expand(settings.client_id), secret)
        try:
            tokens = await oauth.client_credentials(
                self._sites, issuer.token, client, resource=resource.resource, scopes=settings.scopes
            )
        except oauth.Refused as refused:
            if refused.error in _PASSING:
                raise LinkError(str(refused), sent=False) from None
            raise ConfigError(f"{refused}. Check `oauth` below `url` in its manifest.") from None
        self._learn((tokens.access, secret))
        self._token, self._made = tokens.access, self._env.monotonic()
        seconds = tokens.seconds
        early = None if seconds is None else max(seconds - min(_EARLY_SECONDS, seconds / 4), 1.0)
        return Bearer(tokens.access, early)
