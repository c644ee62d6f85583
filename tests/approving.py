"""A hub whose agent needs a person for one tool, and the person: what the tests of approvals share."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx

from connectors.base import CLIENT_CAPABILITIES_KEY
from hub.model import Json
from hub.settings import Settings
from hub.store.approvals import ApprovalRow, list_approvals
from tests.clocks import Clock
from tests.house import headers_of, modern
from tests.hub_room import Room, last, room
from tests.sources import ROOT

LEDGER = [sys.executable, str(ROOT / "tests" / "servers" / "ledger.py")]
APPEND: Json = {"use": ["ledger__append"], "ask": "human"}
URL_CAPABLE: Json = {"elicitation": {"url": {}}}
SHORT = Settings(approval_wait=0.05)
"""For who wants to be told at once that a call is pending."""
LONG = Settings(approval_wait=15.0)


@asynccontextmanager
async def approving(
    folder: Path,
    settings: Settings = SHORT,
    env: Clock | None = None,
    *,
    rule: Json = APPEND,
    servers: Mapping[str, Json] | None = None,
    more: Mapping[str, Any] | None = None,
) -> AsyncIterator[Room]:
    """Agents `me` and `other` may look as they like, and append with a person's approval.

    Args:
        more: Further keys of the ledger's manifest.
    """
    connect: Json = {"connect": {"command": [*LEDGER, str(folder)]}, "trust": "annotations", **(more or {})}
    may: Sequence[str | Json] = [rule, "ledger__look"]
    async with room(
        folder / "home",
        servers or {"ledger": connect},
        agents={"me": may, "other": may},
        settings=settings,
        env=env,
    ) as it:
        yield it


def receipts(folder: Path) -> list[str]:
    """What the server has really appended."""
    file = folder / "receipts"
    return file.read_text().split() if file.exists() else []


async def append(
    it: Room, http: httpx.AsyncClient, key: str = "k", capabilities: Json | None = None, **more: Any
) -> Json:
    """The result of a modern call that needs approval."""
    params = {"name": "ledger__append", "arguments": {"key": key}, **more}
    return await result_of(it, http, params, capabilities)


async def result_of(
    it: Room, http: httpx.AsyncClient, params: Json, capabilities: Json | None = None
) -> Json:
    meta = {CLIENT_CAPABILITIES_KEY: capabilities or {}, **params.get("_meta", {})}
    body = modern("tools/call", params, **meta)
    answer = await http.post(it.url, json=body, headers=headers_of(body))
    found: Json = answer.json() if "json" in answer.headers["content-type"] else await last(answer)
    result: Json = found["result"]
    return result


def said(result: Json) -> str:
    text: str = result["content"][0]["text"]
    return text


async def rows(it: Room, agent: str | None = None) -> list[ApprovalRow]:
    """All there are, the newest first."""
    now = int(it.app.env.now() * 1000)
    return await it.app.store.read(partial(list_approvals, now=now, everything=True, agent=agent, limit=1000))


async def pending(it: Room, agent: str | None = None) -> ApprovalRow:
    """The one that waits, once it does."""
    while True:
        waiting = [row for row in await rows(it, agent) if row.state == "pending"]
        if waiting:
            (row,) = waiting
            return row
        await anyio.sleep(0.01)


async def approve(it: Room, id: str | None = None) -> str:
    """As a person does it; the one that waits, where none is named. Returns its id."""
    id = id or (await pending(it)).id
    await it.app.approvals.decide(id, approve=True, decider="ann (uid 7)", reason=None)
    return id


async def deny(it: Room, reason: str | None = None) -> str:
    id = (await pending(it)).id
    await it.app.approvals.decide(id, approve=False, decider="ann (uid 7)", reason=reason)
    return id
