"""The one request that ends a login: the browser's, to this machine, with the answer in its address.

Listens on loopback only, for one path, and takes only what carries the `state` that went out: a page that
guesses the port can neither end a login nor put its own answer in place of the real one (RFC 8252, 8.3).
What comes is never shown in the page that the browser gets.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream

from connectors.base import ConfigError

__all__ = ["Redirect", "answer_in", "listening"]

_HEAD_BYTES_MAX: Final = 32 * 1024
_HEAD_SECONDS: Final = 10.0
_AT_ONCE_MAX: Final = 16
_PATH: Final = "/callback"

_PAGE: Final = (
    "<!doctype html><meta charset=utf-8><title>hub</title>"
    "<body style='font-family: sans-serif; margin: 4em'><p>{}</p>"
)
_THANKS: Final = "The hub has the answer. You can close this page and go back to your terminal."
_NOT_THIS: Final = "This is not the answer that the hub waits for."


class Redirect:
    """Where the browser is sent to, and what it brings."""

    def __init__(self, port: int, state: str) -> None:
        self.url = f"http://127.0.0.1:{port}{_PATH}"
        self._host = f"127.0.0.1:{port}"
        self._state = state
        self._answer: Mapping[str, str] | None = None
        self._came = anyio.Event()

    async def answer(self) -> Mapping[str, str]:
        """What the authorization server's answer says. Waits for it; has no limit of its own."""
        await self._came.wait()
        assert self._answer is not None
        return self._answer

    def take(self, head: bytes) -> bool:
        """Whether a request is the answer that is waited for."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = first.partition(" ")
        hosts = [line[5:].strip() for line in lines if line[:5].lower() == "host:"]
        # Another name for this machine would be a page's own (DNS rebinding).
        if method != "GET" or hosts != [self._host]:
            return False
        found = answer_in(rest.partition(" ")[0], self._state)
        if found is None or self._answer is not None:
            return False
        self._answer = found
        self._came.set()
        return True


def answer_in(url: str, state: str) -> Mapping[str, str] | None:
    """The parameters of an address that a browser was sent to; `None` if it is not of this login."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, max_num_fields=32)
    except ValueError:
        return None
    said = dict(pairs)
    if parts.path != _PATH or len(said) < len(pairs):
        return None
    return said if hmac.compare_digest(said.get("state", "").encode(), state.encode()) else None


@asynccontextmanager
async def listening(state: str, port: int | None = None) -> AsyncIterator[Redirect]:
    """Wait for it on a port of this machine, until left.

    Raises:
        ConfigError: the port is not to be had.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port or 0)
    except OSError as error:
        raise ConfigError(
            f"port {port} of this machine, to which the login is to come back, cannot be used: "
            f"{error.strerror or error}"
        ) from None
    redirect = Redirect(int(listener.extra(SocketAttribute.local_port)), state)
    places = anyio.Semaphore(_AT_ONCE_MAX)

    async def answer(stream: SocketStream) -> None:
        async with stream, places:
            with anyio.move_on_after(_HEAD_SECONDS):
                try:
                    head = b""
                    while b"\r\n\r\n" not in head and len(head) <= _HEAD_BYTES_MAX:
                        head += await stream.receive()
                    await stream.send(_page(redirect.take(head.partition(b"\r\n\r\n")[0])))
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return  # it has gone

    failure: Exception | None = None
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        try:
            yield redirect
        except Exception as error:
            failure = error  # raised outside, so that no exception group is made of it
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _page(is_it: bool) -> bytes:
    body = _PAGE.format(_THANKS if is_it else _NOT_THIS).encode()
    head = (
        f"HTTP/1.1 {'200 OK' if is_it else '400 Bad Request'}\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
