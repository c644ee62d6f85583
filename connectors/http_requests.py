"""The bytes of HTTP requests to one MCP server: written once as far as they are alike, checked always.

Source: specification 2026-07-28, basic/transports/streamable-http, "Request Metadata", and 2025-11-25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.base import Json, LinkError
from connectors.http_connect import Address, Proxy
from connectors.http_headers import NAMED, encode_value, is_name, is_value

__all__ = ["Requests", "modern_lines"]

_LINES_MAX: Final = 1024


class Requests:
    """The bytes of requests. Whatever is the same in all of them is written once."""

    def __init__(
        self, address: Address, headers: Mapping[str, str], client: Json, proxy: Proxy | None
    ) -> None:
        self.credentials = tuple(headers)
        agent = f"{client.get('name')}/{client.get('version')}"
        target = address.target if proxy is None else address.origin + address.target
        lines = [f" {target} HTTP/1.1", f"Host: {address.authority}", "Accept-Encoding: identity"]
        if is_value(agent):
            lines.append(f"User-Agent: {agent}")
        if proxy is not None and proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._common = "\r\n".join([*lines, ""]).encode()
        self._state = b""
        self._post = b""
        self._lines: dict[tuple[str, str], str] = {}
        """What `modern_lines` has said of methods and names; a few are asked for again and again."""
        self.speak(None, None)

    def speak(self, version: str | None, session: str | None) -> None:
        """From now on, every request says this."""
        state = f"MCP-Protocol-Version: {version}\r\n" if version is not None else ""
        if session is not None:
            state += f"Mcp-Session-Id: {session}\r\n"
        self._state = state.encode()
        self._post = b"".join(
            (
                b"POST",
                self._common,
                self._state,
                b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n",
            )
        )

    def post(self, body: bytes, lines: str = "") -> bytes:
        """A message. `lines` are further headers, each with its line end."""
        return b"".join((self._post, f"{lines}Content-Length: {len(body)}\r\n\r\n".encode(), body))

    def modern_lines(self, method: str, params: Json, headers: Mapping[str, str] | None) -> str:
        """`modern_lines`, remembered where no argument is said again in them: 2 us less."""
        name = params.get("name")
        if headers or type(name) is not str:
            return modern_lines(method, params, headers)
        lines = self._lines.get((method, name))
        if lines is None:
            if len(self._lines) >= _LINES_MAX:
                self._lines.clear()
            lines = self._lines[method, name] = modern_lines(method, params, None)
        return lines

    def get(self, last_id: bytes) -> bytes:
        """Listen, or go on after an event."""
        resume = b"Last-Event-ID: " + last_id + b"\r\n" if last_id else b""
        return b"".join(
            (b"GET", self._common, self._state, b"Accept: text/event-stream\r\n", resume, b"\r\n")
        )

    def delete(self) -> bytes:
        return b"".join((b"DELETE", self._common, self._state, b"\r\n"))


def modern_lines(method: str, params: Json, headers: Mapping[str, str] | None) -> str:
    """The headers that repeat what the body says, for those who do not read it.

    Raises:
        LinkError: a name that no header can carry; nothing was sent.
    """
    if not is_value(method):
        raise LinkError("no HTTP header can carry this method's name", sent=False)
    lines = f"Mcp-Method: {method}\r\n"
    key = NAMED.get(method)
    name = params.get(key) if key is not None else None
    if type(name) is str:
        lines += f"Mcp-Name: {encode_value(name)}\r\n"
    if headers:
        for header, value in headers.items():
            if not is_name(header) or not header.lower().startswith("mcp-param-"):
                raise LinkError(f"{header!r:.60} is no header of a request (Mcp-Param-...)", sent=False)
            lines += f"{header}: {encode_value(value)}\r\n"
    return lines
