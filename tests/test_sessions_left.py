"""A client of the older era that goes without a word, and connects anew, stays in its session.

So does the TypeScript SDK, whose `close()` sends no DELETE.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hub.model import Json
from tests.hub_room import LegacyAgent, Room, room, text_of
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

GOOD: Json = {"connect": {"command": [sys.executable, str(ROOT / "tests" / "servers" / "worker.py")]}}


@asynccontextmanager
async def client(it: Room, *, listens: bool) -> AsyncIterator[LegacyAgent]:
    """Connects, listens if it is one that does, and goes without a word."""
    async with it.session({}) as agent:
        if not listens:
            yield agent
            return
        async with it.http() as http:
            headers = {"mcp-session-id": agent.id, "mcp-protocol-version": "2025-11-25"}
            async with http.stream("GET", it.url, headers=headers) as stream:
                assert stream.status_code == 200
                yield agent


async def session_of(it: Room, agent: LegacyAgent) -> str:
    """Which session a call of it is in."""
    assert (
        text_of(await agent.request("tools/call", {"name": "good__echo", "arguments": {"text": "x"}})) == "x"
    )
    found: str = await it.app.store.read(
        lambda db: db.execute("SELECT session FROM calls ORDER BY id DESC LIMIT 1").fetchone()[0]
    )
    return found


async def test_whoever_connects_for_each_call_and_says_no_goodbye_stays_in_one_session(
    tmp_path: Path,
) -> None:
    async with room(tmp_path, {"good": GOOD}) as it:
        found = set()
        for _ in range(3):
            async with client(it, listens=True) as agent:
                found.add(await session_of(it, agent))
        assert len(found) == 1
        # Whoever left can come back, as what it has is its own.
        async with it.session({}) as back:
            (before,) = found
            back.resume(before)
            assert await session_of(it, back) == before


async def test_clients_that_are_there_at_once_or_never_listened_are_apart(tmp_path: Path) -> None:
    async with room(tmp_path, {"good": GOOD}) as it:
        async with client(it, listens=True) as one, client(it, listens=True) as two:
            apart = [await session_of(it, one), await session_of(it, two)]
            assert len({*apart}) == 2
        async with client(it, listens=False) as silent:
            goes_on = await session_of(it, silent)
            assert goes_on == apart[1], "that of the one which came last"
            async with client(it, listens=False) as other:
                assert await session_of(it, other) not in {*apart, goes_on}


async def test_who_asks_for_something_after_it_listened_has_not_gone(tmp_path: Path) -> None:
    async with room(tmp_path, {"good": GOOD}) as it:
        async with client(it, listens=True) as agent:
            id = agent.id
        async with it.session({}) as again:
            again.resume(id)
            first = await session_of(it, again)
            with anyio.fail_after(20):
                async with it.session({}) as other:
                    assert await session_of(it, other) != first
