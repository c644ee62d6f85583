"""`hub policy learn`: the narrowest manifest that still allows what an agent really did."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hub.manifests import manifest
from hub.model import Json
from hub.policy import When, decide
from hub.rules.judge import judge
from tests.policies import TOOLS, a_call, a_policy
from tests.policy_room import BYTES_MAX, Room, Use, room_at

A_MONDAY = datetime(2026, 11, 16, tzinfo=UTC).timestamp()
FREE: Json = {}


@pytest.fixture
def room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Room:
    return room_at(tmp_path / "home", capsys)


@pytest.fixture
def desk(room: Room) -> Room:
    room.server("desk", {"read": FREE, "write": FREE})
    room.write(agent="me", may=["desk__*"])
    return room


def learnt(room: Room, agent: str = "me") -> manifest.AgentManifest:
    """The manifest that is learnt, as `hub validate` reads it too."""
    done = room.run("policy", "learn", agent)
    assert done.code == 0, done.err
    folder = room.home.path / "learnt"
    folder.mkdir(exist_ok=True)
    (folder / f"{agent}.yaml").write_text(done.out)
    assert done.out.startswith(manifest.SCHEMA_COMMENT + "\n")
    assert room.run("validate", str(folder / f"{agent}.yaml")).code == 0, done.out
    return manifest.load(folder).agents[agent]


def allows(room: Room, agent: manifest.AgentManifest, name: str, arguments: Json) -> bool:
    entry = room.catalog.find("tool", name)
    assert entry is not None
    decision = decide(agent.grants(), entry)
    params = {"name": name, "arguments": arguments}
    return decision.allowed and judge(decision, entry, "tools/call", params, at=0.0).refusal is None


def with_of(room: Room, *calls: Json) -> Any:
    """What is learnt of the arguments of one tool from these calls."""
    assert all(room.past(*[Use("desk__write", arguments) for arguments in calls]))
    (rule,) = learnt(room).rules.may
    assert rule.only and rule.use == ("desk__write",)
    return rule.with_


def test_all_that_was_allowed_stays_so_and_nothing_else_is(room: Room) -> None:
    """Of random policies and calls: what is learnt from each agent's past, in the place of its manifest."""
    draw = random.Random(20261123)
    for server in ("files", "git"):
        mine = [tool for tool in TOOLS if tool["server"] == server]
        override = {tool["own"]: {"tags": tool["tags"]} for tool in mine}
        room.server(server, {tool["own"]: {} for tool in mine}, tools={"override": override})
    agents = [f"agent-{number}" for number in range(5)]
    uses = []
    for name in agents:
        policy = a_policy(draw)
        policy.pop("within", None)
        room.write(agent=name, **policy)
        for _ in range(draw.choice((20, 60, 120))):
            tool, arguments, minute, day = a_call(draw)
            at = A_MONDAY + day * 86_400 + minute * 60
            uses.append(Use(f"{tool['server']}__{tool['own']}", arguments, name, at))
    through = room.past(*uses)
    allowed = {(use.agent, use.name) for use, was in zip(uses, through, strict=True) if was}
    entries = room.catalog.entries["tool"]
    restricted = strict = 0
    for name in agents:
        agent = learnt(room, name)
        restricted += sum(rule.judges for rule in agent.rules.may)
        for entry in entries:
            assert decide(agent.grants(), entry).allowed is ((name, entry.grant) in allowed)
            about = [rule for rule in agent.rules.may if rule.use == (entry.grant,)]
            if about and all(rule.only for rule in about):
                strict += 1
                assert not allows(room, agent, entry.name, {"never seen": 1})
    done = room.run("policy", "test", str(room.home.path / "learnt"), "--json").json
    assert done["undecided"] == {} and done["decided"] == len(uses)
    otherwise = {change["would_be"] for change in done["changes"] if change["was"] == "allowed"}
    assert otherwise <= {"allowed, with other arguments"}  # paths are respelled
    assert room.run("policy", "lint", str(room.home.path / "learnt"), "--json").json["error"] == 0
    assert sum(through) > 100 and restricted > 50 and strict > 10


def test_a_value_that_is_always_the_same_is_fixed(desk: Room) -> None:
    assert with_of(desk, *[{"repo": "/srv/a"}] * 3) == {"repo": {"const": "/srv/a"}}


def test_few_values_are_listed_and_many_are_described(desk: Room) -> None:
    few = [{"level": word} for word in ("low", "high", "mid") * 2]
    assert with_of(desk, *few) == {"level": {"enum": ["high", "low", "mid"]}}
    room = desk
    room.past(
        *[Use("desk__read", {"count": n, "share": n / 4, "text": f"t{n}", "sure": n > 5}) for n in range(20)]
    )
    rule = next(rule for rule in learnt(room).rules.may if rule.use == ("desk__read",))
    assert rule.with_ == {
        "count": {"type": "integer", "minimum": 0, "maximum": 19},
        "share": {"type": "number", "minimum": 0, "maximum": 4.75},
        "sure": {"enum": [False, True]},
        "text": {"type": "string"},
    }


@pytest.mark.parametrize(
    ("values", "pattern", "others"),
    [
        (["/srv/a/1", "/srv/a/b/2", "/srv/a/3"], "^/srv/a/", ["/srv/ab/1", "/srv/a/../b"]),
        (["/srv/a", "/srv/a/1", "/srv/a/2"], "^/srv/a(/|$)", ["/srv/ab", "/srv"]),
        (["/a/1", "/b/2", "/c"], "^/", ["a"]),
        (["/s.v/1", "/s.v/2", "/s.v/3"], r"^/s\.v/", ["/sev/1"]),
        (["a/1", "a/2", "a/b/3"], "^a/", ["/a/1", "b/1", "a/../b"]),
        (["a", "b", "c/d"], "^[^/]", ["/a", "../a"]),
    ],
)  # fmt: skip
def test_paths_are_kept_to_the_folder_that_all_are_in(
    desk: Room, values: list[str], pattern: str, others: list[str]
) -> None:
    assert with_of(desk, *[{"path": value} for value in values]) == {
        "path": {"format": "path", "pattern": pattern}
    }
    agent = learnt(desk)
    assert all(allows(desk, agent, "desk__write", {"path": value}) for value in values)
    assert not any(allows(desk, agent, "desk__write", {"path": other}) for other in others)


def test_addresses_are_kept_to_their_hosts_and_folders(desk: Room) -> None:
    values = [f"https://a.example/x/{n}?q={n}" for n in range(4)] + ["http://b.example/"]
    pattern = r"^(?:http://b\.example/|https://a\.example/x/)"
    assert with_of(desk, *[{"to": value} for value in values]) == {
        "to": {"format": "uri", "pattern": pattern}
    }
    agent = learnt(desk)
    assert not allows(desk, agent, "desk__write", {"to": "https://a.example.evil.org/x/1"})
    assert not allows(desk, agent, "desk__write", {"to": "https://axexample/x/1"})


def test_calls_that_give_other_arguments_have_rules_of_their_own(desk: Room) -> None:
    """A value that is fixed would be filled in where a call left it out: here it is not."""
    desk.past(Use("desk__write", {"path": "/a"}), Use("desk__write", {"path": "/a", "mode": "x"}))
    agent = learnt(desk)
    assert [(rule.with_, rule.only) for rule in agent.rules.may] == [
        ({"mode": {"enum": ["x"]}, "path": {"const": "/a"}}, True),
        ({"path": {"const": "/a"}}, True),
    ]
    done = desk.run("policy", "test", str(desk.home.path / "learnt"), "--json").json
    assert done["changes"] == []


def test_what_rules_fill_in_and_respell_today_they_do_with_what_is_learnt(desk: Room) -> None:
    path = {"path": {"format": "path", "pattern": "^/srv/"}, "mode": {"const": "r"}}
    desk.write(agent="me", may=[{"use": "desk__write", "with": path}])
    assert desk.past(
        Use("desk__write", {"path": "/srv/./a"}), Use("desk__write", {"path": "/srv/a", "mode": "r"})
    )
    first, second = learnt(desk).rules.may
    spelled = {"format": "path", "const": "/srv/a"}
    assert first.with_ == {"mode": {"const": "r"}, "path": {"const": "/srv/a"}}
    assert second.with_ == {"mode": {"const": "r"}, "path": spelled}
    done = desk.run("policy", "test", str(desk.home.path / "learnt"), "--json").json
    assert done["changes"] == []


def test_a_tool_used_in_many_ways_has_one_rule_with_what_all_have(desk: Room) -> None:
    desk.past(*[Use("desk__write", {"path": "/a", f"x{n}": n}) for n in range(9)])
    (rule,) = learnt(desk).rules.may
    assert (rule.with_, rule.only) == ({"path": {"const": "/a"}}, False)


def test_a_tool_without_arguments_stays_so(desk: Room) -> None:
    desk.past(Use("desk__read"), Use("desk__read", {}))
    (rule,) = learnt(desk).rules.may
    assert (rule.with_, rule.only) == (None, True)


def test_secrets_are_not_learnt_and_said_to_be_open(desk: Room) -> None:
    desk.past(Use("desk__write", {"password": "hunter22", "path": "/a"}))
    done = desk.run("policy", "learn", "me")
    assert "hunter" not in done.out and "desk__write (password)" in done.err
    assert allows(desk, learnt(desk), "desk__write", {"password": "other", "path": "/a"})
    assert not allows(desk, learnt(desk), "desk__write", {"password": "other", "path": "/b"})


def test_where_arguments_were_not_kept_none_are_restricted(desk: Room) -> None:
    desk.past(Use("desk__write", {"path": "/a"}), Use("desk__write", {"path": "x" * 2 * BYTES_MAX}))
    (rule,) = learnt(desk).rules.may
    assert not rule.judges
    assert "Of 1 call the arguments were not kept" in desk.run("policy", "learn", "me").err


def test_a_person_is_still_asked_and_times_stay(desk: Room) -> None:
    when = {"hours": "00:00-24:00", "days": ["mon"], "zone": "Europe/Prague"}
    may = [{"use": "desk__write", "ask": "human", "when": when}, "desk__read"]
    desk.write(agent="me", may=may)
    noon = A_MONDAY + 12 * 3600
    assert desk.past(Use("desk__write", {"path": "/a"}, at=noon), Use("desk__read", at=noon)) == [True, True]
    read, write = learnt(desk).rules.may
    assert (read.ask, read.when) == (None, None)
    assert write.ask == "human" and write.when is not None
    assert write.when == When(frozenset({0}), (0, 1440), "Europe/Prague")


def test_what_an_agent_s_manifest_says_besides_stays(desk: Room) -> None:
    desk.write(
        agent="me", title="Me: \"I\"", may=["desk__*"], never=["desk__read", {"use": "*", "tag": "bad"}],
        limits={"calls": "5/day"}, identify={"issuer": "https://x.example", "claims": {"sub": "me"}},
    )  # fmt: skip
    desk.past(Use("desk__write"), Use("desk__read"))
    before, after = manifest.load(desk.home.manifests).agents["me"], learnt(desk)
    assert (after.title, after.identified) == (before.title, before.identified)
    assert (after.rules.limits, len(after.rules.never)) == (before.rules.limits, 2)
    assert [rule.use for rule in after.rules.may] == [("desk__write",)]


def test_a_never_that_came_later_is_left_out_and_said(desk: Room) -> None:
    desk.past(Use("desk__write"))
    desk.write(agent="me", may=["desk__*"], never=["desk__write"])
    assert learnt(desk).rules.never == ()
    assert "`never` is left out" in desk.run("policy", "learn", "me").err


def test_resources_and_prompts_are_named(room: Room) -> None:
    room.write(server="desk", connect={"command": ["none"]})
    prompt = {"name": "greet", "arguments": [{"name": "who"}]}
    resources = [{"uri": f"desk://note/{n}", "name": "note"} for n in range(60)]
    room.learn("desk", tool=[], resource=resources, template=[], prompt=[prompt])
    room.write(agent="me", may=["desk__*"])
    room.past(
        Use("desk__greet", {"who": "you"}, method="prompts/get"),
        *[Use(f"desk://note/{n}", method="resources/read") for n in range(3)],
    )
    greet, notes = learnt(room).rules.may
    assert greet.with_ == {"who": {"const": "you"}}
    assert notes.use == tuple(f"desk__desk://note/{n}" for n in range(3))
    room.past(*[Use(f"desk://note/{n}", method="resources/read") for n in range(60)])
    assert learnt(room).rules.may[1].use == ("desk__desk://note/*",)


@pytest.mark.parametrize(
    "value",
    [
        "no",
        "1",
        "*",
        "a: b",
        "tab\there",
        "\x85\u2028\x7f",
        "ü\U0001f600",
        "",
        "- x",
        1.50,
        10**30,
        [{"a": None}],
    ],
)
def test_any_value_is_written_so_that_it_is_read_back(desk: Room, value: Any) -> None:
    assert with_of(desk, {"x": value, "odd: key": 1}) == {"x": {"const": value}, "odd: key": {"const": 1}}


def test_since_and_an_agent_that_did_nothing(desk: Room) -> None:
    desk.past(Use("desk__write", ago=7200), Use("desk__read"))
    done = desk.run("policy", "learn", "me", "--since", "1h", "--json")
    assert done.json["calls"] == 1 and "desk__write" not in done.json["manifest"]
    desk.write(agent="idle", may=["*"])
    assert learnt(desk, "idle").rules.may == ()
    assert "nothing is allowed" in desk.run("policy", "learn", "idle").err
    assert desk.run("policy", "learn", "nobody").code == 2
    assert json.loads(done.out)["agent"] == "me"
