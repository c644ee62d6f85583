"""The hub is killed (SIGKILL) in the middle of calls: nothing acknowledged is lost, nothing is left running."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from hub.store import reading
from tests.commands import SECONDS
from tests.homes import Running, token, write
from tests.house import INITIALIZE, headers_of, message, modern
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

ROUNDS = 15
AT_ONCE = 8
LEDGER = [sys.executable, str(ROOT / "tests" / "servers" / "ledger.py")]
STREAMS = {"accept": "application/json, text/event-stream"}


def furnish(folder: Path) -> Path:
    """A home with the server `ledger`, whose word on what only reads is trusted."""
    home = folder / "home"
    write(home, "ledger", server="ledger", trust="annotations", connect={"command": [*LEDGER, str(folder)]})
    write(home, "me", agent="me", may=["*"])
    return home


class Load:
    """Agents that call one tool after another until the hub is gone."""

    def __init__(self, url: str, credential: str, round: int) -> None:
        self.url = url
        self.headers = {**STREAMS, "authorization": f"Bearer {credential}"}
        self.round = round
        self.acknowledged: dict[str, str] = {}
        """Tool by key: what was answered."""
        self.enough = anyio.Event()

    async def run(self, pid: int, answers: int) -> None:
        """Kill the hub once `answers` calls have been answered, others being under way."""
        async with anyio.create_task_group() as tasks:
            for number in range(AT_ONCE):
                tasks.start_soon(self._agent, number, answers)
            await self.enough.wait()
            os.kill(pid, signal.SIGKILL)

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


def lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def descendants(pid: int) -> dict[int, str]:
    """The processes below `pid`, each with the moment it started (so that a number used anew is told apart)."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,lstart="], capture_output=True, text=True, check=True, timeout=SECONDS
    )
    parents: dict[int, tuple[int, str]] = {}
    for line in listed.stdout.splitlines():
        own, parent, started = line.split(None, 2)
        parents[int(own)] = (int(parent), started.strip())
    found: dict[int, str] = {}
    more = {pid}
    while more:
        more = {own for own, (parent, _) in parents.items() if parent in more}
        found.update({own: parents[own][1] for own in more})
    return found


def alive(processes: dict[int, str]) -> set[int]:
    named = ",".join(str(pid) for pid in processes)
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=,lstart=", "-p", named], capture_output=True, text=True, timeout=SECONDS
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return {int(pid) for pid, state, began in rows if state[0] != "Z" and began.strip() == processes[int(pid)]}


def rows_of(home: Path) -> dict[str, tuple[str, str]]:
    """Tool and state of each call, by the key it was made with."""
    connection = reading.open_read_only(home / ".hub" / "hub.db")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        found: dict[str, tuple[str, str]] = {}
        before = None
        while page := reading.list_calls(connection, reading.CallFilter(before=before, limit=1000)):
            for brief in page:
                row = reading.get_call(connection, brief.id)
                assert row is not None and row.params is not None
                key = row.params.partition('"key":"')[2].partition('"')[0]
                assert key not in found
                found[key] = (row.tool.removeprefix("ledger__"), row.state)
            before = page[-1].id
        return found
    finally:
        connection.close()


async def test_nothing_acknowledged_is_lost_and_no_process_is_left_when_the_hub_is_killed(
    tmp_path: Path,
) -> None:
    """Ours: kill -9 at any moment; what was answered is recorded, what was open becomes unknown."""
    home, chance = furnish(tmp_path), random.Random(20261121)
    credential = ""
    session: dict[str, str] = {}
    acknowledged: dict[str, str] = {}
    for round in range(ROUNDS + 1):
        hub = Running(home, "--port", "0")
        try:
            url = hub.url
            if not credential:
                credential = token(home)
                hub.until("ledger: ready")
                session = await initialize(url, credential)
            # What was under way when the one before was killed.
            states = {state for _, state in rows_of(home).values()}
            assert states <= {"done", "unknown"}
            # A legacy session is older than any hub.
            assert await look(url, credential, session, f"session-{round}") == f"session-{round}"
            if round == ROUNDS:
                break
            before = descendants(hub.pid)
            assert len(before) >= 2  # the server, and what guards it
            load = Load(url, credential, round)
            with anyio.fail_after(SECONDS):
                await load.run(hub.pid, chance.randrange(1, 150))
            assert hub.end(signal.SIGKILL) == -signal.SIGKILL
            acknowledged.update(load.acknowledged)

            rows, receipts = rows_of(home), lines(tmp_path / "receipts")
            for key, tool in acknowledged.items():
                assert rows[key] == (tool, "done")
            for key in receipts:
                # Intent before effect: nothing happened that nobody had written down.
                assert rows[key][0] == "append" and rows[key][1] in ("intended", "done", "unknown")
            assert len(receipts) == len(set(receipts))
            end = time.monotonic() + 5
            while left := alive(before):
                assert time.monotonic() < end, f"left running: {left}"
                await anyio.sleep(0.02)
        finally:
            hub.process.kill()
            hub.end(signal.SIGKILL) if not hub.process.stderr.closed else None
    rows = rows_of(home)
    assert {state for _, state in rows.values()} == {"done", "unknown"}
    assert len(lines(tmp_path / "starts")) == ROUNDS + 1


async def initialize(url: str, credential: str) -> dict[str, str]:
    """The headers of a new legacy session."""
    headers = {**STREAMS, "authorization": f"Bearer {credential}"}
    async with httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False) as http:
        answer = await http.post(url, json=message("initialize", INITIALIZE))
    assert answer.status_code == 200, answer.text
    return {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}


async def look(url: str, credential: str, session: dict[str, str], key: str) -> Any:
    """What `look` says in that session."""
    headers = {**STREAMS, **session, "authorization": f"Bearer {credential}"}
    async with httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False) as http:
        answer = await http.post(
            url, json=message("tools/call", {"name": "ledger__look", "arguments": {"key": key}})
        )
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]["content"][0]["text"]
