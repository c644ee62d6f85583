"""What is kept of a stream for who comes back: how many events, how long, and under which ids."""

from __future__ import annotations

import pytest

from connectors.jsonrpc import encode
from hub.env import SystemEnv
from hub.server.lines import BYTES_MAX, EVENTS_MAX, KEEP_SECONDS, LINES_MAX, Lines
from tests.clocks import SetEnv

pytestmark = pytest.mark.anyio


def kept(lines: Lines, id: str, session: str = "s") -> int | None:
    """How many events a client gets who comes back with this id; `None`: none, as there is no line."""
    found = lines.find(id, session)
    assert found is not None
    return None if found.line is None else found.line.since(found.number)[1].count(b"\n\n")


def last_id(event: bytes) -> str:
    return event.split(b"\n")[0].removeprefix(b"id: ").decode()


def test_of_a_line_the_newest_events_are_kept() -> None:
    lines = Lines(SystemEnv())
    line = lines.open("s", 1)
    first = last_id(line.say(b"0"))
    for number in range(2 * EVENTS_MAX):
        line.say(b"%d" % number)
    assert kept(lines, first) == EVENTS_MAX
    line.say(b"x" * (BYTES_MAX // 2))
    line.say(b"x" * (2 * BYTES_MAX))
    assert kept(lines, first) == 1
    assert line.size < 2 * BYTES_MAX + 200


def test_lines_are_kept_for_a_while_after_their_end_and_never_too_many() -> None:
    env = SetEnv(seconds=0.0)
    lines = Lines(env)
    ids = []
    for number in range(LINES_MAX):
        line = lines.open("s", number)
        ids.append(last_id(line.say(b"x")))
        if number % 2:
            line.end()
    assert len(lines) == LINES_MAX
    newest = lines.open("s", "new")
    # First what has ended, then what was opened first.
    assert [kept(lines, id) for id in ids[:4]] == [0, None, 0, 0]
    newest.end()
    env.seconds = KEEP_SECONDS + 1
    lines.open("s", "newer")
    assert len(lines) == LINES_MAX // 2 + 1
    for number in range(LINES_MAX):
        lines.open("s", number)
    assert len(lines) == LINES_MAX
    assert kept(lines, ids[0]) is None


def test_all_lines_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.server.lines.ALL_BYTES_MAX", 10_000)
    lines = Lines(SystemEnv())
    first, second = lines.open("s", 1), lines.open("s", 2)
    ids = [last_id(line.say(b"x" * 4000)) for line in (first, second)]
    first.end()
    assert [kept(lines, id) for id in ids] == [0, 0]
    second.say(b"x" * 4000)
    assert [kept(lines, id) for id in ids] == [None, 1]
    second.say(b"x" * 9000)
    assert [kept(lines, id) for id in ids] == [None, None]
    third = lines.open("s", 3)
    third.say(b"x" * 9000)
    assert len(lines) == 1
    lines.close("s")
    assert len(lines) == 0
    assert third.ended


@pytest.mark.parametrize("request_id", [1, -(2**53), "a", "ü\n\0", "x" * 150, "x" * 1000])
def test_an_id_names_the_request_that_its_line_answers(request_id: int | str) -> None:
    lines = Lines(SystemEnv())
    found = Lines(SystemEnv()).find(last_id(lines.open("s", request_id).say(b"x")), "s")
    assert found is not None
    # One that is too long for a header is left out.
    assert found.request == (request_id if len(encode(request_id)) < 200 else None)
