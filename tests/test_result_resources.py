"""A long text of a resource is kept like a tool's result, where its agent's own manifest has a limit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.results.count import tokens
from tests.commands import hub
from tests.homes import done, write
from tests.servers import dictated, long

LONG = json.dumps(long.rows(200))
PICTURE = {"uri": "box://one/picture", "mimeType": "image/png", "blob": "A" * 40_000}


def furnish(home: Path, contents: list[Any], **more: Any) -> Path:
    result = {"contents": contents, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    (home / "box").mkdir(parents=True)
    (home / "box" / "answer").write_text(f'"result":{json.dumps(result)}')
    command = [sys.executable, str(Path(dictated.__file__)), "modern", "box", str(home / "box")]
    write(home, "box", server="box", connect={"command": command}, era="modern")
    write(home, "me", agent="me", may=["*"], **more)
    return home


def contents(home: Path) -> Any:
    said = done(home, "resources", "read", "box://one", "--json").json
    return said["contents"]


def test_it_is_read_on_by_place_and_what_is_no_text_stays(tmp_path: Path) -> None:
    text = {"uri": "box://one", "mimeType": "application/json", "text": LONG}
    home = furnish(tmp_path / "home", [text, PICTURE], results=1000)
    handle, picture = contents(home)
    assert picture == PICTURE
    assert handle["uri"] == "box://one" and handle["mimeType"] == "text/plain"
    assert tokens(handle["text"]) <= 500 and "/items: array of 200" in handle["text"]
    (kept,) = done(home, "results", "list", "--json").json
    assert (kept["tool"], kept["bytes"]) == ("box://one", len(LONG.encode()))
    read = done(home, "tools", "call", "hub__read", f"id={kept['id']}", "at=/items/7/name").out
    assert json.loads(read)["value"] == "row 7"


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ({"uri": "box://one", "text": LONG}, {}),
        ({"uri": "box://one", "text": LONG}, {"results": "whole"}),
        ({"uri": "box://one", "text": "short"}, {"results": 1000}),
        (PICTURE, {"results": 1000}),
    ],
    ids=["no limit of the agent's", "whole", "short", "a picture"],
)
def test_else_it_passes_whole(content: Any, more: Any, tmp_path: Path) -> None:
    home = furnish(tmp_path / "home", [content], **more)
    assert contents(home) == [content]
    assert hub(home, "results", "list", "-q").out == ""
