"""What `hub agents can` says of a call is what the record has of it: allowed or not, the rule, the reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.admin.admin import Admin
from hub.model import Json
from tests.hub_room import room
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

SHIFTING = str(ROOT / "tests" / "servers" / "shifting.py")
MAY: list[str | Json] = [
    {"use": "s__write", "with": {"path": {"pattern": "^/a/"}}},
    {"use": "s__write", "with": {"path": {"pattern": "^/b/"}}, "only": True},
    {"use": "s__l*"},
    {"use": "s__late", "when": {"labels": {"night": "yes"}}},
]
CASES: list[tuple[str, Json, str | None, str | None]] = [
    ("s__look", {}, "may[2]", None),
    ("s__write", {"path": "/a/1", "text": "x"}, "may[0]", None),
    ("s__write", {"path": "/b/1"}, "may[1]", None),
    ("s__write", {"path": "/b/1", "text": "x"}, "may[0]", "argument"),
    ("s__write", {}, "may[0]", "argument"),
    ("s__late", {}, "may[3]", "when"),
    ("s__wipe", {}, None, "not_found"),
    ("s__nothing", {}, None, "not_found"),
]


async def test_the_rule_and_the_reason_of_every_decision_are_in_its_record(tmp_path: Path) -> None:
    names = ("look", "late", "write", "wipe")
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    connect = {"command": [sys.executable, SHIFTING, str(tmp_path), "modern"]}
    async with room(tmp_path / "home", {"s": {"connect": connect}}, agents={"me": MAY}) as it:
        admin = Admin(it.app)
        async with it.http() as http:
            for name, arguments, rule, reason in CASES:
                await it.ask(http, "tools/call", {"name": name, "arguments": arguments}, {})
                newest = (await admin.calls(limit=1))[0]
                kept: dict[str, Any] = await admin.call(newest["id"])
                assert (kept["tool"], kept["rule"], kept["reason"]) == (name, rule, reason), arguments
                assert kept["state"] == ("done" if reason is None else "refused")
                if arguments or reason == "not_found":
                    said = await admin.can("me", name, [f"{key}={each}" for key, each in arguments.items()])
                    assert (said["allowed"], said["rule"], said["reason"]) == (reason is None, rule, reason)
