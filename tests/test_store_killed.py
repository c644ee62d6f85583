"""The store when its process is killed: what was acknowledged is there, what was open is unknown."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import anyio.to_thread
import pytest

from hub.env import SystemEnv
from hub.store.calls import Calls
from hub.store.db import Store
from tests.store_killed import run_and_kill

pytestmark = pytest.mark.anyio


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """Ours: kill -9 at any moment; what was said to be committed is there, open intents become unknown."""
    path, chance = tmp_path / "hub.db", random.Random(11)
    for _ in range(10):
        acknowledged = await anyio.to_thread.run_sync(run_and_kill, path, chance.randrange(1, 2000))
        async with Store.open(path, SystemEnv()) as store:
            assert await store.read(_check) == "ok"
            states = await store.read(_states)
            for id, word in acknowledged.items():
                assert states[id] == "done" if word == "d" else states[id] in ("intended", "done")
            still_open = [id for id, state in states.items() if state == "intended"]
            assert await Calls(store).recover() == len(still_open) <= 8
            states = await store.read(_states)
            assert all(states[id] == "unknown" for id in still_open)


def _check(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def _states(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT id, state FROM calls").fetchall())
