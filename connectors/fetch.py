"""Fetches one small public document over HTTP: no redirects, no credentials, nothing kept."""

from __future__ import annotations

from typing import Final

import anyio
import anyio.to_thread

from connectors.base import ConfigError, LinkError
from connectors.http_connect import Address, Route, proxy_for, tls_context
from connectors.http_pool import Pool
from connectors.http_response import status_text

__all__ = ["BYTES_MAX", "SECONDS", "fetch"]

BYTES_MAX: Final = 256 * 1024
SECONDS: Final = 5.0


async def fetch(url: str, *, bytes_max: int = BYTES_MAX, seconds: float = SECONDS) -> bytes:
    """The body of the answer to one GET.

    Raises:
        ConfigError: it is no URL that can be fetched.
        LinkError: no answer in time, none that is whole and small enough, or another than 200.
    """
    try:
        address = Address.parse(url)
    except ValueError as error:
        raise ConfigError(f"the URL cannot be used: {error}") from None
    with anyio.move_on_after(seconds):
        return await _get(address, bytes_max)
    raise LinkError(f"{address.authority} did not answer within {seconds:g} s")


async def _get(address: Address, bytes_max: int) -> bytes:
    tls = await anyio.to_thread.run_sync(tls_context, None) if address.scheme == "https" else None
    proxy = proxy_for(address)
    target = address.target if proxy is None or tls is not None else address.origin + address.target
    lines = [f"GET {target} HTTP/1.1", f"Host: {address.authority}", "Accept: application/json"]
    lines += ["Accept-Encoding: identity", "User-Agent: mcp-tool-hub"]
    if proxy is not None and tls is None and proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    pool = Pool(Route(address, tls, proxy), body_bytes_max=bytes_max, connections_max=1)
    try:
        response = await pool.exchange("\r\n".join([*lines, "", ""]).encode())
        if response.stream is not None:
            raise LinkError(f"{address.authority} answered with a stream")
        if response.status != 200:
            raise LinkError(f"{address.authority} answered {status_text(response.status)}")
        return response.body
    finally:
        await pool.close()
