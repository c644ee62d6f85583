"""Hearing a server of the older era over HTTP: a GET, kept open in the background.

It carries what belongs to no request: changes, and some servers' questions; many offer none. After
a gap in which changes may have been missed, a change of every list that can change is reported.
Never ends the link by itself.

Source: specification 2025-11-25, basic/transports.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import anyio

from connectors import sse
from connectors.base import LinkError
from connectors.http_answer import may_come_back

if TYPE_CHECKING:
    from connectors.http_link import HttpLink

__all__ = ["listen"]

WAIT_SECONDS: Final = 0.5
WAIT_SECONDS_MAX: Final = 60.0
STEADY_SECONDS: Final = 60.0
"""A stream that held so long was no failure."""

_KINDS: Final = ("tools", "prompts", "resources")


async def listen(link: HttpLink) -> None:
    """Listen as long as the link is open; returns early where the server has no such stream."""
    changing = _changing(link)
    loop = asyncio.get_running_loop()
    reader = sse.Reader(link.context.message_bytes_max + 4096)
    failures, is_first = 0, True
    while not link.closed:
        began = loop.time()
        try:
            if not await _listen_once(link, reader, () if is_first else changing):
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


async def _listen_once(link: HttpLink, reader: sse.Reader, missed: tuple[str, ...]) -> bool:
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


def _report(link: HttpLink, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        link.context.on_notify(f"notifications/{kind}/list_changed", {})
