"""The hub is killed (SIGKILL) in the middle of calls: nothing acknowledged is lost, nothing runs on."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client

from hub.env import SystemEnv
from hub.store.db import Store
from tests.commands import SECONDS
from tests.homes import done, eventually, over_http, running, stdio, token
from tests.house import INITIALIZE, headers_of, message, modern
from tests.ledger_room import STREAMS, furnish, lines, started
from tests.processes import descendants, gone
from tests.store_room import recorded_calls

pytestmark = pytest.mark.anyio


ROUNDS = 15
AT_ONCE = 8


class Load:
    """Agents that call one tool after another until the hub is gone, and one whose call is never answered."""

    def __init__(self, url: str, credential: str, round: int, receipts: Path) -> None:
        self.url = url
        self.receipts = receipts
        self.headers = {**STREAMS, "authorization": f"Bearer {credential}"}
        self.round = round
        self.acknowledged: dict[str, str] = {}
        """Tool by key: what was answered."""
        self.enough = anyio.Event()

    async def run(self, pid: int, answers: int) -> None:
        """Kill the hub once `answers` calls have been answered, others being under way."""
        key = f"{self.round}-open"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._open, key)
            for number in range(AT_ONCE):
                tasks.start_soon(self._agent, number, answers)
            await self.enough.wait()
            await eventually(partial(written, self.receipts, key))
            os.kill(pid, signal.SIGKILL)

    async def _open(self, key: str) -> None:
        async with httpx.AsyncClient(headers=self.headers, timeout=SECONDS, trust_env=False) as http:
            body = modern("tools/call", {"name": "ledger__append", "arguments": {"key": key, "open": True}})
            with pytest.raises(httpx.TransportError):
                await http.post(self.url, json=body, headers=headers_of(body))

    async def _agent(self, number: int, answers: int) -> None:
        async with httpx.AsyncClient(headers=self.headers, timeout=SECONDS, trust_env=False) as http:
            for step in range(100_000):
                key, tool = f"{self.round}-{number}-{step}", "look" if step % 3 == 1 else "append"
                body = modern("tools/call", {"name": f"ledger__{tool}", "arguments": {"key": key}})
                try:
                    answer = await http.post(self.url, json=body, headers=headers_of(body))
                except httpx.TransportError:
                    assert self.enough.is_set()
                    return
                assert answer.json()["result"]["content"][0]["text"] == key
                self.acknowledged[key] = tool
                if len(self.acknowledged) >= answers:
                    self.enough.set()


def written(file: Path, line: str) -> bool:
    return line in lines(file)


def rows_of(home: Path) -> dict[str, tuple[str, str]]:
    """Tool and state of each call, by the key it was made with."""
    found: dict[str, tuple[str, str]] = {}
    for row in recorded_calls(home):
        assert row.params is not None
        key = row.params.partition('"key":"')[2].partition('"')[0]
        assert key not in found
        found[key] = (row.tool.removeprefix("ledger__"), row.state)
    return found


async def test_nothing_acknowledged_is_lost_and_no_process_is_left_when_the_hub_is_killed(
    tmp_path: Path,
) -> None:
    """Ours: kill -9 at any moment; what was answered is recorded, what was open becomes unknown."""
    home, chance = furnish(tmp_path, "--stubborn"), random.Random(20261121)
    credential = ""
    session: dict[str, str] = {}
    acknowledged: dict[str, str] = {}
    processes: dict[int, str] = {}
    under_way: set[str] = set()
    for round in range(ROUNDS + 1):
        with started(home) as hub:
            url = hub.url
            if not credential:
                credential = token(home)
                hub.until("ledger: ready")
                session = await initialize(url, credential)
            # What was under way when the one before was killed is unknown now; the rest stands.
            rows = rows_of(home)
            assert {key for key, (_, state) in rows.items() if state == "unknown"} == under_way
            assert {state for _, state in rows.values()} <= {"done", "unknown"}
            assert lost(home, acknowledged) == {}
            # A legacy session is older than any hub.
            assert await use(url, credential, session, "look", f"session-{round}") == f"session-{round}"
            await eventually(partial(gone, processes))
            if round == ROUNDS:
                break
            processes = descendants(hub.pid)
            assert len(processes) == 2  # the server, and what guards it
            load = Load(url, credential, round, tmp_path / "receipts")
            with anyio.fail_after(SECONDS):
                await load.run(hub.pid, chance.randrange(1, 100))
            assert hub.end(signal.SIGKILL) == -signal.SIGKILL
        acknowledged.update(load.acknowledged)
        await taken_up(home)
        assert lost(home, acknowledged) == {}
        # Intent before effect: nothing happened at the server that nobody had written down.
        rows, receipts = rows_of(home), lines(tmp_path / "receipts")
        assert [key for key in receipts if rows.get(key, ("", ""))[0] != "append"] == []
        assert len(receipts) == len(set(receipts))
        under_way |= {key for key, (_, state) in rows.items() if state == "intended"}
    assert len(under_way) >= ROUNDS
    assert len(lines(tmp_path / "starts")) == ROUNDS + 1


async def taken_up(home: Path) -> None:
    """Let the store take up what a hub that was killed had not yet written."""
    async with Store.open(home / ".hub" / "hub.db", SystemEnv()):
        pass


def lost(home: Path, acknowledged: dict[str, str]) -> dict[str, Any]:
    """What was answered, but is not recorded so."""
    rows = rows_of(home)
    return {key: rows.get(key) for key, tool in acknowledged.items() if rows.get(key) != (tool, "done")}


async def test_what_was_answered_while_the_database_was_locked_is_there_after_a_kill(tmp_path: Path) -> None:
    """Ours: rows are safe in the journal before they are in the database."""
    home = furnish(tmp_path)
    with started(home) as hub, anyio.fail_after(SECONDS):
        hub.until("ledger: ready")
        credential = token(home)
        session = await initialize(hub.url, credential)
        with closing(sqlite3.connect(home / ".hub" / "hub.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for tool in ("look", "append"):
                assert await use(hub.url, credential, session, tool, tool) == tool
            assert hub.end(signal.SIGKILL) == -signal.SIGKILL
            other.execute("ROLLBACK")
    # A command where no hub runs sees it too, and puts it where it belongs.
    assert rows_of(home) == {}
    assert {row["tool"] for row in done(home, "calls", "list", "--json").json} == {
        "ledger__look",
        "ledger__append",
    }
    done(home, "audit", "verify")
    assert rows_of(home) == {"look": ("look", "done"), "append": ("append", "done")}


async def test_a_call_that_reports_without_pause_is_cancelled_when_its_agent_leaves(tmp_path: Path) -> None:
    """Regression: a stream that was written to every few milliseconds was never seen to have been closed;
    and over a pipe, reports waited for the next answer."""
    home = furnish(tmp_path)
    with running(home) as hub:
        credential = token(home)
        hub.until("ledger: ready")
        for wire in ("http", "stdio"):
            reported = anyio.Event()

            async def tell(
                progress: float, total: float | None, message: str | None, reported: anyio.Event = reported
            ) -> None:
                reported.set()

            with anyio.fail_after(SECONDS):
                connected = (
                    over_http(hub.url, credential, "auto")
                    if wire == "http"
                    else Client(stdio(home), mode="auto")
                )
                async with connected as client, anyio.create_task_group() as tasks:
                    with anyio.fail_after(20):
                        tasks.start_soon(
                            partial(client.call_tool, "ledger__tick", {"key": wire}, progress_callback=tell)
                        )
                        await reported.wait()
                    tasks.cancel_scope.cancel()
                await eventually(partial(written, tmp_path / "cancelled", wire))


async def initialize(url: str, credential: str) -> dict[str, str]:
    """The headers of a new legacy session."""
    headers = {**STREAMS, "authorization": f"Bearer {credential}"}
    async with httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False) as http:
        answer = await http.post(url, json=message("initialize", INITIALIZE))
    assert answer.status_code == 200, answer.text
    return {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}


async def use(url: str, credential: str, session: dict[str, str], tool: str, key: str) -> str:
    """What a tool says in that session."""
    headers = {**STREAMS, **session, "authorization": f"Bearer {credential}"}
    body = message("tools/call", {"name": f"ledger__{tool}", "arguments": {"key": key}})
    async with httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False) as http:
        answer = await http.post(url, json=body)
    assert answer.status_code == 200, answer.text
    said: str = answer.json()["result"]["content"][0]["text"]
    return said
