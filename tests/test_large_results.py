"""A long result is few words for its agent, little memory of the hub for its size, and found by pointer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.results.count import tokens
from tests.homes import done, running, write
from tests.processes import memory_bytes
from tests.servers import dictated

TOKENS_MAX = 500
MIB = 1024**2


def rows(count: int) -> list[dict[str, Any]]:
    note = 'some wörds, "quoted" and so on'
    return [
        {"id": id, "name": f"row {id}", "owner": {"login": f"user{id % 7}"}, "note": note}
        for id in range(count)
    ]


def text(count: int) -> Any:
    return {"content": [{"type": "text", "text": json.dumps(rows(count), ensure_ascii=False)}]}


def structured(count: int) -> Any:
    return {"content": [], "structuredContent": {"items": rows(count)}}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc, which only Linux has")
@pytest.mark.parametrize(
    ("result", "items", "times"),
    [
        # The message itself and its text. (In Python, a text beyond Latin takes 2 or 4 bytes a character.)
        (text(200_000), "", 2.5),
        # What is read as values takes some five times its size in Python.
        (structured(100_000), "/items", 9.0),
    ],
    ids=["text", "structured"],
)  # fmt: skip
def test_a_long_result_costs_few_tokens_and_little_memory_and_is_found_by_pointer(
    result: Any, items: str, times: float, tmp_path: Path
) -> None:
    answer = f'"result":{json.dumps({**result, "resultType": "complete"}, ensure_ascii=False)}'
    (tmp_path / "answer").write_text(answer, "utf-8")
    size = (tmp_path / "answer").stat().st_size
    write(tmp_path, "me", agent="me", may=["*"])
    command = [sys.executable, str(Path(dictated.__file__)), "modern", "box", str(tmp_path)]
    write(tmp_path, "box", server="box", connect={"command": command}, era="modern")
    with running(tmp_path) as hub:
        hub.until("box: ready")
        done(tmp_path, "tools", "list")
        before = memory_bytes(hub.pid, "VmHWM")
        given = done(tmp_path, "tools", "call", "box__echo", "text=", "--json")
        after = memory_bytes(hub.pid, "VmHWM")
        assert tokens(given.out) <= TOKENS_MAX
        assert after - before < times * size, f"{(after - before) / MIB:.0f} MiB for {size / MIB:.0f} MiB"
        id = given.json["_meta"]["hub/result"]["id"]
        for number in (0, 77_777, 99_999):
            read = done(tmp_path, "tools", "call", "hub__read", f"id={id}", f"at={items}/{number}/name").json
            assert read["value"] == f"row {number}"
        assert memory_bytes(hub.pid, "VmHWM") - after < MIB, "to read a place of it costs next to nothing"
