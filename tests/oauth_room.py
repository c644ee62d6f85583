"""An authorization server, and MCP servers that want its tokens: small, real, strict, on loopback.

The authorization server checks what RFC 6749, 7636, 8707 have it check, rotates refresh tokens, and ends a
login whose old refresh token comes a second time. What it does wrong, a test tells it. Both keep every byte.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import anyio
import httpx

from tests.servers.fault_http import Faulty, Request, discovered, http, result, serve

__all__ = ["Authority", "Guarded", "authority", "browse", "guarded"]


@dataclass
class Authority:
    server: Faulty
    seconds: int = 3600
    """How long access tokens count."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Of its metadata; `None` takes a key away."""
    answer_changes: dict[str, str | None] = field(default_factory=dict)
    """Of what it sends back through the browser."""
    refuses: dict[str, str] = field(default_factory=dict)
    """By grant type: the error that it answers with."""
    broken: bool = False
    """Whether its token endpoint answers 500."""
    hold: anyio.Event | None = None
    """What its token endpoint waits for."""
    user: str = "ada"
    """Who is logged in in the browser."""
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: dict[str, dict[str, str]] = field(default_factory=dict)
    """Live access tokens, and whose they are."""
    refresh: dict[str, dict[str, str]] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    granted: list[dict[str, str]] = field(default_factory=list)
    """Forms of token requests, in order."""
    revoked: list[str] = field(default_factory=list)
    _count: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def metadata(self) -> dict[str, Any]:
        said = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "revocation_endpoint": f"{self.url}/revoke",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
            "authorization_response_iss_parameter_supported": True,
            **self.changes,
        }
        return {key: value for key, value in said.items() if value is not None}

    def client(self, id: str, secret: str | None = None, redirect: str | None = None) -> None:
        """One that was registered by hand; any port of this machine is where it may come back to."""
        self.clients[id] = {"secret": secret, "redirect_uris": [redirect] if redirect else None}

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        path = urlsplit(request.target).path
        if path == "/.well-known/oauth-authorization-server":
            writer.write(http(200, json.dumps(self.metadata()).encode()))
        elif path == "/register":
            writer.write(self._register(request))
        elif path == "/authorize":
            writer.write(self._authorize(dict(parse_qsl(urlsplit(request.target).query))))
        elif path == "/token":
            if self.hold is not None:
                await self.hold.wait()
            writer.write(self._token(request))
        elif path == "/revoke":
            self.revoked.append(dict(parse_qsl(request.body.decode()))["token"])
            writer.write(http(200))
        else:
            writer.write(http(404))

    def _register(self, request: Request) -> bytes:
        asked = json.loads(request.body)
        id = self._new("client")
        self.clients[id] = {"secret": None, "redirect_uris": asked["redirect_uris"]}
        return http(201, json.dumps({**asked, "client_id": id}).encode())

    def _authorize(self, asked: dict[str, str]) -> bytes:
        client = self.clients[asked["client_id"]]
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
        assert client["redirect_uris"] in (None, [asked["redirect_uri"]])
        code = self._new("code")
        self.codes[code] = {**asked, "user": self.user}
        said: dict[str, str | None] = {"code": code, "state": asked["state"], "iss": self.url}
        said.update(self.answer_changes)
        query = urlencode({key: value for key, value in said.items() if value is not None})
        return http(302, b"", f"Location: {asked['redirect_uri']}?{query}")

    def _token(self, request: Request) -> bytes:
        form = dict(parse_qsl(request.body.decode()))
        self.granted.append(form)
        if self.broken:
            return http(500, b"")
        grant = form["grant_type"]
        if grant in self.refuses:
            return self._error(self.refuses[grant])
        id = self._proven(request, form)
        if id is None:
            return self._error("invalid_client")
        if grant == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            same = ("client_id", "redirect_uri", "resource")
            given = {**form, "client_id": id}
            if asked is None or asked["code_challenge"] != challenge:
                return self._error("invalid_grant")
            if any(asked.get(key) != given.get(key) for key in same):
                return self._error("invalid_grant")
            login = {"user": asked["user"], "resource": asked["resource"], "scope": asked.get("scope", "")}
        elif grant == "refresh_token":
            if form["refresh_token"] in self.spent:
                self.refresh.clear()
            found = self.refresh.pop(form["refresh_token"], None)
            if found is None or found["resource"] != form["resource"]:
                return self._error("invalid_grant")
            self.spent.add(form["refresh_token"])
            login = found
        else:
            login = {"user": id, "resource": form["resource"], "scope": form.get("scope", "")}
        return self._grant(login, grant != "client_credentials")

    def _grant(self, login: dict[str, str], lasting: bool) -> bytes:
        access = self._new("access-token")
        self.access[access] = login
        said: dict[str, Any] = {"access_token": access, "token_type": "bearer", "expires_in": self.seconds}
        if lasting:
            said["refresh_token"] = self._new("refresh-token")
            self.refresh[said["refresh_token"]] = login
        return http(200, json.dumps(said).encode())

    def _proven(self, request: Request, form: dict[str, str]) -> str | None:
        header = request.headers.get("authorization")
        id, secret = form.get("client_id", ""), form.get("client_secret")
        if header is not None:
            assert "client_secret" not in form
            pair = base64.b64decode(header.removeprefix("Basic ")).decode()
            id, secret = (unquote(part) for part in pair.split(":"))
        known = self.clients.get(id)
        return id if known is not None and known["secret"] == secret else None

    def _error(self, error: str) -> bytes:
        return http(400, json.dumps({"error": error, "error_description": "no: <b>really</b>"}).encode())

    def _new(self, what: str) -> str:
        self._count += 1
        return f"{what}-{self.server.port}-{self._count:06d}"


@dataclass
class Guarded:
    """An MCP server that lets in who has a token of its authorization server, made for it."""

    server: Faulty
    authority: Authority
    name: str = "tea"
    metadata_changes: dict[str, Any] = field(default_factory=dict)
    metadata: bool = True
    challenge: str | None = None
    leaks: bool = False
    """Whether its tool fails, and quotes the token that it was called with."""
    seen: list[str] = field(default_factory=list)
    """The `Authorization` of each request that had one."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/mcp"

    @property
    def everything(self) -> str:
        """All that ever came, for who looks for what must not be there."""
        return "\n".join(f"{each.target} {each.headers} {each.body!r}" for each in self.server.requests)

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        where = f"http://127.0.0.1:{self.server.port}/.well-known/oauth-protected-resource/mcp"
        if request.target.startswith("/.well-known/"):
            if not self.metadata or not request.target.endswith("oauth-protected-resource/mcp"):
                writer.write(http(404))
                return
            said = {
                "resource": self.url,
                "authorization_servers": [self.authority.url],
                **self.metadata_changes,
            }
            writer.write(http(200, json.dumps(said).encode()))
            return
        given = request.headers.get("authorization")
        if given is not None:
            self.seen.append(given)
        login = self.authority.access.get((given or "").removeprefix("Bearer "))
        if login is None or login["resource"] != self.url:
            challenge = self.challenge
            if challenge is None:
                challenge = (
                    f'Bearer realm="tea, or coffee", resource_metadata="{where}"'
                    if self.metadata
                    else "Bearer"
                )
            writer.write(http(401, b"", f"WWW-Authenticate: {challenge}"))
            return
        writer.write(self._answer(request, login))

    def _answer(self, request: Request, login: dict[str, str]) -> bytes:
        method = request.message["method"]
        if method == "server/discover":
            return discovered(request, tools={})
        if method == "tools/list":
            tool = {"name": "whoami", "inputSchema": {"type": "object"}}
            return http(200, result(request, {"tools": [tool], "resultType": "complete"}))
        said = f"401 for {self.seen[-1]}" if self.leaks else login["user"]
        content = [{"type": "text", "text": said}]
        answer = {"content": content, "isError": self.leaks, "resultType": "complete"}
        return http(200, result(request, answer))


@asynccontextmanager
async def authority() -> AsyncIterator[Authority]:
    made: list[Authority] = []

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await made[0].answer(request, writer)

    async with serve(answer) as server:
        made.append(Authority(server))
        yield made[0]


@asynccontextmanager
async def guarded(by: Authority) -> AsyncIterator[Guarded]:
    made: list[Guarded] = []

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await made[0].answer(request, writer)

    async with serve(answer) as server:
        made.append(Guarded(server, by))
        yield made[0]


async def browse(url: str) -> httpx.Response:
    """What a browser does with the address of a login, and what it gets in the end."""
    async with httpx.AsyncClient(timeout=10, trust_env=False, follow_redirects=True) as http_client:
        return await http_client.get(url)
