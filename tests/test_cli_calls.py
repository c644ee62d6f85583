"""Tools called from the command line, where no hub runs, and what is remembered of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import DESK, furnish


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return furnish(tmp_path / "home")


def test_a_tool_is_called_without_a_hub_and_then_remembered(hub_here: Any, home: Path) -> None:
    called = hub_here(home, "tools", "call", "desk__typed", "text=012", "count=012", "tags=a", "--json")
    assert called.code == 0, called.err
    assert called.json["structuredContent"] == {"text": "012", "count": 12, "tags": ["a"]}
    listed = hub_here(home, "tools", "list", "--json").json
    assert [set(tool) for tool in listed] == [{"name", "server", "description", "inputSchema"}] * 7
    assert hub_here(home, "tools", "list", "--agent", "reader", "-q").out.split() == ["desk__typed"]
    table = hub_here(home, "tools", "list")
    assert table.out.splitlines()[0] == "NAME\tSERVER\tDESCRIPTION"
    assert "\x1b" not in table.out and "Writes red end" in table.out
    assert "No hub runs" in table.err
    server = hub_here(home, "servers", "list", "--json").json[0]
    assert (server["name"], server["status"], server["tools"], server["protocol"]) == (
        "desk", "not running", 7, "2026-07-28",
    )  # fmt: skip
    call = hub_here(home, "calls", "list", "--json").json[0]
    assert set(call) >= {"id", "session", "agent", "tool", "state", "started", "duration_ms"}
    assert (call["agent"], call["tool"], call["state"]) == ("me", "desk__typed", "done")
    shown = hub_here(home, "calls", "show", call["id"][:12], "--json").json
    assert shown["params"]["arguments"]["count"] == 12
    assert hub_here(home, "calls", "show", call["id"][:3]).code == 2
    assert (
        hub_here(home, "sessions", "show", call["session"], "--json").json["last_calls"][0]["id"]
        == call["id"]
    )
    assert hub_here(home, "servers", "logs", "desk").out == "desk is up\n"
    # What was learnt from one command does not count for another.
    manifest = {"server": "desk", "connect": {"command": [*DESK, "--other"]}}
    (home / "manifests" / "desk.yaml").write_text(json.dumps(manifest))
    assert hub_here(home, "tools", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "code", "word", "says"),
    [
        (["desk__fail"], 5, "tool_error", "It did not work."),
        (["desk__nothing"], 5, "not_found", "desk__nothing"),
        (["desk__pid", "--agent", "reader"], 6, "denied", "manifests/reader.yaml:5: never[0] 'desk__pid'"),
        (["desk__fail", "--agent", "reader"], 6, "denied", "no rule of manifests/reader.yaml allows it"),
        (["desk__typed", "count=many"], 2, "invalid_params", "count: 'many' is not of type integer"),
        (["broken__tool"], 4, "upstream_down", "no-such-program-here"),
    ],
)
def test_a_call_that_comes_to_nothing_says_why(
    hub_here: Any, home: Path, arguments: list[str], code: int, word: str, says: str
) -> None:
    (home / "manifests" / "broken.yaml").write_text(
        "server: broken\nconnect: {command: [no-such-program-here]}\n"
    )
    done = hub_here(home, "tools", "call", *arguments, "--json")
    assert (done.code, done.error["code"]) == (code, word), done.err
    assert says in done.error["message"] + done.error["hint"]


def test_a_server_that_does_not_start_is_exit_code_4_with_its_reason(hub_here: Any, home: Path) -> None:
    (home / "manifests" / "broken.yaml").write_text(
        "server: broken\nconnect: {command: [no-such-program-here]}\n"
    )
    done = hub_here(home, "servers", "check", "broken", "--json")
    assert done.code == 4, done.err
    assert "no-such-program-here" in done.error["message"]
    assert hub_here(home, "servers", "check", "desk", "--json").json["status"] == "ready"
