"""People see the results that are kept, read places of them, and delete them; with a hub and without one."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.commands import hub
from tests.homes import done, running, write
from tests.servers import long

COUNT = 900


def files_with(folder: Path, word: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def furnish(folder: Path) -> Path:
    home = folder / "home"
    write(home, "me", agent="me", may=["*"])
    write(
        home,
        "long",
        server="long",
        connect={"command": [sys.executable, long.__file__, str(folder / "taken")]},
    )
    return home


@pytest.mark.parametrize("served", [True, False], ids=["a hub runs", "none runs"])
def test_results_are_listed_shown_by_place_and_deleted(served: bool, tmp_path: Path) -> None:
    home = furnish(tmp_path)
    assert done(home, "results", "list").err == "There are no such results.\n"
    assert hub(home, "results", "show", "x").code == 5
    with running(home) if served else nullcontext():
        called = done(home, "tools", "call", "long__rows", f"count={COUNT}", "--json").json
        id = called["_meta"]["hub/result"]["id"]
        (row,) = done(home, "results", "list", "--json", "--agent", "me").json
        assert (row["id"], row["agent"], row["tool"], row["labels"]) == (
            id,
            "me",
            "long__rows",
            ["server:long"],
        )
        assert done(home, "results", "list", "-q", "--session", row["session"]).out == f"{id}\n"
        assert done(home, "results", "list", "--json", "--agent", "other").json == []

        shown = done(home, "results", "show", id).out
        assert "tool: long__rows\n" in shown and "/items: array of 900" in shown
        assert done(home, "results", "show", id, "/items/7", "--json").json == long.row(7)
        assert done(home, "results", "show", id, "/items/7/name").out == "row 7\n"
        assert json.loads(done(home, "results", "show", id, "").out) == long.rows(COUNT)
        hits = done(home, "results", "show", id, "/items", "--search", "ROW 88", "--json").json["hits"]
        assert [hit["at"] for hit in hits][:2] == ["/items/88/name", "/items/880/name"]
        wrong = hub(home, "results", "show", id, "/items/7/nmae")
        assert wrong.code == 5 and "Did you mean '/items/7/name'?" in wrong.err

        assert files_with(home / ".hub", "row 899") != []
        gone = hub(home, "results", "delete", id)
        assert gone.code == 0 and gone.err.startswith(
            f"Deleted: {row['bytes']} bytes that long__rows answered me."
        )
        assert files_with(home / ".hub", "row 899") == []
        for command in ("show", "delete"):
            again = hub(home, "results", command, id)
            assert again.code == 5 and f"There is no result '{id}'" in again.err
        read = hub(home, "tools", "call", "hub__read", f"id={id}")
        assert "There is no result" in read.err, "nor for its agent"
    assert "result.deleted" in (home / ".hub" / "hub.db").read_bytes().decode("latin-1")
    assert done(home, "audit", "verify").code == 0


def test_people_call_a_session_by_its_name(tmp_path: Path) -> None:
    home = furnish(tmp_path)
    write(home, "other", agent="other", may=["*"])
    with running(home):

        def use(agent: str, tool: str, *arguments: str) -> Any:
            return done(home, "tools", "call", tool, *arguments, "--agent", agent, "--json").json

        id = use("me", "hub__session", "action=open", "name=job")["structuredContent"]["session"]
        use("me", "long__rows", f"count={COUNT}")
        assert done(home, "sessions", "show", "job", "--json").json["id"] == id
        assert f"Session {id} has the labels" in done(home, "sessions", "label", "job", "a=b").err
        assert len(done(home, "results", "list", "--session", "job", "--json").json) == 1
        calls = done(home, "calls", "list", "--session", "job", "--json").json
        assert {call["session"] for call in calls} == {id} and calls[0]["tool"] == "long__rows"
        tape = tmp_path / "tape.jsonl"
        recorded = done(home, "record", "job", "-o", str(tape), "--skip-cut", "--json").json
        assert recorded["servers"] == ["long"]
        assert json.loads(tape.read_text().splitlines()[0])["session"] == id
        assert done(home, "sessions", "export", "job", "-o", str(tape), "--json").json["results"] == 1

        second = use("other", "hub__session", "action=open", "name=job")["structuredContent"]["session"]
        several = hub(home, "record", "job", "-o", str(tape), "--skip-cut")
        assert several.code == 2 and f"{id} of me" in several.err and f"{second} of other" in several.err
        use("other", "hub__session", "action=close", "name=job")
        assert done(home, "sessions", "show", "job", "--json").json["id"] == id, "the open one"
        assert hub(home, "sessions", "show", "none").code == 5
        assert done(home, "sessions", "delete", "job", "--json").json["session"] == id
