"""How agents of both eras listen to what is told of resources."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx

from hub.model import Json
from tests.house import House, events, headers_of, message, modern
from tests.hub_room import Room

TELLER = str(Path(__file__).parent / "servers" / "teller.py")
UPDATED = "notifications/resources/updated"


def listen(*uris: str, id: int | str = 1, **more: Any) -> Json:
    return modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": [*uris], **more}}, id)


@asynccontextmanager
async def listening(
    hub: House | Room, http: httpx.AsyncClient, body: Json
) -> AsyncIterator[AsyncIterator[Any]]:
    """What comes on a modern stream, the acknowledgement first."""
    async with http.stream("POST", hub.url, json=body, headers=headers_of(body)) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield events(answer)


@asynccontextmanager
async def hearing(
    hub: House | Room, http: httpx.AsyncClient, session: dict[str, str]
) -> AsyncIterator[AsyncIterator[Any]]:
    """What comes on a legacy session's own stream."""
    headers = {**session, "accept": "text/event-stream"}
    async with http.stream("GET", hub.url, headers=headers) as answer:
        assert answer.status_code == 200
        yield events(answer)


async def subscribe(
    hub: House | Room, http: httpx.AsyncClient, session: dict[str, str], uri: Any, un: str = ""
) -> Json:
    body = message(f"resources/{un}subscribe", {"uri": uri})
    found: Json = (await http.post(hub.url, json=body, headers=session)).json()
    return found


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.lowlevel.checkpoint()


def told(uri: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "method": UPDATED, "params": {**params, "uri": uri}}


def message_of(result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "result": result}
