"""How each server is: what people see of it, what its agents are told, and what `/ready` counts."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import MCPError

from tests.faults.places import WORKER
from tests.homes import done, eventually, over_http, running, token, write

WORDS = "the cellar is flooded"
DIES = [sys.executable, "-c", f"import sys; sys.stderr.write({WORDS!r}); sys.exit(3)"]
SLOW = [sys.executable, "-c", "import sys; sys.stdin.read()"]

pytestmark = pytest.mark.anyio


def furnish(home: Path) -> None:
    write(home, "me", agent="me", may=["*"])
    write(home, "well", server="well", connect={"command": WORKER}, start="eager")
    write(home, "rare", server="rare", connect={"command": WORKER}, limits={"idle": "100ms"})
    write(home, "ill", server="ill", connect={"command": DIES}, start="eager")
    write(home, "absent", server="absent", connect={"command": ["/nowhere"]}, start="eager")
    write(home, "slow", server="slow", connect={"command": SLOW}, start="eager")
    write(
        home, "sick", server="sick", connect={"command": WORKER},
        limits={"call": "300ms"}, breaker={"failures": 1, "wait": "60s"},
    )  # fmt: skip


def rows(home: Path) -> dict[str, dict[str, str]]:
    """`hub servers list`, as a person reads it."""
    head, *lines = [line.split("\t") for line in done(home, "servers", "list").out.splitlines()]
    return {line[0]: dict(zip(head, line, strict=True)) for line in lines}


async def test_the_state_of_each_server_is_said_with_since_why_and_the_next_try(tmp_path: Path) -> None:
    furnish(tmp_path)
    with running(tmp_path) as hub:
        for words in ("well: ready", "rare: ", "ill: failed", "absent: failed", "sick: ready"):
            hub.until(words)
        told = await of_the_agent(hub.url, token(tmp_path))
        await eventually(lambda: rows(tmp_path)["rare"]["STATUS"] == "on demand", 20)
        found = rows(tmp_path)
        states = {row["name"]: row["state"] for row in done(tmp_path, "servers", "list", "--json").json}
        ready = httpx2.get(hub.url.removesuffix("/mcp") + "/ready").json()
    assert [found[name]["STATUS"] for name in ("well", "rare", "slow", "absent", "sick")] == [
        "ready", "on demand", "starting", "failed", "degraded",
    ]  # fmt: skip
    assert states["rare"] == "stopped"
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", row["SINCE"]) for row in found.values())
    if found["ill"]["STATUS"] == "failed":  # It may be at it right now.
        assert WORDS in found["ill"]["NOTE"]
        assert re.search(r"Next try at \d\d:\d\d:\d\d UTC\.$", found["ill"]["NOTE"])
    assert "make the file executable. Next try when it is asked for" in found["absent"]["NOTE"]
    assert found["sick"]["NOTE"].startswith("1 call in a row failed; no call before ")
    assert ready["servers"] | {"failed": 2, "starting": 1} == {
        "ready": 1, "stopped": 1, "failed": 2, "starting": 1, "degraded": 1,
    }  # fmt: skip
    assert [WORDS in sentence or "/nowhere" in sentence for sentence in told] == [False, False]
    assert "'sick' did not answer within 0.3 s" in told[0]
    assert re.search(r"'sick' is left alone for \d+ s", told[1])


async def of_the_agent(url: str, credential: str) -> list[str]:
    """What its calls of a server that does not answer are told."""
    told = []
    async with over_http(url, credential, "legacy") as client:
        for _ in range(2):
            said: Any = None
            try:
                said = await client.call_tool("sick__hang", {})
            except MCPError as error:
                said = error
            told.append(str(said))
    return told


async def test_no_more_servers_start_at_once_than_the_settings_say(tmp_path: Path) -> None:
    write(tmp_path, "me", agent="me", may=["*"])
    (tmp_path / "hub.yaml").write_text("starts_at_once: 2\n")
    for number in range(5):
        write(tmp_path, f"s{number}", server=f"s{number}", connect={"command": SLOW}, start="eager")
    with running(tmp_path):
        notes: list[str] = []

        def said() -> bool:
            notes[:] = sorted(row["NOTE"] for row in rows(tmp_path).values())
            return "starting" in notes

        await eventually(said, 20)
        assert notes == ["starting"] * 2 + ["waiting for its turn to start"] * 3
