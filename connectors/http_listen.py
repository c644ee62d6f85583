"""Hearing a server of the older era over HTTP: a GET, kept open in the background.

It carries what belongs to no request: changes, and some servers' questions; many offer none. What
changed while it did not stand may have been missed, so then a change of every list that can change
is reported, and an update without a URI: of whatever was subscribed to. Never ends the link by itself.

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
    missed = _missed(link)
    loop = asyncio.get_running_loop()
    reader = sse.Reader(link.context.message_bytes_max + 4096)
    failures = 0
    while not link.closed:
        began = loop.time()
        try:
            if not await _listen_once(link, reader, missed):
                return
        except LinkError:
            pass  # tried again below; calls report the server's state by themselves
        failures = 0 if loop.time() - began > STEADY_SECONDS else min(failures + 1, 10)
        wait = min(WAIT_SECONDS * 2 ** max(failures - 1, 0), WAIT_SECONDS_MAX)
        asked = reader.retry_milliseconds
        await anyio.sleep(wait if asked is None else max(wait, min(asked / 1000, WAIT_SECONDS_MAX)))
        reader.restart()


def _missed(link: HttpLink) -> tuple[str, ...]:
    """What the server may have said while nobody listened."""
    said = {kind: link.peer.capabilities.get(kind) for kind in _KINDS}
    able = {kind: value for kind, value in said.items() if type(value) is dict}
    missed = [f"notifications/{kind}/list_changed" for kind in able if able[kind].get("listChanged") is True]
    if able.get("resources", {}).get("subscribe") is True:
        missed.append("notifications/resources/updated")
    return tuple(missed)


async def _listen_once(link: HttpLink, reader: sse.Reader, missed: tuple[str, ...]) -> bool:
    """Once, until the stream ends; `False` if the server offers none."""
    response = await link.side.exchange(link.requests.get(reader.last_id), repeatable=True)
    if response.status != 200 or response.stream is None:
        response.leave()
        link.check_session(response)
        return may_come_back(response.status)
    if not reader.last_id:
        for method in missed:
            link.context.on_notify(method, {})
    await link.read_stream(response.stream, reader, None)
    return True
