"""The hub as a client of authorization servers: what it asks them for, and what their answers mean.

Authorization codes with PKCE, refreshing, and client credentials; each token is for one resource (RFC 8707).
Keeps nothing, and makes no random value of its own. No token, code or secret is in any message.

Source: OAuth 2.1 draft, RFC 7009, 7591, 7636, 8252, 8707, 9207; spec 2026-07-28, basic/authorization.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

from connectors.base import ConfigError, Json, LinkError
from connectors.http_headers import is_value
from connectors.http_response import Response, status_text
from connectors.jsonrpc import Budget, Malformed, encode, parse
from connectors.oauth_challenge import scopes_of
from connectors.oauth_metadata import Issuer, Sites

__all__ = [
    "Client", "Refused", "Tokens", "authorization_url", "client_credentials", "code_of", "known_client",
    "redeem", "refresh", "register", "revoke",
]  # fmt: skip

_BUDGET: Final = Budget(256 * 1024, 20_000)
_FORM: Final = "application/x-www-form-urlencoded"
_SECONDS_MAX: Final = 10 * 365 * 86_400.0
_word = re.compile(r"[a-z][a-z0-9_.-]{0,63}")

Proof = Literal["none", "client_secret_basic", "client_secret_post"]


class Refused(Exception):
    """The authorization server said no, in OAuth's own way. `str()` is a sentence; `error` its word."""

    def __init__(self, where: str, error: str) -> None:
        super().__init__(f"the authorization server {where} refused: {error}")
        self.error = error


@dataclass(frozen=True, slots=True)
class Client:
    """As whom the hub is known to one authorization server."""

    id: str
    secret: str | None = None
    proof: Proof = "none"


@dataclass(frozen=True, slots=True)
class Tokens:
    access: str
    refresh: str | None
    seconds: float | None
    """How long the first one counts; `None` where that was not said."""
    scopes: tuple[str, ...]


def known_client(issuer: Issuer, id: str, secret: str | None) -> Client:
    """The client that somebody has registered by hand."""
    return Client(id, secret, "none" if secret is None else _proof(issuer))


def _proof(issuer: Issuer) -> Proof:
    return "client_secret_basic" if "client_secret_basic" in issuer.methods else "client_secret_post"


async def register(sites: Sites, issuer: Issuer, redirect: str, scopes: tuple[str, ...]) -> Client:
    """Have the hub registered as a client (RFC 7591).

    Raises:
        Refused: it does not want to.
        LinkError: no answer that can be used.
    """
    assert issuer.register is not None
    wanted: Proof = "none" if "none" in issuer.methods else _proof(issuer)
    metadata: Json = {
        "client_name": "MCP tool hub",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": wanted,
        "application_type": "native",
    }
    if scopes:
        metadata["scope"] = " ".join(scopes)
    headers = {"Content-Type": "application/json"}
    response = await sites.ask("POST", issuer.register, headers=headers, body=encode(metadata))
    said = _answer(response, issuer.register)
    id, secret, proof = (
        said.get("client_id"),
        said.get("client_secret"),
        said.get("token_endpoint_auth_method"),
    )
    if not isinstance(id, str) or not id or not isinstance(secret, str | None):
        raise LinkError(
            f"the authorization server {_host(issuer.register)} registered a client without an id"
        )
    if proof is None:
        proof = wanted
    if proof not in ("none", "client_secret_basic", "client_secret_post"):
        raise LinkError(
            f"the authorization server {_host(issuer.register)} wants clients to prove themselves in a way "
            "that is not supported here"
        )
    if proof != "none" and secret is None:
        raise LinkError(f"the authorization server {_host(issuer.register)} gave no secret to prove with")
    return Client(id, secret if proof != "none" else None, proof)


def authorization_url(
    issuer: Issuer,
    client: Client,
    *,
    redirect: str,
    resource: str,
    scopes: tuple[str, ...],
    state: str,
    verifier: str,
) -> str:
    """Where a person says yes or no, in a browser."""
    assert issuer.authorize is not None
    digest = hashlib.sha256(verifier.encode()).digest()
    said = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": redirect,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "state": state,
        "resource": resource,
    }
    if scopes:
        said["scope"] = " ".join(scopes)
    if "offline_access" in scopes:
        said["prompt"] = "consent"  # OpenID Connect: otherwise it need not count
    joint = "&" if urlsplit(issuer.authorize).query else "?"
    return f"{issuer.authorize}{joint}{urlencode(said)}"


def code_of(answer: Mapping[str, str], issuer: Issuer) -> str:
    """The code that a redirect brought. Its `state` has been looked at before.

    Raises:
        Refused: the person, or the authorization server, said no.
        LinkError: it is not of this authorization server (RFC 9207), or holds no code.
    """
    iss = answer.get("iss")
    if iss is not None and iss != issuer.issuer:
        raise LinkError("the answer is of another authorization server than was asked: not used")
    if iss is None and issuer.says_who:
        raise LinkError("the answer does not say of which authorization server it is, and should: not used")
    if "error" in answer:
        raise Refused(_host(issuer.issuer), _error_word(answer["error"]))
    code = answer.get("code")
    if not code:
        raise LinkError("the answer of the authorization server holds no code")
    return code


async def redeem(
    sites: Sites, token_url: str, client: Client, *, code: str, redirect: str, verifier: str, resource: str
) -> Tokens:
    """Tokens for a code. Raises `Refused`, `LinkError`."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect}
    return await _tokens(sites, token_url, client, {**form, "code_verifier": verifier, "resource": resource})


async def refresh(sites: Sites, token_url: str, client: Client, *, token: str, resource: str) -> Tokens:
    """New tokens. The old refresh token may be worth nothing from then on. Raises `Refused`, `LinkError`."""
    form = {"grant_type": "refresh_token", "refresh_token": token, "resource": resource}
    return await _tokens(sites, token_url, client, form)


async def client_credentials(
    sites: Sites, token_url: str, client: Client, *, resource: str, scopes: tuple[str, ...]
) -> Tokens:
    """A token for the hub itself. Raises `Refused`, `LinkError`."""
    form = {"grant_type": "client_credentials", "resource": resource}
    if scopes:
        form["scope"] = " ".join(scopes)
    return await _tokens(sites, token_url, client, form)


async def revoke(sites: Sites, url: str, client: Client, token: str) -> None:
    """Have a token end (RFC 7009). Raises `Refused`, `LinkError`: it may not have."""
    headers, form = _proven(client, {"token": token})
    response = await sites.ask("POST", url, headers=headers, body=urlencode(form).encode())
    if response.status != 200:
        _answer(response, url)


async def _tokens(sites: Sites, url: str, client: Client, form: dict[str, str]) -> Tokens:
    headers, form = _proven(client, form)
    said = _answer(await sites.ask("POST", url, headers=headers, body=urlencode(form).encode()), url)
    access, again, kind = said.get("access_token"), said.get("refresh_token"), said.get("token_type")
    if not isinstance(access, str) or not is_value(access) or not isinstance(again, str | None):
        raise LinkError(f"the authorization server {_host(url)} gave no token that can be sent")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise LinkError(f"the authorization server {_host(url)} gave a token of another type than Bearer")
    return Tokens(access, again or None, _seconds(said.get("expires_in")), scopes_of(said.get("scope")))


def _proven(client: Client, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Headers and form, with what proves the client (RFC 6749, 2.3.1)."""
    headers = {"Content-Type": _FORM}
    if client.proof == "client_secret_basic":
        pair = f"{quote(client.id, safe='')}:{quote(client.secret or '', safe='')}"
        return {**headers, "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, form
    form = {**form, "client_id": client.id}
    if client.proof == "client_secret_post":
        form["client_secret"] = client.secret or ""
    return headers, form


def _answer(response: Response, url: str) -> Mapping[str, Any]:
    """The JSON object of an answer with 200 or 201.

    Raises:
        Refused: it is an error as OAuth has them.
        LinkError: it is anything else.
    """
    try:
        said = parse(response.body, _BUDGET)
    except Malformed:
        said = None
    if isinstance(said, dict):
        if response.status in (200, 201) and "error" not in said:
            return said
        if isinstance(said.get("error"), str) and response.status < 500 and response.status != 429:
            raise Refused(_host(url), _error_word(said["error"]))
    what = f"{status_text(response.status)}{'' if isinstance(said, dict) else ', and no JSON object'}"
    raise LinkError(f"the authorization server {_host(url)} answered {what}")


def _error_word(error: str) -> str:
    """The word of an error, where it is one: never what else is said, which may quote anything."""
    return error if _word.fullmatch(error) else "an error without a name"


def _seconds(said: Any) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        return min(max(float(said), 0.0), _SECONDS_MAX)
    except ValueError:
        return None


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2][:200]
    except ValueError:
        raise ConfigError("the URL of an authorization server cannot be read") from None
