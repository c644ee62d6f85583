"""Which authorization server gives out tokens for an MCP server, and how it is spoken with.

From the server's own 401 to its metadata, to that of its authorization server. Every URL in between was
named by somebody else: it is https (this machine apart), it is reached only as far as `Sites` lets it, and
metadata that is not of whom it was asked for is refused (threats T13, T15).

Source: RFC 9728, RFC 8414, OpenID Connect Discovery 1.0; specification 2026-07-28, basic/authorization.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from connectors.base import LinkError
from connectors.fetch import ask
from connectors.http_connect import Address
from connectors.http_reach import Reach
from connectors.http_response import Response, status_text
from connectors.jsonrpc import Budget, Malformed, parse
from connectors.oauth_challenge import Challenge, scopes_of

__all__ = ["Issuer", "Resource", "Sites", "find_issuer", "find_resource"]

_BUDGET: Final = Budget(256 * 1024, 20_000)


@dataclass(frozen=True, slots=True)
class Sites:
    """What may be reached on behalf of one MCP server."""

    url: str
    """The server's own, as its manifest has it, filled in."""
    allow_private: bool = False
    ca: Path | None = None

    def reach(self, url: str) -> Reach:
        """How far a URL may lead: to what its manifest names itself, else to public addresses only."""
        if self.allow_private:
            return "any"
        return "named" if Address.parse(url).host == Address.parse(self.url).host else "public"

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Raises `ConfigError`, `LinkError`."""
        return await ask(method, url, headers=headers, body=body, reach=self.reach(url), ca=self.ca)


@dataclass(frozen=True, slots=True)
class Resource:
    """The MCP server, as authorization servers know it."""

    resource: str
    issuer: str
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authorization server."""

    issuer: str
    token: str
    authorize: str | None = None
    register: str | None = None
    revoke: str | None = None
    methods: tuple[str, ...] = ("client_secret_basic",)
    """How clients may prove who they are at `token`."""
    scopes: tuple[str, ...] = ()
    takes_documents: bool = False
    """Whether a client may be known by the URL of its metadata."""
    says_who: bool = False
    """Whether its answers carry `iss` (RFC 9207)."""
    pkce: bool = False


async def find_resource(sites: Sites, challenge: Challenge | None) -> Resource:
    """Who gives out tokens for the server.

    Raises:
        LinkError: it does not say, or says what cannot be believed.
    """
    address = Address.parse(sites.url)
    path = address.target.partition("?")[0].rstrip("/")
    well_known = f"{address.origin}/.well-known/oauth-protected-resource"
    named = challenge.metadata if challenge is not None else None
    for url in [named] if named else list(dict.fromkeys((well_known + path, well_known))):
        said = await _document(sites, url, needed=named is not None)
        if said is not None:
            return _resource(sites.url, url, said)
    # Before 2025-06-18 a server was its own authorization server, or stood beside it.
    return Resource(address.origin + path, address.origin)


def _resource(server: str, url: str, said: Mapping[str, Any]) -> Resource:
    resource, servers = said.get("resource"), said.get("authorization_servers")
    if not isinstance(resource, str) or not _covers(resource, server):
        raise LinkError(f"{_where(url)} is about another resource than the server: not believed")
    issuers = [each for each in servers if isinstance(each, str)] if isinstance(servers, list) else []
    if not issuers:
        raise LinkError(f"{_where(url)} names no authorization server")
    return Resource(resource, issuers[0], scopes_of(said.get("scopes_supported")))


def _covers(resource: str, server: str) -> bool:
    """Whether a token for `resource` is one for the server: the same origin, and its path or one above."""
    try:
        ours, theirs = Address.parse(server), Address.parse(resource)
    except ValueError:
        return False
    if ours.origin != theirs.origin or "?" in theirs.target or "#" in resource:
        return False
    return f"{ours.target.partition('?')[0].rstrip('/')}/".startswith(f"{theirs.target.rstrip('/')}/")


async def find_issuer(sites: Sites, issuer: str) -> Issuer:
    """How an authorization server is spoken with.

    Raises:
        LinkError: it does not say, or says what cannot be believed.
    """
    _check(issuer, "its authorization server")
    for url in _metadata_urls(issuer):
        said = await _document(sites, url, needed=False)
        if said is not None:
            return _issuer(issuer, url, said)
    raise LinkError(f"the authorization server {_where(issuer)} has no metadata (RFC 8414)")


def _metadata_urls(issuer: str) -> Iterator[str]:
    address = Address.parse(issuer)
    path = address.target.rstrip("/")
    yield f"{address.origin}/.well-known/oauth-authorization-server{path}"
    yield f"{address.origin}/.well-known/openid-configuration{path}"
    if path:
        yield f"{address.origin}{path}/.well-known/openid-configuration"


def _issuer(issuer: str, url: str, said: Mapping[str, Any]) -> Issuer:
    if said.get("issuer") not in (issuer, issuer.rstrip("/"), f"{issuer}/"):
        raise LinkError(f"{_where(url)} is about another authorization server than it should: not believed")
    ends = {}
    for key in ("authorization", "token", "registration", "revocation"):
        end = said.get(f"{key}_endpoint")
        if isinstance(end, str):
            ends[key] = _check(end, f"the {key} endpoint of {_where(issuer)}")
    if "token" not in ends:
        raise LinkError(f"{_where(url)} names no token endpoint")
    challenges = said.get("code_challenge_methods_supported")
    methods = said.get("token_endpoint_auth_methods_supported")
    return Issuer(
        str(said["issuer"]),
        ends["token"],
        ends.get("authorization"),
        ends.get("registration"),
        ends.get("revocation"),
        tuple(map(str, methods)) if isinstance(methods, list) else ("client_secret_basic",),
        scopes_of(said.get("scopes_supported")),
        said.get("client_id_metadata_document_supported") is True,
        said.get("authorization_response_iss_parameter_supported") is True,
        isinstance(challenges, list) and "S256" in challenges,
    )


async def _document(sites: Sites, url: str, *, needed: bool) -> Mapping[str, Any] | None:
    """The JSON object at a URL; `None` where there is none and none is needed."""
    _check(url, "the metadata")
    response = await sites.ask("GET", url)
    if response.status != 200:
        if needed or response.status >= 500 or response.status == 429:
            raise LinkError(f"{_where(url)} answered {status_text(response.status)}")
        return None
    try:
        said = parse(response.body, _BUDGET)
    except Malformed:
        said = None
    if not isinstance(said, dict):
        if not needed:
            return None  # a web site that has a page for everything
        raise LinkError(f"what is at {_where(url)} is no JSON object")
    return said


def _check(url: str, what: str) -> str:
    """The URL, where credentials may be sent to it.

    Raises:
        LinkError: they may not.
    """
    try:
        address = Address.parse(url)
    except ValueError as error:
        raise LinkError(f"{what}: {error}") from None
    if not url.isascii():
        raise LinkError(f"{what}: a URL is ASCII; what else is in it could look like another")
    if address.scheme != "https" and not address.is_loopback:
        raise LinkError(f"{what} ({address.authority}) is not https: nothing is sent to it")
    return url


def _where(url: str) -> str:
    """A URL for people: without what a query may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]
