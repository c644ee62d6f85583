"""Where an HTTP server is, and how a connection to it is made: names, TLS, proxies.

Nothing here sends a request to the server itself. Proxies are the ones that the environment
names (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, as urllib reads them); this machine
itself is never reached through one.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from connectors.base import ConfigError, LinkError
from connectors.http_connection import HEADERS_BYTES_MAX, Connection
from connectors.http_reach import Reach, addresses_of
from connectors.http_response import status_text

__all__ = ["Address", "Proxy", "Route", "proxy_for", "tls_context"]

_PORTS: Final = {"http": 80, "https": 443}
_unprintable = re.compile(r"[\x00-\x20\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says: an origin, and what to ask it for."""

    scheme: str
    host: str
    """In ASCII, without brackets."""
    port: int
    target: str
    """Path and query."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read an http or https URL. Its fragment is dropped.

        Raises:
            ValueError: what is wrong with it, without repeating it (it may hold a secret).
        """
        if _unprintable.search(url):
            raise ValueError("a URL holds no white space and no control characters")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise ValueError("a URL starts with http:// or https://")
        if "@" in parts.netloc:
            raise ValueError("a URL holds no name or password; use `headers: {Authorization: ...}`")
        try:
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        except ValueError:
            raise ValueError("the URL's host or port cannot be read") from None
        if not host or re.search(r"[^0-9a-z.:%_-]", host):
            raise ValueError("the URL names no host")
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], target)

    @property
    def authority(self) -> str:
        """`host` or `host:port`, as the `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def is_literal(self) -> bool:
        """Whether the host is an address and no name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Proxy:
    host: str
    port: int
    authorization: str | None
    """The value of `Proxy-Authorization`: secret."""

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(address: Address) -> Proxy | None:
    """The proxy that the environment names for this address, if any.

    Raises:
        ConfigError: it is of a kind that is not supported, or cannot be read.
    """
    proxies = getproxies_environment()
    url = proxies.get(address.scheme) or proxies.get("all")
    if not url or address.is_loopback:
        return None
    if proxy_bypass_environment(f"{address.host}:{address.port}", proxies):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    variable = f"{address.scheme.upper()}_PROXY or ALL_PROXY"
    if parts.scheme != "http":
        raise ConfigError(
            f"the proxy in {variable} is a {parts.scheme} proxy; only http:// proxies are supported. "
            f"Add {address.host} to NO_PROXY to reach it directly."
        )
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if not host:
        raise ConfigError(f"the proxy in {variable} cannot be read; it should look like http://host:port")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(host, port, authorization)


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Certificates are checked always: against the system's CAs, or against those in `ca` alone.

    Takes some tens of milliseconds.

    Raises:
        ConfigError: `ca` cannot be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except ssl.SSLError:
        raise ConfigError(f"ca: {ca} holds no certificate in PEM form") from None
    except OSError as error:
        raise ConfigError(f"ca: {ca} cannot be read: {error.strerror}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, slots=True)
class Route:
    """The way to one origin."""

    address: Address
    tls: ssl.SSLContext | None
    """For https."""
    proxy: Proxy | None
    """It resolves the server's name by itself: what is out of reach is then for it to say."""
    reach: Reach = "named"

    async def connect(self, make: Callable[[], Connection]) -> Connection:
        """A new connection. Has no time limit of its own: cancel it.

        Raises:
            LinkError: it could not be made; nothing was sent.
        """
        try:
            if self.proxy is not None and self.tls is not None:
                return await self._connect_through(self.proxy, make)
            return await self._connect(make)
        except ssl.SSLCertVerificationError as error:
            raise LinkError(
                f"the certificate of {self.address.authority} is not trusted: {error.verify_message}. "
                "If it was issued by a CA of your own, name its file with `ca:`.",
                sent=False,
            ) from None
        except ssl.SSLError as error:
            reason = (error.reason or "it failed").replace("_", " ").lower()
            raise LinkError(f"no TLS with {self.address.authority}: {reason}", sent=False) from None
        except OSError as error:
            place = f"the proxy {self.proxy.name}" if self.proxy is not None else self.address.authority
            raise LinkError(f"could not connect to {place}: {_reason(error)}", sent=False) from None

    async def _connect(self, make: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        port, failed = (self.proxy or self.address).port, None
        for host in [self.proxy.host] if self.proxy else await addresses_of(self.address, self.reach):
            try:
                if self.tls is None:
                    _, connection = await loop.create_connection(make, host, port)
                else:
                    _, connection = await loop.create_connection(
                        make, host, port, ssl=self.tls, server_hostname=self.address.host
                    )
                return connection
            except ssl.SSLError:
                raise  # it was reached
            except OSError as error:
                failed = failed or error
        assert failed is not None
        raise failed

    async def _connect_through(self, proxy: Proxy, make: Callable[[], Connection]) -> Connection:
        """Through a tunnel that the proxy makes (RFC 9110, 9.3.6): it never sees what is sent."""
        assert self.tls is not None
        loop = asyncio.get_running_loop()
        transport, tunnel = await loop.create_connection(_Tunnel, proxy.host, proxy.port)
        try:
            address = self.address
            host = f"[{address.host}]" if ":" in address.host else address.host
            lines = [f"CONNECT {host}:{address.port} HTTP/1.1", f"Host: {host}:{address.port}"]
            if proxy.authorization is not None:
                lines.append(f"Proxy-Authorization: {proxy.authorization}")
            transport.write("\r\n".join([*lines, "", ""]).encode())
            status = await tunnel.status
            if status == 407:
                raise LinkError(
                    f"the proxy {proxy.name} wants a name and password, or other ones than HTTPS_PROXY holds",
                    sent=False,
                )
            if not 200 <= status < 300:
                refused = f"the proxy {proxy.name} does not let through to {address.authority}"
                raise LinkError(f"{refused}: {status_text(status)}", sent=False)
            connection = make()
            over_tls = await loop.start_tls(transport, connection, self.tls, server_hostname=address.host)
            if over_tls is None:
                raise ConnectionResetError("the connection was closed during the TLS handshake")
        except BaseException:
            transport.abort()
            raise
        connection.connection_made(over_tls)
        return connection


def _reason(error: OSError) -> str:
    """Event loops put words of their own in place of the system's."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)


class _Tunnel(asyncio.Protocol):
    """Reads the proxy's answer to CONNECT, which has no body."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.status.done():
            return
        head, end, rest = self._head.partition(b"\r\n\r\n")
        first = re.match(rb"HTTP/1\.[01] (\d{3})(?: |\r|$)", head)
        if end and first is not None:
            if rest and first[1].startswith(b"2"):
                self.status.set_exception(ConnectionError("the proxy spoke into the tunnel"))
            else:
                self.status.set_result(int(first[1]))
        elif end or len(self._head) > HEADERS_BYTES_MAX:
            self.status.set_exception(ConnectionError("the proxy's answer is no HTTP/1.1"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.status.done():
            self.status.set_exception(ConnectionError("the proxy closed the connection without an answer"))
