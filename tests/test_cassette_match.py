"""What a cassette matches, what it refuses, how it is read and recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.base import ConfigError, Json
from connectors.cassette_file import Exchange, Offered, lines, read
from connectors.cassette_match import Matcher
from hub.commands.recording import recorded as recorded_session
from hub.store.calls import CallFilter, list_calls
from tests.commands import DESK, furnish, hub
from tests.homes import done, write
from tests.hub_room import room, text_of

TIME: Json = {"name": "now", "inputSchema": {"type": "object", "properties": {"zone": {"type": "string"}}}}


def exchange(arguments: Json, text: str, **more: Any) -> Exchange:
    params = {"name": "now", "arguments": arguments}
    return Exchange("clock", "tools/call", params, {"content": [{"type": "text", "text": text}]}, **more)


def session_of(home: Path) -> str:
    session: str = done(home, "calls", "list", "--json").json[0]["session"]
    return session


def tape_at(path: Path, *exchanges: Exchange) -> Path:
    offered = Offered("clock", {"name": "clock"}, {"tools": {}}, None, {"tools": (TIME,)})
    path.write_bytes(b"".join(lines({}, [offered], exchanges)))
    return path


def found(matcher: Matcher, arguments: Json, *, lenient: bool = False) -> str | None:
    answer = matcher.find("tools/call", {"name": "now", "arguments": arguments}, lenient=lenient)
    if answer is None:
        return None
    assert answer.exchange.result is not None
    text: str = answer.exchange.result["content"][0]["text"]
    return text


def test_equal_calls_get_their_answers_in_order_and_then_from_the_first_again() -> None:
    matcher = Matcher([exchange({"a": 1, "b": 2}, "one"), exchange({"b": 2, "a": 1}, "two")])
    assert [found(matcher, {"a": 1, "b": 2}) for _ in range(3)] == ["one", "two", "one"]


def test_strictly_nothing_else_is_the_same_but_no_arguments_and_none_at_all() -> None:
    matcher = Matcher([exchange({"a": 1}, "one"), exchange({}, "none")])
    assert found(matcher, {"a": True}) is None
    assert found(matcher, {"a": 1, "b": None}) is None
    assert found(matcher, {}) == "none"
    assert found(Matcher([exchange({"a": 0.5}, "half")]), {"a": 0.5}) == "half"
    assert matcher.find("tools/call", {"name": "now"}, lenient=False) is not None
    assert matcher.find("tools/call", {"name": "then"}, lenient=True) is None


def test_leniently_the_nearest_call_of_the_same_tool_answers_and_people_are_told_what_is_different() -> None:
    matcher = Matcher([exchange({"zone": "UTC", "at": 1}, "utc"), exchange({"zone": "CET", "at": 1}, "cet")])
    assert found(matcher, {"zone": "CET", "at": 2}, lenient=True) == "cet"
    answer = matcher.find("tools/call", {"name": "now", "arguments": {"zone": "CET", "at": 2}}, lenient=True)
    assert answer is not None and answer.note == "arguments.at (2, recorded: 1)"


@pytest.mark.parametrize(
    ("recorded", "given", "same"),
    [
        ("[redacted: password]", "s3cret", True),
        ("[redacted: token]", 12345, True),
        ("https://me:[redacted: password]@host/x", "https://me:a(b@host/x", True),
        ("https://me:[redacted: password]@host/x", "https://me:a(b@other/x", False),
        ("[redacted: password]", None, False),
    ],
)
def test_in_the_place_of_a_secret_any_value_is_the_same(recorded: str, given: Any, same: bool) -> None:
    matcher = Matcher([exchange({"value": recorded}, "it")])
    arguments = {} if given is None else {"value": given}
    answer = matcher.find("tools/call", {"name": "now", "arguments": arguments}, lenient=False)
    assert (answer is not None) == same
    assert answer is None or "secret" in (answer.note or "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "is not there. Correct the path"),
        ("", "is of no server"),
        ("{", "line 1 is not as in one"),
        ('{"cassette":2}', "line 1 is not as in one"),
        ('{"cassette":1}\n{"server":"a","method":"x","params":{}}', "line 2 is not as in one"),
        ('{"cassette":1}\n{"offers":"a","info":[],"capabilities":{}}', "line 2 is not as in one"),
    ],
)
def test_what_is_no_cassette_is_refused_with_its_line(
    tmp_path: Path, text: str | None, sentence: str
) -> None:
    if text is not None:
        (tmp_path / "tape").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read(tmp_path / "tape")


def test_a_cassette_is_read_as_it_was_written(tmp_path: Path) -> None:
    some = exchange({"a": [15, "ü"]}, "x", notifications=({"method": "n/x", "params": {"progress": 1}},))
    refused = Exchange("clock", "prompts/get", {"name": "p"}, None, {"code": -1, "message": "no"})
    tape = read(tape_at(tmp_path / "tape", some, refused))
    assert tape.exchanges == (replace(some, number=1), replace(refused, number=2))
    assert tape.offered["clock"].lists["tools"] == (TIME,)


@pytest.mark.anyio
async def test_what_was_not_recorded_is_refused_with_what_is_nearest(tmp_path: Path) -> None:
    tape_at(tmp_path / "tape", exchange({"zone": "UTC"}, "noon"))
    async with room(tmp_path, {"clock": {"connect": {"cassette": "tape"}}}) as it, it.http() as http:
        known, other, unknown = [
            await it.ask(http, "tools/call", {"name": f"clock__{name}", "arguments": {"zone": zone}}, {})
            for name, zone in (("now", "UTC"), ("now", "CET"), ("then", "UTC"))
        ]
    assert text_of(known) == "noon"
    assert other["error"]["code"] == -32602
    assert other["error"]["message"].endswith(
        "no recorded tools/call of 'now' like this: "
        'the nearest one is different in arguments.zone ("CET", recorded: "UTC")'
    )
    assert unknown["error"]["message"] == "Unknown tool: clock__then"


@pytest.mark.anyio
async def test_a_lenient_answer_is_said_in_the_log_of_the_server(tmp_path: Path) -> None:
    tape_at(tmp_path / "tape", exchange({"zone": "UTC"}, "noon"))
    connect = {"cassette": "tape", "of": "clock", "match": "lenient"}
    async with room(tmp_path, {"wall": {"connect": connect}}) as it, it.http() as http:
        params = {"name": "wall__now", "arguments": {"zone": "CET"}}
        assert text_of(await it.ask(http, "tools/call", params, {})) == "noon"
        assert "answered by the nearest recorded one" in it.app.fleet.upstreams["wall"].stderr[-1]


def test_a_file_that_has_no_such_server_fails_that_server_with_the_fix(tmp_path: Path) -> None:
    tape_at(tmp_path / "tape", exchange({}, "x"))
    write(tmp_path, "wall", server="wall", connect={"cassette": "tape", "of": "sundial"})
    write(tmp_path, "me", agent="me", may=["*"])
    refused = hub(tmp_path, "servers", "check", "wall")
    assert refused.code == 4
    assert "has no server 'sundial', but clock. Say which with `of: NAME`" in refused.err


def test_what_the_record_has_cut_is_not_recorded_and_the_setting_that_keeps_it_is_named(
    tmp_path: Path,
) -> None:
    home = furnish(tmp_path / "home")
    (home / "hub.yaml").write_text("record: 200B")
    done(home, "tools", "call", "desk__typed", "--args-json", json.dumps({"text": "x" * 500}))
    refused = hub(home, "record", session_of(home), "-o", str(tmp_path / "tape"))
    assert refused.code == 2
    assert "was cut. Let hub.yaml keep more (`record: 16MiB`)" in refused.err
    assert not (tmp_path / "tape").exists()
    told = hub(home, "record", session_of(home), "-o", str(tmp_path / "tape"), "--skip-cut", "--json")
    assert told.json["left_out"] == {"cut": 1}


@pytest.mark.anyio
async def test_a_cassette_has_what_the_server_got_where_the_hub_filled_something_in(tmp_path: Path) -> None:
    tape = tape_at(tmp_path / "tape", exchange({"zone": "UTC"}, "noon"))
    fixed = {"connect": {"cassette": "tape"}, "tools": {"override": {"now": {"fix": {"zone": "UTC"}}}}}
    async with room(tmp_path, {"clock": fixed}) as it, it.http() as http:
        answer = await it.ask(http, "tools/call", {"name": "clock__now", "arguments": {}}, {})
        assert text_of(answer) == "noon"
        await it.app.parts.flush()
        rows = await it.app.store.read(lambda db: list_calls(db, CallFilter()))
        told = recorded_session(it.app.home, rows[0].session, tmp_path / "again")
    assert told["calls"] == 1
    assert read(tmp_path / "again").exchanges == read(tape).exchanges


@pytest.mark.anyio
async def test_a_secret_is_in_no_cassette_and_any_value_in_its_place_gets_the_recorded_answer(
    tmp_path: Path,
) -> None:
    (tmp_path / "one").mkdir()
    async with room(tmp_path / "one", {"desk": {"connect": {"command": DESK}}}) as it, it.http() as http:
        params = {"name": "desk__typed", "arguments": {"text": "tea", "password": "s3cret-word"}}
        await it.ask(http, "tools/call", params, {})
        (row,) = await it.app.store.read(lambda db: list_calls(db, CallFilter()))
        told = recorded_session(it.app.home, row.session, tmp_path / "tape")
    assert told["redacted"] == 1
    assert b"s3cret-word" not in (tmp_path / "tape").read_bytes()
    (tmp_path / "two").mkdir()
    connect = {"cassette": str(tmp_path / "tape")}
    async with room(tmp_path / "two", {"desk": {"connect": connect}}) as it, it.http() as http:
        answer = await it.ask(http, "tools/call", params, {})
        assert json.loads(text_of(answer)) == {"text": "tea", "password": "[redacted: password]"}
        assert "a secret was taken out" in it.app.fleet.upstreams["desk"].stderr[-1]


@pytest.mark.anyio
async def test_a_uri_that_two_servers_have_is_recorded_as_its_server_says_it(tmp_path: Path) -> None:
    uri = "note://one"
    listed: Json = {"uri": uri, "name": "one"}
    said: Json = {"contents": [{"uri": uri, "text": "it"}]}
    offered = [Offered(name, {}, {"resources": {}}, None, {"resources": (listed,)}) for name in ("a", "b")]
    exchanges = [Exchange(name, "resources/read", {"uri": uri}, said) for name in ("a", "b")]
    (tmp_path / "tape").write_bytes(b"".join(lines({}, offered, exchanges)))
    servers = {name: {"connect": {"cassette": "tape"}} for name in ("a", "b")}
    async with room(tmp_path, servers) as it, it.http() as http:
        for known in (uri, f"hub+b:{uri}"):
            answer = await it.ask(http, "resources/read", {"uri": known}, {})
            assert answer["result"]["contents"][0]["uri"] == known
        (row, _) = await it.app.store.read(lambda db: list_calls(db, CallFilter()))
        recorded_session(it.app.home, row.session, tmp_path / "again")
    again = read(tmp_path / "again").exchanges
    assert [each.params for each in again] == [{"uri": uri}] * 2
    assert [each.result["contents"][0]["uri"] for each in again if each.result] == [uri] * 2
