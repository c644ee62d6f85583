"""The kind `url`: an MCP server over Streamable HTTP. Its configuration, and how a link is opened.

The wire is our own (`http_connection`, `http_pool`, `http_link`): a general HTTP client costs
more than ten times the CPU of everything else that the hub does with a call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from connectors.base import ConfigError, Context, Link
from connectors.http_access import AccessPool, Carried
from connectors.http_connect import Address, Route, proxy_for, tls_context
from connectors.http_headers import is_name, is_value
from connectors.http_link import HttpLink
from connectors.http_pool import CONNECTIONS_MAX, Pool
from connectors.http_reach import Reach
from connectors.http_requests import Requests
from connectors.oauth_settings import OAuth

__all__ = ["Http"]

_OURS: Final = frozenset(
    (
        *("host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "te"),
        *("trailer", "upgrade", "expect", "accept", "accept-encoding", "user-agent", "proxy-authorization"),
        *("proxy-connection", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name"),
        "last-event-id",
    )
)
_OUR_PREFIX: Final = "mcp-param-"

SIDE_CONNECTIONS_MAX: Final = 64
"""For all that is not a request: listening, cancelling, answers to a server's questions. Apart,
because a call may be waiting for just such an answer."""


class Http(BaseModel):
    """`url: https://host/mcp`, with the headers and the CA that the server needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    lasting: ClassVar[bool] = False

    url: str
    """http or https, without name and password."""
    headers: dict[str, str] = {}
    """Sent with every request, `Authorization` for example."""
    ca: str | None = None
    """A file of CA certificates (PEM) to trust instead of the system's."""

    oauth: OAuth | None = None
    """What a login needs besides what the server says itself."""

    allow_private: bool = False
    """Whether its name may lead to an address that is not of the public internet. One that `url` names
    itself, as a number or as `localhost`, always may be connected to."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if "${" not in url:  # otherwise it is known when the variables are
            Address.parse(url)
        return url

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        seen = set()
        for name in headers:
            lower = name.lower()
            if not is_name(name):
                raise ValueError(f"{name!r:.60} is no name of a header")
            if lower in _OURS or lower.startswith(_OUR_PREFIX):
                raise ValueError(f"{name} is set by the connection itself")
            if lower in seen:
                raise ValueError(f"{name} is given twice")
            seen.add(lower)
        return headers

    @model_validator(mode="after")
    def _check_oauth(self) -> Http:
        if self.oauth is not None and not self.takes_token:
            raise ValueError("has both `oauth` and a header `Authorization`. Keep one of the two.")
        return self

    @property
    def takes_token(self) -> bool:
        """Whether a token of a login may be sent: its manifest gives no credential for the same place."""
        return all(name.lower() != "authorization" for name in self.headers)

    def describe(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def missing(self) -> str | None:
        return None

    async def prepare(self, context: Context) -> None:
        """Nothing: whatever it takes is at the other end."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Link]:
        """See `Connector.open`. The environment's proxies are read here, once for the link."""
        requests, route = await self._resolve(context)
        limit = min(context.concurrent_max or CONNECTIONS_MAX, CONNECTIONS_MAX)
        size, hold = context.message_bytes_max, partial(context.large.hold, context.name)
        carried = await self._carried(context)
        calls, side = (
            Pool(route, body_bytes_max=size, hold=hold, connections_max=most)
            if carried is None
            else AccessPool(carried, route, body_bytes_max=size, hold=hold, connections_max=most)
            for most in (limit, SIDE_CONNECTIONS_MAX)
        )
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                link = HttpLink(requests, calls, side, context, tasks)
                try:
                    if carried is not None:
                        tasks.start_soon(carried.keep)
                    await link.start()
                    yield link
                except Exception as error:
                    failure = error  # raised outside, so that no exception group is made of it
                finally:
                    tasks.cancel_scope.cancel()
                    await link.end()
            if failure is not None:
                raise failure
        finally:
            await calls.close()
            await side.close()

    async def _carried(self, context: Context) -> Carried | None:
        """The token of a login, if there is one."""
        if context.access is None or not self.takes_token:
            return None
        bearer = await context.access.current()
        return None if bearer is None else Carried(context.access, bearer)

    async def _resolve(self, context: Context) -> tuple[Requests, Route]:
        """Everything that does not change while the link is open."""
        try:
            address = Address.parse(context.expand(self.url))
        except ValueError as error:
            raise ConfigError(f"url: {error}") from None
        headers = {}
        for name, text in self.headers.items():
            value = context.expand(text)
            if not is_value(value):
                raise ConfigError(
                    f"headers: {name}: a header holds visible ASCII characters and no line end, "
                    "not at its end either (its value is not shown here)"
                )
            headers[name] = value
        tls = None
        if address.scheme == "https":
            ca = context.home / context.expand(self.ca) if self.ca is not None else None
            tls = await anyio.to_thread.run_sync(tls_context, ca)
        proxy = proxy_for(address)
        in_the_clear = proxy if tls is None else None
        reach: Reach = "any" if self.allow_private else "named"
        return Requests(address, headers, context.client, in_the_clear), Route(address, tls, proxy, reach)
