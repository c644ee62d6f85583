"""Results of a hub in a process of its own: after a kill, and of 50 MB."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.model import Json
from hub.results.count import tokens
from tests.homes import Running, running, write
from tests.house import INITIALIZE, message
from tests.large_room import HttpAgent
from tests.long_room import COUNT, id_of, server
from tests.processes import memory_bytes

pytestmark = pytest.mark.anyio

LINUX = sys.platform.startswith("linux")
"""Elsewhere nobody says how much memory a process takes."""


def test_a_handle_that_was_given_outlives_kill_9_of_the_hub(tmp_path: Path) -> None:
    write(tmp_path, "me", agent="me", may=["long__*"])
    write(tmp_path, "long", server="long", **server(tmp_path))
    with running(tmp_path) as hub:
        agent = _Agent(hub)
        id = id_of(agent.use("long__rows", count=COUNT))
        agent.close()
        assert hub.end(signal.SIGKILL) == -signal.SIGKILL
    with running(tmp_path) as hub:
        agent = _Agent(hub)
        found = agent.use("hub__read", id=id, at="/items/7/name")
        assert json.loads(found["content"][0]["text"])["value"] == "row 7"
        agent.close()


def test_a_result_of_50_mb_is_500_tokens_and_takes_bounded_memory(tmp_path: Path) -> None:
    size, count = 50_000_000, 360_000
    write(tmp_path, "me", agent="me", may=["long__*"])
    write(tmp_path, "long", server="long", **server(tmp_path), limits={"call": "2m"})
    with running(tmp_path) as hub:
        hub.until("long: ready")
        agent = _Agent(hub)
        agent.use("long__rows", count=1000)
        before = memory_bytes(hub.pid) if LINUX else 0
        result = agent.use("long__rows", count=count)
        assert tokens(json.dumps(result)) <= 500
        id = result["_meta"]["hub/result"]["id"]
        found = agent.use("hub__read", id=id, at=f"/items/{count - 1}/name")
        assert json.loads(found["content"][0]["text"])["value"] == f"row {count - 1}"
        peak = memory_bytes(hub.pid, "VmHWM") if LINUX else 0
        agent.close()
    with sqlite3.connect(tmp_path / ".hub" / "hub.db") as connection:
        (kept,) = connection.execute("SELECT max(size_bytes) FROM results").fetchone()
    assert kept > size
    # A text that is not all Latin takes 2 bytes a character.
    assert peak - before < 3.5 * kept


class _Agent(HttpAgent):
    """In the older era."""

    def __init__(self, hub: Running) -> None:
        super().__init__(hub)
        self.ask(message("initialize", INITIALIZE))

    def use(self, name: str, **arguments: Any) -> Json:
        result: Json = self.ask(message("tools/call", {"name": name, "arguments": arguments}))["result"]
        return result
