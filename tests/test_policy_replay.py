"""`hub policy test`: what other manifests would have made of what really happened."""

from __future__ import annotations

import json
import random
import sqlite3
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hub.builtin.definitions import ALL
from hub.home import Home
from hub.identity import scopes
from hub.manifests import manifest
from hub.review.changes import changes
from hub.review.replay import Judge
from hub.store.calls import CallFilter, list_calls
from hub.store.past import PastCall
from hub.tasks import TASKS
from tests import oracle
from tests.approving import URL_CAPABLE, append, approve, approving, said
from tests.policies import TOOLS, a_call, a_policy
from tests.policy_room import BYTES_MAX, Room, Use, room_at

A_MONDAY = datetime(2026, 11, 16, tzinfo=UTC).timestamp()
TEXT = {"properties": {"path": {"type": "string"}, "password": {"type": "string"}}}
SERVERS = ("files", "git")


@pytest.fixture
def room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Room:
    return room_at(tmp_path / "home", capsys)


@pytest.fixture
def desk(room: Room) -> Room:
    room.server("desk", {"read": TEXT, "write": TEXT})
    room.write(agent="me", may=["desk__*"])
    return room


def test_manifests_as_they_stand_decide_as_they_did_and_others_as_the_oracle_says(room: Room) -> None:
    """Of random policies and calls: what changes is exactly what an independent oracle decides otherwise."""
    draw = random.Random(20261122)
    for server in SERVERS:
        mine = [tool for tool in TOOLS if tool["server"] == server]
        override = {
            tool["own"]: {"annotations": {"readOnlyHint": tool["reads_only"]}, "tags": tool["tags"]}
            for tool in mine
        }
        room.server(server, {tool["own"]: {} for tool in mine}, tools={"override": override})
    agents = {f"agent-{number}": a_policy(draw) for number in range(30)}
    for name, policy in agents.items():
        policy.pop("within", None)
        room.write(agent=name, **policy)
    uses, cases = [], []
    for name in agents:
        for _ in range(25):
            tool, arguments, minute, day = a_call(draw)
            at = A_MONDAY + day * 86_400 + minute * 60
            uses.append(Use(f"{tool['server']}__{tool['own']}", arguments, name, at))
            cases.append((name, tool, arguments, minute, day))
    through = room.past(*uses)
    same = room.run("policy", "test", "--json")
    assert (same.code, same.json["changes"], same.json["undecided"]) == (0, [], {})
    assert same.json["decided"] == len(uses) and 100 < sum(through) < len(uses) - 100
    others = {name: a_policy(draw) for name in agents}
    for name, policy in others.items():
        policy.pop("within", None)
        new = room.write("new", agent=name, **policy)
    wanted: dict[tuple[str, str], int] = {}
    for (name, tool, arguments, minute, day), was in zip(cases, through, strict=True):
        would_be = oracle.allowed(others[name], tool, arguments, minute, day) is not None
        if would_be != was:
            key = (name, "refused" if was else "allowed")
            wanted[key] = wanted.get(key, 0) + 1
    done = room.run("policy", "test", str(new), "--json")
    found: dict[tuple[str, str], int] = {}
    for change in done.json["changes"]:
        if change["would_be"] != "allowed, with other arguments":
            key = (change["agent"], change["would_be"])
            found[key] = found.get(key, 0) + change["calls"]
    assert found == wanted and len(wanted) > 30
    assert (done.code, done.json["undecided"]) == (1, {})


def test_changes_are_grouped_with_rule_file_line_and_an_example(desk: Room) -> None:
    assert all(desk.past(*[Use("desk__write", {"path": f"/srv/{n}"}) for n in range(3)], Use("desk__read")))
    new = desk.write(
        "new", agent="me", may=["desk__read", {"use": "desk__write", "with": {"path": {"const": 1}}}]
    )
    done = desk.run("policy", "test", str(new))
    assert done.code == 1
    said, example = done.out.strip().split(" such as ")
    assert said == "me desk__write: allowed -> refused: 3 calls,"
    example, why = example.split(": ", 1)
    assert why == "new/me.yaml:1: may[1]: path: must be 1"
    assert desk.run("calls", "show", example, "--json").json["params"]["arguments"] == {"path": "/srv/2"}
    assert "4 calls decided anew: 3 would be decided otherwise." in done.err


def test_only_what_the_new_manifests_are_about_is_decided(desk: Room) -> None:
    desk.write(agent="other", may=["desk__read"])
    desk.past(Use("desk__read"), Use("desk__read", agent="other"), Use("desk__read", ago=7200))
    new = desk.write("new", agent="me", may=[])
    assert desk.run("policy", "test", str(new), "--json").json["decided"] == 2
    assert desk.run("policy", "test", str(new), "--since", "1h", "--json").json["decided"] == 1
    assert desk.run("policy", "test", str(new), "--agent", "other", "--json").json["decided"] == 0
    assert desk.run("policy", "test", "--json").json["decided"] == 3
    assert desk.run("policy", "test", str(new), "--agent", "nobody").code == 2
    assert desk.run("policy", "test", str(new), "--since", "soon").code == 2


def test_what_was_refused_and_would_be_allowed_is_a_surprise_too(desk: Room) -> None:
    desk.write(agent="me", may=["desk__read"])
    assert desk.past(Use("desk__write"), Use("desk__none")) == [False, False]
    done = desk.run("policy", "test", str(desk.write("new", agent="me", may=["*"])), "--json")
    (change,) = done.json["changes"]
    assert (done.code, change["was"], change["would_be"], change["is_now"]) == (
        1,
        "refused",
        "allowed",
        "refused",
    )
    assert done.json["nothing"] == 1  # what is offered nowhere is no matter of rules


def test_a_person_to_be_asked_is_a_change(desk: Room) -> None:
    desk.past(Use("desk__write", {"path": "/a"}))
    new = desk.write("new", agent="me", may=["desk__read", {"use": "desk__write", "ask": "human"}])
    (change,) = desk.run("policy", "test", str(new), "--json").json["changes"]
    assert (change["was"], change["would_be"]) == ("allowed", "asks")


@pytest.mark.anyio
async def test_calls_that_a_person_was_asked_of_in_any_way_stay_so(tmp_path: Path) -> None:
    """Held, as a question, as a task, and made once approved: by a real hub."""
    async with approving(tmp_path) as it, it.http() as http:
        await append(it, http)
        await approve(it)
        assert said(await append(it, http)) == "k"
        await append(it, http, "question", URL_CAPABLE)
        await append(it, http, "task", {"extensions": {TASKS: {}}})
        states = [call.reason for call in await it.app.store.read(partial(list_calls, wanted=CallFilter()))]
    home = Home.at(tmp_path / "home")
    assert changes(home, [], now=0.0)["changes"] == []
    (tmp_path / "me.yaml").write_text("agent: me\nmay: [ledger__*]\n")
    (change,) = changes(home, [tmp_path / "me.yaml"], now=0.0)["changes"]
    assert (change["was"], change["would_be"], change["calls"]) == ("asks", "allowed", 4)
    assert states.count("pending") == 1


def test_other_arguments_than_are_sent_now_are_a_change(desk: Room) -> None:
    desk.past(Use("desk__write", {"path": "/srv/./a"}))
    new = desk.write("new", agent="me", may=[{"use": "desk__write", "with": {"path": {"format": "path"}}}])
    (change,) = desk.run("policy", "test", str(new), "--json").json["changes"]
    assert change["would_be"] == "allowed, with other arguments"


def test_a_server_s_new_manifest_is_tried_on_all_agents(desk: Room) -> None:
    desk.write(agent="tagger", may=[{"tag": "safe"}])
    desk.past(Use("desk__read"), Use("desk__read", agent="tagger"))
    tools = {"override": {"read": {"tags": ["safe"]}}}
    new = desk.write("new", server="desk", connect={"command": ["none"]}, tools=tools)
    done = desk.run("policy", "test", str(new), "--json").json
    assert [(change["agent"], change["would_be"]) for change in done["changes"]] == [("tagger", "allowed")]
    assert done["decided"] == 2


def test_what_was_redacted_is_not_judged_and_is_counted(desk: Room) -> None:
    desk.past(Use("desk__write", {"path": "/srv/a", "password": "hunter22"}))
    unlooked = {"use": "desk__write", "with": {"path": {"pattern": "^/srv/"}}}
    done = desk.run("policy", "test", str(desk.write("a", agent="me", may=[unlooked])), "--json").json
    assert (done["decided"], done["without"], done["changes"]) == (1, 1, [])
    looked = {"use": "desk__write", "with": {"password": {"const": "hunter22"}}}
    done = desk.run("policy", "test", str(desk.write("b", agent="me", may=[looked])), "--json").json
    assert (done["decided"], done["undecided"], done["changes"]) == (0, {"arguments redacted": 1}, [])
    # What else it gave settles it.
    both = {"use": "desk__write", "with": {"password": {"const": "x"}, "path": {"pattern": "^/etc/"}}}
    done = desk.run("policy", "test", str(desk.write("c", agent="me", may=[both])), "--json").json
    assert done["undecided"] == {} and done["changes"][0]["would_be"] == "refused"
    said = desk.run("policy", "test", str(desk.home.path / "b")).err
    assert "1 not decided: arguments redacted." in said


def test_arguments_that_were_cut_or_deleted_are_not_guessed(desk: Room) -> None:
    desk.past(Use("desk__write", {"path": "x" * BYTES_MAX * 2}), Use("desk__write", {"path": "/srv"}))
    with sqlite3.connect(desk.home.database) as connection:
        connection.execute("UPDATE calls SET params = NULL WHERE params LIKE '%/srv%'")
    connection.close()
    narrow = {"use": "desk__write", "with": {"path": {"maxLength": 9}}}
    done = desk.run("policy", "test", str(desk.write("a", agent="me", may=[narrow])), "--json").json
    assert (done["decided"], done["undecided"]) == (0, {"arguments not kept": 2})
    done = desk.run("policy", "test", str(desk.write("b", agent="me", may=["desk__read"])), "--json").json
    assert (done["decided"], done["undecided"], done["changes"][0]["calls"]) == (2, {}, 2)


def test_a_call_with_a_narrower_token_is_decided_within_it(desk: Room) -> None:
    desk.write(agent="me", may=["desk__read"])
    scope = scopes.written(["desk__read"])
    assert desk.past(Use("desk__write", scope=scope), Use("desk__read", scope=scope)) == [False, True]
    new = str(desk.write("new", agent="me", may=["*"]))
    assert desk.run("policy", "test", new, "--json").json["changes"] == []
    with sqlite3.connect(desk.home.database) as connection:
        connection.execute("DELETE FROM tokens")
    connection.close()
    done = desk.run("policy", "test", new, "--json").json
    assert (done["changes"], done["undecided"]) == ([], {"token not known": 1})


def test_prompts_and_resources_are_decided_as_calls_are(room: Room) -> None:
    room.write(server="desk", connect={"command": ["none"]})
    prompt: dict[str, Any] = {"name": "greet", "arguments": [{"name": "who"}]}
    resource = {"uri": "desk://note", "name": "note"}
    template = {"uriTemplate": "desk://{id}/x", "name": "any"}
    room.learn("desk", tool=[], resource=[resource], template=[template], prompt=[prompt])
    room.write(agent="me", may=["desk__*"])
    reference = {
        "ref": {"type": "ref/prompt", "name": "desk__greet"},
        "argument": {"name": "who", "value": "a"},
    }
    through = room.past(
        Use("desk__greet", {"who": "you"}, method="prompts/get"),
        Use("desk://note", method="resources/read"),
        Use("desk://7/x", method="resources/read"),
        Use("", method="completion/complete", params=reference),
    )
    assert all(through)
    who = {"use": "desk__greet", "with": {"who": {"const": "me"}}}
    new = room.write("new", agent="me", may=["desk__desk://?/x", who])
    changes = room.run("policy", "test", str(new), "--json").json["changes"]
    assert sorted((change["tool"], change["calls"]) for change in changes) == [
        ("desk__desk://note", 1),
        ("desk__greet", 2),
    ]


def test_the_hub_s_own_tools_are_known_without_a_server(room: Room) -> None:
    room.write(agent="me", may=[{"use": "hub__*", "readOnly": True}])
    judge = Judge(manifest.load(room.home.manifests))
    asked = PastCall("1", "me", None, "hub", "tools/call", "", "session", "{}", 0, "done", None, None, False)
    verdicts = {
        tool.definition["name"]: judge.decide(asked._replace(own=tool.definition["name"])) for tool in ALL
    }
    outcomes = {name: verdict.outcome for name, verdict in verdicts.items() if verdict is not None}
    assert outcomes == {tool.definition["name"]: "allowed" if tool.reads_only else "refused" for tool in ALL}


def test_a_manifest_that_is_not_valid_or_not_there_is_named(desk: Room) -> None:
    bad = desk.home.path / "bad.yaml"
    bad.write_text("agent: me\nmay: [{usse: x}]\n")
    done = desk.run("policy", "test", str(bad))
    assert done.code == 2 and f"{bad}:2: may[0].usse" in done.err
    assert desk.run("policy", "test", str(desk.home.path / "none.yaml")).code == 2


def test_a_home_where_no_hub_has_run_has_no_past(room: Room) -> None:
    room.write(agent="me", may=["*"])
    done = room.run("policy", "test", "--json")
    assert (done.code, done.json["decided"]) == (0, 0)
    assert json.loads(done.out)["changes"] == []
