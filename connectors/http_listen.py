"""Hearing of a server's changes over HTTP: one stream, kept open in the background.

Modern servers: `subscriptions/listen`, where they say that their lists change. Legacy ones: a
GET, which carries their questions too; many offer none. After a gap in which changes may have
been missed, a change of every list that can change is reported. Never ends the link by itself.

Source: specification 2026-07-28, basic/patterns/subscriptions; 2025-11-25, basic/transports.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import anyio

from connectors import jsonrpc, sse
from connectors.base import Json, LinkError, RemoteError
from connectors.http_answer import answer_of, may_come_back
from connectors.http_requests import modern_lines
from connectors.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND
from connectors.negotiate import stamp

if TYPE_CHECKING:
    from connectors.http_link import HttpLink

__all__ = ["listen"]

WAIT_SECONDS: Final = 0.5
WAIT_SECONDS_MAX: Final = 60.0
STEADY_SECONDS: Final = 60.0
"""A stream that held so long was no failure."""

_KINDS: Final = ("tools", "prompts", "resources")
_NOT_OFFERED: Final = frozenset({METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST})


async def listen(link: HttpLink) -> None:
    """Listen as long as the link is open; returns early where the server has no such stream."""
    changing = _changing(link)
    if link.peer.modern and not changing:
        return
    loop = asyncio.get_running_loop()
    reader = sse.Reader(link.context.message_bytes_max + 4096)
    failures, is_first = 0, True
    while not link.is_over:
        began = loop.time()
        try:
            once = _listen_modern if link.peer.modern else _listen_legacy
            if not await once(link, reader, () if is_first else changing):
                return
        except RemoteError as error:
            if error.code in _NOT_OFFERED:
                return
        except LinkError:
            pass  # tried again below; calls report the server's state by themselves
        is_first = False
        failures = 0 if loop.time() - began > STEADY_SECONDS else min(failures + 1, 10)
        wait = min(WAIT_SECONDS * 2 ** max(failures - 1, 0), WAIT_SECONDS_MAX)
        asked = reader.retry_milliseconds
        await anyio.sleep(wait if asked is None else max(wait, min(asked / 1000, WAIT_SECONDS_MAX)))
        reader.restart()


def _changing(link: HttpLink) -> tuple[str, ...]:
    """The lists that the server says may change."""
    said = ((kind, link.peer.capabilities.get(kind)) for kind in _KINDS)
    return tuple(kind for kind, value in said if type(value) is dict and value.get("listChanged") is True)


async def _listen_legacy(link: HttpLink, reader: sse.Reader, missed: tuple[str, ...]) -> bool:
    """Once, until the stream ends; `False` if the server offers none."""
    response = await link.side.exchange(link.requests.get(reader.last_id), repeatable=True)
    if response.status != 200 or response.stream is None:
        response.leave()
        link.check_session(response)
        return may_come_back(response.status)
    if not reader.last_id:
        _report(link, missed)
    await link.read_stream(response.stream, reader, None)
    return True


async def _listen_modern(link: HttpLink, reader: sse.Reader, missed: tuple[str, ...]) -> bool:
    """The same with `subscriptions/listen`. Raises `RemoteError` where that is refused."""

    def on_notify(method: str, params: Json) -> None:
        if method == "notifications/subscriptions/acknowledged":
            _report(link, missed)

    method = "subscriptions/listen"
    wanted: Json = {"notifications": {f"{kind}ListChanged": True for kind in _changing(link)}}
    waiting, params = link.correlation.open(wanted, on_notify)
    try:
        params = stamp(params, link.peer.version, link.context.client, None)
        body = jsonrpc.request(waiting.id, method, params)
        request = link.requests.post(body, modern_lines(method, params, None))
        response = await link.side.exchange(request, repeatable=True)
        if response.status != 200:
            response.leave()
            return may_come_back(response.status)
        if response.stream is None:
            jsonrpc.outcome(answer_of(response, waiting.id, link.budget))
            return False
        message = await link.read_stream(response.stream, reader, waiting)
        if message is not None:
            jsonrpc.outcome(message)
        return True
    finally:
        link.correlation.close(waiting)


def _report(link: HttpLink, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        link.context.on_notify(f"notifications/{kind}/list_changed", {})
