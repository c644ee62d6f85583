"""Small requests over HTTP, one at a time: no redirects, nothing kept, everything bounded.

For what is around an MCP server and is not one: keys, metadata, authorization servers.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from connectors.base import ConfigError, LinkError
from connectors.http_connect import Address, Route, proxy_for, tls_context
from connectors.http_headers import is_value
from connectors.http_pool import Pool
from connectors.http_reach import Reach
from connectors.http_response import Response, status_text

__all__ = ["BYTES_MAX", "SECONDS", "ask", "fetch"]

BYTES_MAX: Final = 256 * 1024
SECONDS: Final = 5.0


async def fetch(
    url: str, *, reach: Reach = "named", bytes_max: int = BYTES_MAX, seconds: float = SECONDS
) -> bytes:
    """The body of the answer to one GET.

    Args:
        reach: `named` for what a person wrote; `public` for a URL that a server or a token named.

    Raises:
        ConfigError: it is no URL that can be fetched.
        LinkError: no answer in time, none that is whole and small enough, or another than 200.
    """
    response = await ask("GET", url, reach=reach, bytes_max=bytes_max, seconds=seconds)
    if response.stream is not None:
        raise LinkError(f"{Address.parse(url).authority} answered with a stream")
    if response.status != 200:
        raise LinkError(f"{Address.parse(url).authority} answered {status_text(response.status)}")
    return response.body


async def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    reach: Reach,
    ca: Path | None = None,
    bytes_max: int = BYTES_MAX,
    seconds: float = SECONDS,
) -> Response:
    """One request and its answer, whatever its status, with its whole body (of a stream: none).

    Args:
        reach: See `http_reach`. It has no default: whoever asks must know who named the URL.
        ca: A file of CA certificates to trust beside the system's.

    Raises:
        ConfigError: it is no URL that can be asked, or `ca` cannot be used.
        LinkError: no answer in time, or none that is whole and small enough.
    """
    try:
        address = Address.parse(url)
    except ValueError as error:
        raise ConfigError(f"the URL cannot be used: {error}") from None
    with anyio.move_on_after(seconds):
        return await _ask(method, address, headers or {}, body, reach, ca, bytes_max)
    raise LinkError(f"{address.authority} did not answer within {seconds:g} s")


def _trusting(ca: Path | None) -> ssl.SSLContext:
    context = tls_context(None)
    if ca is not None:
        tls_context(ca)  # says what is wrong with it
        context.load_verify_locations(str(ca))
    return context


async def _ask(
    method: str,
    address: Address,
    headers: Mapping[str, str],
    body: bytes | None,
    reach: Reach,
    ca: Path | None,
    bytes_max: int,
) -> Response:
    tls = await anyio.to_thread.run_sync(_trusting, ca) if address.scheme == "https" else None
    proxy = proxy_for(address)
    target = address.target if proxy is None or tls is not None else address.origin + address.target
    lines = [f"{method} {target} HTTP/1.1", f"Host: {address.authority}"]
    lines += ["Accept-Encoding: identity", "User-Agent: mcp-tool-hub"]
    for name, value in {"Accept": "application/json", **headers}.items():
        if not is_value(value):
            raise ConfigError(f"{name}: a header holds visible ASCII characters and no line end")
        lines.append(f"{name}: {value}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if proxy is not None and tls is None and proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    pool = Pool(Route(address, tls, proxy, reach), body_bytes_max=bytes_max, connections_max=1)
    try:
        response = await pool.exchange("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        response.leave()
        return response
    finally:
        await pool.close()
