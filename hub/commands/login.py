"""Logging in at a server, once, by a person: what `hub login` and `hub logout` do.

Works in the command's own process, on the machine where the browser is or where the answer is pasted; the
hub only learns that there is another login now (`hub/kept_logins.py` goes on with it). Nothing of this can be
set off by a server or an agent.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread

from connectors import oauth
from connectors.base import MODERN_VERSIONS, ConfigError, LinkError
from connectors.children import Children
from connectors.http import Http
from connectors.jsonrpc import encode
from connectors.negotiate import stamp
from connectors.oauth_challenge import Challenge, challenge_of
from connectors.oauth_metadata import Issuer, Resource, Sites, find_issuer, find_resource
from connectors.oauth_redirect import Redirect, answer_in, listening
from connectors.oauth_settings import OAuth
from hub import __version__, settings
from hub.commands.remembered import picture
from hub.env import Env
from hub.failure import Failure
from hub.home import Home
from hub.kept_logins import Login, key_of, sites_of
from hub.manifests import manifest
from hub.manifests.manifest import ServerManifest
from hub.model import Json
from hub.secrets import secrets_of
from hub.secrets_file import logins_file
from hub.variables import expander, names_in

__all__ = ["LOGIN_SECONDS", "Ask", "log_in", "log_out"]

LOGIN_SECONDS: Final = 600.0
_REVOKE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ask:
    """How a person is asked."""

    show: Callable[[str], None]
    """Gets the URL at which to log in. Must not block."""
    pasted: Callable[[], AsyncIterator[str]] | None = None
    """What the person pastes: the address at which the browser ended, where that is on another machine."""
    seconds: float = LOGIN_SECONDS


async def log_in(
    home: Home, server: str, agent: str | None, ask: Ask, env: Env, *, scopes: tuple[str, ...] = ()
) -> Json:
    """Have a person log in at a server, and keep what that gives.

    Args:
        agent: For the calls of that agent only; `None` for all that have no account of their own.
        scopes: To be asked for besides those that a login there has already; left out: those of the
            manifest, or else of the server.

    Returns:
        Who gave it, for which scopes, and until when; nothing secret.

    Raises:
        Failure, HomeError: why it was not done. Nothing is kept then, and what was there stays.
    """
    connect = _connects(home, server, agent).connect
    assert isinstance(connect, Http)
    file = logins_file(home, env)
    if scopes:
        before = await anyio.to_thread.run_sync(file.get, key_of(server, agent))
        scopes = tuple(dict.fromkeys((*_scopes_of(before), *scopes)))
    try:
        async with _filled_in(home, connect, server, env) as expand:
            login = await _log_in(home, connect, expand, ask, env, scopes)
    except oauth.Refused as refused:
        raise Failure("unauthorized", f"{server}: {refused}.", "Nothing has changed.") from None
    except (LinkError, ConfigError) as error:
        raise Failure("upstream_failed", f"{server}: {error}", "Nothing has changed.") from None
    await anyio.to_thread.run_sync(file.set, key_of(server, agent), login.text())
    return {
        "server": server,
        "agent": agent,
        "issuer": login.issuer,
        "scopes": list(login.scopes),
        "renewable": login.refresh is not None,
        "ends": login.ends,
    }


def _scopes_of(text: str | None) -> tuple[str, ...]:
    try:
        return () if text is None else Login.read(text).scopes
    except ConfigError:
        return ()


async def log_out(home: Home, server: str, agent: str | None, env: Env) -> Json:
    """Forget a login, and have its tokens ended where its authorization server can do that.

    Raises:
        Failure: there is none.
        HomeError: the file cannot be used.
    """
    file, key = logins_file(home, env), key_of(server, agent)
    names = await anyio.to_thread.run_sync(file.names)
    if key not in names:
        who = f" of agent {agent!r:.80}" if agent is not None else ""
        known = ", ".join(f"`hub logout {name.replace(' ', ' --agent ')}`" for name in names)
        raise Failure(
            "not_found", f"There is no login{who} at {server!r:.80}.", known and f"There are: {known}."
        )
    text = await anyio.to_thread.run_sync(file.get, key)
    await anyio.to_thread.run_sync(file.remove, key)
    return {
        "server": server,
        "agent": agent,
        "revoked": text is not None and await _revoked(home, text, server),
    }


async def _revoked(home: Home, text: str, server: str) -> bool:
    """Whether its authorization server was told, and did it."""
    try:
        login = Login.read(text)
        if login.revoke_url is None:
            return False
        found = manifest.load(home.manifests).servers.get(server)
        sites = Sites(login.url)
        if found is not None and isinstance(found.connect, Http):
            ca = None if found.connect.ca is None else home.path / found.connect.ca
            sites = Sites(login.url, found.connect.allow_private, ca)
        with anyio.fail_after(_REVOKE_SECONDS):
            # Of the one that lasts the others end as well (RFC 7009, 2.1).
            await oauth.revoke(sites, login.revoke_url, login.client, login.refresh or login.access)
        return True
    except (ConfigError, LinkError, oauth.Refused, TimeoutError):
        return False


def _connects(home: Home, server: str, agent: str | None) -> ServerManifest:
    """Raises `Failure`: there is nothing to log in to."""
    known = picture(manifest.load(home.manifests), [])
    found = known.server_manifest(server)
    if agent is not None:
        known.agent_manifest(agent)
    connect = found.connect
    if not isinstance(connect, Http):
        raise Failure(
            "usage",
            f"Server {server!r} is no `url`: there is nothing to log in to.",
            "What it needs goes into `env`, as ${secret:NAME}.",
        )
    if not connect.takes_token:
        raise Failure(
            "usage",
            f"Server {server!r} has a header `Authorization` in its manifest, which counts.",
            f"Take it out of {found.file}, and log in again.",
        )
    if connect.oauth is not None and connect.oauth.grant != "login":
        raise Failure("usage", f"Server {server!r} needs no login: it has `grant: {connect.oauth.grant}`.")
    return found


@asynccontextmanager
async def _filled_in(home: Home, connect: Http, server: str, env: Env) -> AsyncIterator[Callable[[str], str]]:
    """What fills in variables and secrets, as the hub would."""
    names = names_in(connect)
    secrets = secrets_of(home, settings.load(home.settings), env)
    async with Children() as children:
        values = await secrets.find(names, children)
    yield expander(os.environ, home=home.path, data=home.data, secrets=values.get)


async def _log_in(
    home: Home, connect: Http, expand: Callable[[str], str], ask: Ask, env: Env, wanted: tuple[str, ...]
) -> Login:
    sites = sites_of(connect, expand, home.path)
    own = connect.oauth or OAuth()
    challenge = await _challenge(sites, {name: expand(value) for name, value in connect.headers.items()})
    resource = await find_resource(sites, challenge)
    issuer = await find_issuer(sites, own.issuer or resource.issuer)
    if issuer.authorize is None:
        raise LinkError(f"the authorization server {issuer.issuer} has no page to log in at")
    if not issuer.pkce:
        raise LinkError(
            f"the authorization server {issuer.issuer} does not say that it supports PKCE with S256, "
            "without which a login can be stolen on its way: not used"
        )
    scopes = wanted or own.scopes or (challenge.scopes if challenge else ()) or resource.scopes
    if scopes and "offline_access" in issuer.scopes and "offline_access" not in scopes:
        scopes = (*scopes, "offline_access")  # otherwise the login would have to be repeated soon
    state, verifier = _random(env), _random(env)
    async with listening(state, own.port) as redirect:
        document = settings.load(home.settings).client_id
        client = await _client(sites, issuer, own, expand, redirect.url, scopes, document)
        ask.show(
            oauth.authorization_url(
                issuer, client, redirect=redirect.url, resource=resource.resource, scopes=scopes, state=state,
                verifier=verifier,
            )
        )  # fmt: skip
        answer = await _answer(redirect, ask, state)
        code = oauth.code_of(answer, issuer)
        tokens = await oauth.redeem(
            sites, issuer.token, client, code=code, redirect=redirect.url, verifier=verifier,
            resource=resource.resource,
        )  # fmt: skip
    return _login(sites, issuer, resource, client, scopes, env).with_tokens(tokens, env.now())


def _login(
    sites: Sites, issuer: Issuer, resource: Resource, client: oauth.Client, scopes: tuple[str, ...], env: Env
) -> Login:
    return Login(
        url=sites.url,
        issuer=issuer.issuer,
        token_url=issuer.token,
        revoke_url=issuer.revoke,
        client_id=client.id,
        client_secret=client.secret,
        proof=client.proof,
        resource=resource.resource,
        scopes=scopes,
        access="",
        refresh=None,
        lasts=None,
        ends=None,
    )


async def _challenge(sites: Sites, headers: Mapping[str, str]) -> Challenge | None:
    """What the server says to who comes without a token."""
    version = MODERN_VERSIONS[-1]
    client = {"name": "hub", "version": __version__}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": stamp({}, version, client, {})}
    lines = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": "server/discover",
    }
    response = await sites.ask("POST", sites.url, headers={**headers, **lines}, body=encode(asked))
    return challenge_of(response) if response.status == 401 else None


async def _client(
    sites: Sites,
    issuer: Issuer,
    own: OAuth,
    expand: Callable[[str], str],
    redirect: str,
    scopes: tuple[str, ...],
    document: str | None,
) -> oauth.Client:
    if own.client_id is not None:
        secret = None if own.client_secret is None else expand(own.client_secret)
        return oauth.known_client(issuer, expand(own.client_id), secret)
    if document is not None and issuer.takes_documents:
        return oauth.known_client(issuer, document, None)
    if issuer.register is None:
        raise LinkError(
            f"the authorization server {issuer.issuer} registers no clients by itself. Register one there, "
            f"with {redirect} as where to come back to (or with any port), and write its id below `url` in "
            "the manifest: `oauth: {client_id: ...}`"
        )
    return await oauth.register(sites, issuer, redirect, scopes)


async def _answer(redirect: Redirect, ask: Ask, state: str) -> Mapping[str, str]:
    """What came back, through the browser here or by hand. Raises `LinkError`: nothing, in time."""
    found: list[Mapping[str, str]] = []
    with anyio.move_on_after(ask.seconds):
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                found.append(await redirect.answer())
                tasks.cancel_scope.cancel()

            async def read() -> None:
                assert ask.pasted is not None
                async for text in ask.pasted():
                    answer = answer_in(text.strip(), state)
                    if answer is not None:
                        found.append(answer)
                        tasks.cancel_scope.cancel()

            tasks.start_soon(wait)
            if ask.pasted is not None:
                tasks.start_soon(read)
    if not found:
        raise LinkError(f"nobody has logged in within {ask.seconds:g} s")
    return found[0]


def _random(env: Env) -> str:
    """256 bits, in characters that a URL and a code verifier may hold (RFC 7636, 4.1)."""
    return base64.urlsafe_b64encode(env.random_bytes(32)).rstrip(b"=").decode()
