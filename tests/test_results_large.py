"""Results of a hub in a process of its own: after a kill, and of 50 MB."""

from __future__ import annotations

import http.client
import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hub.model import Json
from hub.results.count import tokens
from tests.homes import Running, running, token, write
from tests.house import INITIALIZE, message
from tests.long_room import COUNT, id_of, server

pytestmark = pytest.mark.anyio


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
        before = _memory(hub.pid, "VmRSS")
        result = agent.use("long__rows", count=count)
        assert tokens(json.dumps(result)) <= 500
        id = result["_meta"]["hub/result"]["id"]
        found = agent.use("hub__read", id=id, at=f"/items/{count - 1}/name")
        assert json.loads(found["content"][0]["text"])["value"] == f"row {count - 1}"
        peak = _memory(hub.pid, "VmHWM")
        agent.close()
    with sqlite3.connect(tmp_path / ".hub" / "hub.db") as connection:
        (kept,) = connection.execute("SELECT max(size_bytes) FROM results").fetchone()
    assert kept > size
    if peak is not None and before is not None:
        # A text that is not all Latin takes 2 bytes a character.
        assert peak - before < 3.5 * kept


class _Agent:
    """Speaks with a hub in a process of its own, in the older era."""

    def __init__(self, hub: Running) -> None:
        host, _, port = hub.url.split("/")[2].partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=120)
        self._headers = {
            "authorization": f"Bearer {token(hub.home)}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        self._post(message("initialize", INITIALIZE))

    def _post(self, body: Json) -> Json:
        self._connection.request("POST", "/mcp", json.dumps(body).encode(), self._headers)
        response = self._connection.getresponse()
        session = response.headers.get("mcp-session-id")
        if session is not None:
            self._headers |= {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
        answered: Json = json.loads(response.read())
        return answered

    def use(self, name: str, **arguments: Any) -> Json:
        result: Json = self._post(message("tools/call", {"name": name, "arguments": arguments}))["result"]
        return result

    def close(self) -> None:
        self._connection.close()


def _memory(pid: int, field: str) -> int | None:
    """Bytes; `None` where nobody says."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
