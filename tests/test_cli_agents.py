"""Agents and their tokens from the command line, where no hub runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.commands import COMMAND, Done, environment, furnish


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return furnish(tmp_path / "home")


def test_agents_are_added_asked_about_and_removed(hub_here: Any, home: Path) -> None:
    added = hub_here(home, "agents", "add", "ci", "--may", "desk__*", "--never", "desk__die", "--json")
    assert added.code == 0, added.err
    assert set(added.json) == {"agent", "token"} and added.json["agent"] == "ci"
    assert added.json["token"].startswith("hub_")
    yes, no, other = (
        hub_here(home, "agents", "can", "ci", f"{name}") for name in ("desk__a", "desk__die", "x__y")
    )
    assert (yes.code, no.code, other.code) == (0, 6, 6)
    assert yes.out == "yes: manifests/ci.yaml:4: may[0] 'desk__*'\n"
    assert no.out.startswith("no: manifests/ci.yaml:") and "never[0] 'desk__die'" in no.out
    assert other.out == "no: no rule of manifests/ci.yaml allows it\n"
    assert hub_here(home, "agents", "can", "ci", "desk__die", "--json").json["rule"] == "never[0]"
    assert hub_here(home, "agents", "add", "ci").code == 2
    assert hub_here(home, "agents", "list", "-q").out.split() == ["ci", "me", "reader"]
    assert hub_here(home, "agent", "remove", "ci").code == 0
    assert hub_here(home, "agents", "can", "ci", "desk__a").code == 5


def test_a_pattern_that_can_match_nothing_is_said_when_the_agent_is_added(hub_here: Any, home: Path) -> None:
    done = hub_here(home, "agents", "add", "ci", "--may", "dsk__*")
    assert done.code == 0 and "'dsk__*' can match nothing" in done.err and "'desk__*'" in done.err
    assert "can match nothing" not in hub_here(home, "agents", "add", "cd", "--may", "desk__*").err


def test_an_agents_rules_are_shown_with_what_restricts_them(hub_here: Any, home: Path) -> None:
    rules = "[{server: desk, readOnly: true}, {use: desk__a, ask: human, limits: {calls: 1/day}}]"
    (home / "manifests" / "ci.yaml").write_text(f"agent: ci\nmay: {rules}\n")
    shown = hub_here(home, "agents", "show", "ci", "--json").json["may"]
    assert shown[:2] == ["* {server: desk, readOnly: true}", "desk__a {ask, limits}"]


def test_a_manifest_that_finds_no_room_says_so(home: Path) -> None:
    limited = f"ulimit -f 0; exec {' '.join(COMMAND)} --home {home} add ci -- ls"
    done = subprocess.run(
        ["bash", "-c", limited], capture_output=True, text=True, timeout=30, env=environment()
    )
    assert done.returncode == 1
    assert done.stderr.startswith("hub: The folder of manifests cannot be changed: File too large.")
    assert not (home / "manifests" / "ci.yaml").exists()


def test_tokens_are_issued_listed_rotated_and_revoked_without_a_hub(hub_here: Any, home: Path) -> None:
    first = hub_here(home, "agents", "token", "reader", "--json").json
    second = hub_here(home, "agents", "token", "reader", "--json").json
    assert set(first) == {"agent", "id", "token"} and first["token"] != second["token"]
    listed = hub_here(home, "agents", "token", "reader", "--list", "--json").json
    assert [token["revoked"] for token in listed] == [None, None]
    assert first["token"] not in json.dumps(listed)
    assert hub_here(home, "agents", "token", "reader", "--revoke", listed[0]["id"]).code == 0
    assert hub_here(home, "agents", "token", "reader", "--revoke", listed[0]["id"]).code == 5
    assert hub_here(home, "agents", "token", "me", "--revoke", listed[1]["id"]).code == 5
    hub_here(home, "agents", "token", "reader", "--rotate", "--json")
    listed = hub_here(home, "agents", "token", "reader", "--list", "--json").json
    assert [token["revoked"] is None for token in listed] == [True, False, False]
    assert hub_here(home, "agents", "token", "reader", "--rotate", "--list").code == 2


def test_a_token_can_be_narrower_end_and_have_a_parent_without_a_hub(hub_here: Any, home: Path) -> None:
    def token(*arguments: str) -> Done:
        done: Done = hub_here(home, "agents", "token", "reader", "--json", *arguments)
        return done

    rule = "{use: desk__a, with: {x: {const: 1}}}"
    first = token("--expires", "30d", "--may", "desk__*", "--may", rule, "--never", "desk__b", "--calls", "5")
    child = token("--parent", first.json["id"], "--expires", "90d", "--calls", "9")
    listed = {each["id"]: each for each in hub_here(home, "agents", "tokens", "reader", "--json").json}
    above, below = listed[first.json["id"]], listed[child.json["id"]]
    assert above["scope"] == {
        "may": ["desk__*", {"use": "desk__a", "with": {"x": {"const": 1}}}],
        "never": ["desk__b"],
    }
    assert (above["calls"], above["calls_made"], above["parent"]) == (5, 0, None)
    assert (below["parent"], below["calls"], below["scope"]) == (above["id"], 5, {})
    assert below["expires"] == above["expires"], "never later than its parent"
    shown = hub_here(home, "agents", "tokens", "reader").out
    assert "desk__a {...}" in shown and "!desk__b" in shown and "0/5" in shown
    assert hub_here(home, "agents", "token", "reader", "--revoke", above["id"]).code == 0
    listed = {each["id"]: each for each in hub_here(home, "agents", "tokens", "reader", "--json").json}
    assert listed[below["id"]]["revoked"] is not None
    assert token("--parent", above["id"]).code == 5
    for wrong in (["--expires", "3y"], ["--expires", "0s"], ["--calls", "0"], ["--may", "{uses: x}"]):
        assert token(*wrong).code == 2, wrong
    assert token("--rotate", "--calls", "3").code == 2


def test_a_client_s_configuration_has_a_token_only_where_one_is_kept(hub_here: Any, home: Path) -> None:
    hub_here(home, "agents", "token", "me")
    without = hub_here(home, "agents", "show", "me", "--config")
    assert "<a token of me" in without.json["mcpServers"]["hub"]["headers"]["Authorization"]
    path = home / ".hub" / "tokens" / "me"
    path.write_text("hub_abc\n")
    kept = hub_here(home, "agents", "show", "me", "--config").json["mcpServers"]["hub"]
    assert kept["headers"] == {"Authorization": "Bearer hub_abc"}
    assert kept["url"].endswith("/mcp")
    piped = hub_here(home, "agents", "show", "me", "--config", "--stdio").json["mcpServers"]["hub"]
    assert piped["args"][-6:] == ["serve", "--stdio", "--agent", "me", "--home", str(home)]


def test_an_agent_whose_manifest_is_broken_is_named_with_what_is_wrong(hub_here: Any, home: Path) -> None:
    (home / "manifests" / "reader.yaml").write_text("agent: reader\nmight: []\n")
    done = hub_here(home, "agents", "show", "reader", "--json")
    assert done.code == 2
    assert "reader.yaml:2: might" in done.error["message"]
