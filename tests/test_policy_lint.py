"""`hub policy lint`: rules that do nothing, and rules that do more than they look like."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hub.review.patterns import alternatives, covers, literal_start
from tests.documents import tables
from tests.homes import done
from tests.policy_room import Room, room_at
from tests.sources import ROOT

TEXT = {"type": "string"}
PLACES = {
    "properties": {"path": TEXT, "destination": TEXT, "mode": {"enum": ["r", "w"]}},
    "required": ["path"],
}


@pytest.fixture
def room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Room:
    room = room_at(tmp_path / "home", capsys)
    reads = {"override": {"list": {"annotations": {"readOnlyHint": True}}}}
    room.server("desk", {"list": {}, "write": PLACES, "move": PLACES}, tools=reads)
    room.server("desktop", {"open": {}}, names="bare")
    return room


def lint(room: Room, *paths: str) -> tuple[int, list[tuple[str, str, str]]]:
    """The exit code, and of each finding how bad it is, what, and where."""
    done = room.run("policy", "lint", *paths, "--json")
    return done.code, [(each["severity"], each["id"], each["where"]) for each in done.json["findings"]]


def of(room: Room, may: list[Any], never: list[Any] | None = None) -> list[tuple[str, str, str]]:
    room.write(agent="me", may=may, never=never or [])
    return lint(room)[1]


def said(room: Room, may: list[Any], never: list[Any] | None = None) -> str:
    """The one finding, in words."""
    room.write(agent="me", may=may, never=never or [])
    (finding,) = room.run("policy", "lint", "--json").json["findings"]
    return f"{finding['message']} {finding['fix']}"


def path(**schema: Any) -> list[Any]:
    return [{"use": "desk__write", "with": {"path": schema, "destination": {"const": "x"}}}]


def test_rules_that_mean_what_they_say_have_no_finding(room: Room) -> None:
    fine = [
        "desk__list",
        {"server": "desk", "readOnly": True},
        {"use": "desk__write", "with": {"path": {"format": "path", "pattern": "^/srv/a/"}}, "only": True},
        {"use": "desk__move", "with": {"mode": {"enum": ["r"]}}, "when": {"hours": "09:00-17:00"}},
        "desktop__open",
        "hub__session",
    ]
    room.write(agent="me", may=fine, never=["desk__list"])
    room.write(agent="me", may=fine)
    assert lint(room) == (0, [])


def test_a_finding_names_file_line_rule_and_the_fix(room: Room) -> None:
    file = room.home.manifests / "me.yaml"
    file.write_text(
        "agent: me\nmay:\n  - desk__list\n  - use: desk__write\n    with:\n"
        "      mode: {const: x, enum: [r]}\n"
    )
    done = room.run("policy", "lint")
    assert done.code == 1
    assert done.out == (
        f"{file}:6: error contradiction: may[1].with.mode: no value fits this, so the rule never lets a call "
        "through. Mend the schema: its parts exclude each other.\n"
    )
    assert "1 error, 0 warnings, 0 notes" in done.err


@pytest.mark.parametrize(
    "schema",
    [
        {"const": "b", "pattern": "^a"},
        {"enum": ["b", "c"], "pattern": "^a"},
        {"minimum": 5, "maximum": 3},
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"type": "string", "const": 3},
        {"format": "path", "const": "/srv/../a"},  # never spelled so once it is judged
        {"format": "path", "const": "a"},
        {"type": "integer"},  # the tool takes text
    ],
)
def test_a_with_that_nothing_fits_is_an_error(room: Room, schema: dict[str, Any]) -> None:
    assert ("error", "contradiction", "may[0].with.path") in of(room, path(**schema))


def test_of_several_values_those_that_never_fit_are_a_warning(room: Room) -> None:
    assert ("warning", "contradiction", "may[0].with.path") in of(
        room, path(enum=["/a/1", "b"], pattern="^/a/1$")
    )


@pytest.mark.parametrize(
    ("use", "id", "fix"),
    [
        ("desk__wriet", "no-such-entry", "Did you mean 'desk__write'?"),
        ("dessk__write", "no-such-server", "Did you mean 'desk__write'?"),
        ("open", "no-such-entry", "Write 'desktop__open'."),
        ("desk__x*", "no-such-entry", "Mend the pattern"),
        ("wr*", "no-such-entry", "Write 'SERVER__wr*'."),
    ],
)
def test_a_pattern_that_matches_nothing_says_what_was_meant(room: Room, use: str, id: str, fix: str) -> None:
    room.write(agent="me", may=[use])
    (finding,) = room.run("policy", "lint", "--json").json["findings"]
    assert finding["id"] == id and fix in finding["fix"]


def test_what_a_server_offers_that_was_never_asked_is_not_judged(room: Room) -> None:
    room.write(server="new", connect={"command": ["none"]})
    room.write(agent="me", may=["new__anything"], never=["new__other"])
    done = room.run("policy", "lint")
    assert done.code == 0 and "judged by patterns alone: new." in done.err


def test_a_name_of_a_tag_or_server_that_is_nowhere_is_an_error(room: Room) -> None:
    found = of(room, [{"tag": "safe"}, {"server": "dusk"}])
    assert found == [("error", "no-such-tag", "may[0].tag"), ("error", "no-such-server", "may[1].server")]


def test_a_rule_under_a_never_is_an_error_by_pattern_and_by_what_is_known(room: Room) -> None:
    by_pattern = of(room, ["desk__list", "desk__w*"], ["desk__*"])
    assert by_pattern == [("error", "under-never", "may[0]"), ("error", "under-never", "may[1]")]
    by_known = of(room, [{"server": "desk", "readOnly": True}], [{"use": "*__list"}])
    assert by_known == [("error", "under-never", "may[0]")]
    assert of(room, ["desk__list", "desktop__*"], [{"server": "desk", "use": "*w*"}]) == [
        ("warning", "never-for-nothing", "never[0]"),
        ("note", "may-change", "may[1]"),
    ]


def test_a_never_that_hides_nothing_is_a_warning(room: Room) -> None:
    assert of(room, ["desk__list"], ["desk__write"]) == [("warning", "never-for-nothing", "never[0]")]
    assert of(room, ["desk__list"], ["desk__wriet"]) == [("warning", "no-such-entry", "never[0]")]
    assert of(room, ["desk__list"], ["dusk__*"]) == [("error", "no-such-server", "never[0]")]


def test_wide_grants_say_how_wide(room: Room) -> None:
    assert of(room, ["*"])[0] == ("note", "everything", "may[0]")
    assert of(room, [{"use": "*", "readOnly": True, "server": "desk"}]) == []
    assert "desk__write, desk__move" in said(room, ["desk__*"])
    assert of(room, ["desk__*"]) == [("note", "may-change", "may[0]")]
    assert ("warning", "several-servers", "may[0]") in of(room, ["desk*"])
    assert lint(room)[0] == 1


def test_read_only_where_nothing_is_known_to_only_read_is_a_warning(room: Room) -> None:
    assert of(room, [{"server": "desktop", "readOnly": True}]) == [
        ("warning", "read-only-nothing", "may[0].readOnly")
    ]
    assert of(room, [{"readOnly": True}]) == [("note", "read-only-nothing", "may[0].readOnly")]


def test_a_rule_beside_one_without_its_restriction_is_a_warning(room: Room) -> None:
    narrow = {"use": "desk__list", "with": {"mode": {"const": "r"}}}
    assert ("warning", "loosened", "may[1]") in of(room, ["desk__*", narrow])
    assert ("warning", "loosened", "may[1]") not in of(room, ["desk__*", {**narrow, "ask": "human"}])


def test_times_that_never_meet_are_an_error(room: Room) -> None:
    def rule(**when: Any) -> dict[str, Any]:
        return {"use": "desk__list", "when": when}

    day, night = rule(hours="09:00-17:00"), rule(hours="22:00-06:00")
    error = ("error", "never-at-once", "may[0].when")
    assert error in of(room, [day, night])
    assert error in of(room, [rule(days=["mon"], hours="22:00-06:00"), rule(days=["wed"])])
    assert of(room, [rule(days=["mon"], hours="22:00-06:00"), rule(days=["tue"])]) == []
    assert of(room, [rule(hours="16:00-23:00"), day]) == []
    assert of(room, [rule(hours="17:00-18:00", zone="Europe/Prague"), day]) == []


def test_labels_that_no_session_has_are_a_note(room: Room) -> None:
    rules = [{"use": "desk__list", "when": {"labels": {"team": word}}} for word in ("red", "blue")]
    room.past()
    with sqlite3.connect(room.home.database) as connection:
        connection.execute('UPDATE sessions SET labels = \'{"team":"red"}\'')
    connection.close()
    assert of(room, rules[:1]) == []
    assert of(room, rules[1:]) == [("note", "no-such-label", "may[0].when.labels")]
    assert ("error", "never-at-once", "may[0].when") in of(room, rules)
    other = {"use": "desk__list", "when": {"labels": {"team": "red"}, "hours": "09:00-10:00"}}
    assert of(room, [rules[0], other]) == []


def test_the_page_has_every_finding_and_how_bad_it_is() -> None:
    shown = {
        row[0].strip("`"): set(row[1].split(", ")) for row in tables((ROOT / "docs/policy.md").read_text())
    }
    found: dict[str, set[str]] = {}
    for file in (ROOT / "hub/review").glob("*.py"):
        for call in re.finditer(r'inding\(\s*"([a-z-]+)",((?:.|\n){0,90}?),', file.read_text()):
            words = re.findall(r'"(error|warning|note)"', call[2])
            found.setdefault(call[1], set()).update(words)
    assert found == shown


@pytest.mark.parametrize(
    ("schema", "id"),
    [
        ({"pattern": "reports"}, "unanchored"),
        ({"pattern": "^main|dev$"}, "unanchored"),
        ({"pattern": "^a$|b"}, "unanchored"),
        ({"format": "path", "pattern": "^/srv/reports"}, "open-end"),
        ({"format": "uri", "pattern": "^https://a\\.example"}, "open-end"),
        ({"format": "uri", "pattern": "^https://a.example/"}, "any-character"),
        ({"pattern": "^/srv/reports/"}, "climbs"),
        ({"pattern": "^https://a\\.example/x/"}, "climbs"),
        ({"type": "string", "maximum": 3}, "idle-keyword"),
    ],
)
def test_what_lets_more_through_than_it_looks_like_is_a_warning(
    room: Room, schema: dict[str, Any], id: str
) -> None:
    assert of(room, path(**schema)) == [("warning", id, "may[0].with.path")]


@pytest.mark.parametrize(
    "schema",
    [
        {"format": "path", "pattern": "^/srv/reports(/|$)"},
        {"format": "path", "pattern": "^(?:/srv/a/|/srv/b/)"},
        {"format": "uri", "pattern": "^https://a\\.example/"},
        {"pattern": "^[a-z]+$"},
        {"pattern": "^(main|dev)$"},
        {"pattern": "\\.md$"},
        {"pattern": "^/srv/[a-z]+$"},
        {"type": ["string", "null"], "maxLength": 3},
        {"type": "integer", "minimum": 3},
    ],
)
def test_patterns_that_say_what_they_mean_are_left_alone(room: Room, schema: dict[str, Any]) -> None:
    room.server("free", {"use": {}})
    assert of(room, [{"use": "free__use", "with": {"it": schema}}])[1:] == []


def test_an_argument_left_open_beside_a_restricted_one_is_a_warning(room: Room) -> None:
    rule = {"use": "desk__move", "with": {"path": {"format": "path", "pattern": "^/srv/"}}}
    assert "leaves destination of desk__move open" in said(room, [rule])
    assert of(room, [{**rule, "only": True}]) == []


def test_only_without_what_the_tool_needs_and_arguments_that_it_has_not_are_warnings(room: Room) -> None:
    assert of(room, [{"use": "desk__write", "with": {"mode": {"const": "r"}}, "only": True}]) == [
        ("warning", "misses-required", "may[0].only")
    ]
    assert "Did you mean 'mode'?" in said(room, [{"use": "desk__write", "with": {"mod": {"const": "r"}}}])


def test_a_server_s_own_pattern_that_matches_none_of_its_tools_is_a_warning(room: Room) -> None:
    room.write(server="desk", connect={"command": ["none"]}, tools={"deny": ["wriet"]})
    room.write(agent="me", may=["desk__list"])
    assert lint(room) == (1, [("warning", "no-such-tool", "tools.deny")])


def test_it_works_on_files_of_a_folder_without_a_hub(room: Room, tmp_path: Path) -> None:
    """Of the paths alone, with the servers of the home; and what is not valid is a finding."""
    room.write(agent="me", may=["*"])
    (tmp_path / "new.yaml").write_text("agent: new\nmay: [desk__wriet]\n")
    assert lint(room, str(tmp_path / "new.yaml")) == (1, [("warning", "no-such-entry", "may[0]")])
    (tmp_path / "new.yaml").write_text("agent: new\nmay: [{usse: x}]\n")
    assert lint(room, str(tmp_path / "new.yaml"))[1][0][:2] == ("error", "invalid")
    assert lint(room, str(tmp_path / "none.yaml"))[1][0][:2] == ("error", "invalid")
    room.home.database.unlink()
    assert room.run("policy", "lint", "--json").json["never_asked"] == ["desk", "desktop"]


def test_a_record_that_cannot_be_read_is_said_and_no_hindrance(room: Room) -> None:
    room.home.database.write_bytes(b"not a database at all, whatever it is called" * 99)
    room.write(agent="me", may=["desk__list"])
    done = room.run("policy", "lint")
    assert done.code == 0 and "it is not a database" in done.err


def test_a_new_home_is_no_trouble(tmp_path: Path) -> None:
    done(tmp_path, "init")
    assert "everything: may[0]" in done(tmp_path, "policy", "lint").out


def test_the_shipped_manifests_have_no_error() -> None:
    from hub.home import Home
    from hub.review.lint import lint as look_over

    found = look_over(Home(ROOT / "nowhere"), [ROOT / "manifests"])
    assert [each["text"] for each in found["findings"] if each["severity"] == "error"] == []
    json.dumps(found)


@pytest.mark.parametrize(
    ("wide", "narrow", "does"),
    [
        ("*", "git__*", True),
        ("git__*", "git__log", True),
        ("git__*", "git*", False),
        ("git__l?g", "git__log", True),
        ("git__l?g", "git__l*", False),
        ("git__??", "git__*", False),
        ("*__a*", "x__a?", True),
    ],
)
def test_one_glob_covers_another(wide: str, narrow: str, does: bool) -> None:
    assert covers(wide, narrow) is does


def test_patterns_are_taken_apart_where_their_groups_allow() -> None:
    assert alternatives("a|b[|]|c\\|d|(e|f)") == ["a", "b[|]", "c\\|d", "(e|f)"]
    assert alternatives("^(?:a|b)") == ["^a", "^b"]
    assert alternatives("(a)|(b)") == ["(a)", "(b)"]
    assert [literal_start(each) for each in ("^/a\\.b/c*", "^/a/[b]", "^\\d", "^x+")] == [
        "/a.b/",
        "/a/",
        "",
        "x",
    ]
