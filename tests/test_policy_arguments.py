"""What rules say of arguments and times: one spelling, fair patterns, and what the agent sees of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.jsonrpc import Budget, parse
from hub.catalog import Catalog, Offer, Override, View
from hub.manifests import manifest
from hub.model import Entry, Json
from hub.policy import Grants, When, decide
from hub.rules import normal
from hub.rules.explain import explained
from hub.rules.judge import Judged, judge
from hub.rules.moments import holds
from hub.rules.narrow import narrowed

TOOL: Json = {
    "name": "write",
    "inputSchema": {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "mode": {"enum": ["r", "w", "x"]},
            "branch": {"type": "string"},
        },
        "required": ["path", "branch"],
    },
}


def grants(*rules: str, never: str = "[]") -> Grants:
    text = "agent: me\nmay:\n" + "".join(f"  - {rule}\n" for rule in rules) + f"never: {never}\n"
    read = manifest.load_text(Path("manifests/me.yaml"), text)
    assert read.problems == (), read.problems
    return read.agents["me"].grants()


def tool(definition: Json = TOOL, **override: Any) -> Entry:
    overrides = (Override(definition["name"], **override),) if override else ()
    catalog = Catalog.build([Offer("files", View(overrides=overrides), {"tool": (definition,)})], 1)
    assert catalog.left_out == (), catalog.left_out
    return catalog.entries["tool"][0]


def judged(rules: Grants, arguments: Json, entry: Entry | None = None, method: str = "tools/call") -> Judged:
    entry = entry or tool()
    return judge(decide(rules, entry), entry, method, {"arguments": arguments}, at=0.0)


def sent(rules: Grants, arguments: Json, entry: Entry | None = None) -> Any:
    it = judged(rules, arguments, entry)
    return it.params["arguments"] if it.refusal is None else None


def seen(rules: Grants, entry: Entry | None = None) -> Json:
    entry = entry or tool()
    schema: Json = narrowed(entry, decide(rules, entry)).definition["inputSchema"]
    return schema


# One spelling


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/a/b", "/a/b"), ("//a///b", "/a/b"), ("/a/./b/../c", "/a/c"), ("/../../etc", "/etc"),
        ("/a/", "/a/"),
        ("/", "/"), ("/..", "/"), ("/a/..", "/"), ("/%2e%2e/x", "/%2e%2e/x"), ("/ünï", "/ünï"),
        ("a/b", None), ("", None), ("~/x", None), ("/a\0b", None), ("/a\\..\\b", None), ("C:\\x", None),
    ],
)  # fmt: skip
def test_a_path_has_one_spelling_or_is_refused(written: str, path: str | None) -> None:
    """Threat T19."""
    if path is None:
        with pytest.raises(ValueError, match="must"):
            normal.path(written)
    else:
        assert normal.path(written) == path


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("HTTP://EXAMPLE.com:80/%7ea/./b/../c?q=%2f#f", "http://example.com/~a/c?q=%2F#f"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com:0443/%2e%2e/x", "https://example.com/x"),
        ("file:///srv/%2e%2e/etc", "file:///etc"),
        ("file:///srv/%252e%252e/etc", "file:///srv/%252e%252e/etc"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("mailto:You@example.com", "mailto:You@example.com"),
        ("https://user@example.com/", None), ("https://example.com/a b", None), ("/a/b", None),
        ("https://example.com/%00", None), ("https://example.com\\@evil.example/", None),
        ("https://exa%6dple.com/", None), ("https://exämple.com/", None),
        ("https://example.com:99999/", None),
        ("https://example.com/%zz", None), ("\thttps://example.com/", None), ("https://a\n.example/", None),
    ],
)  # fmt: skip
def test_a_uri_has_one_spelling_or_is_refused(written: str, uri: str | None) -> None:
    """Threat T24."""
    if uri is None:
        with pytest.raises(ValueError, match="must"):
            normal.uri(written)
    else:
        assert normal.uri(written) == uri


@given(st.text("/.a\\", max_size=12), st.booleans())
def test_a_path_that_was_respelled_stays_as_it_is_and_has_no_dots(written: str, relative: bool) -> None:
    try:
        path = normal.path(written, relative=relative)
    except ValueError:
        return
    assert normal.path(path, relative=relative) == path
    assert not {"..", ""} & set(path.strip("/").split("/")) or path == "/"


@given(st.text("ahtp:/.%2eEfF?#@[]", max_size=16).map(lambda rest: f"http:{rest}"))
def test_a_uri_that_was_respelled_stays_as_it_is(written: str) -> None:
    try:
        uri = normal.uri(written)
    except ValueError:
        return
    assert normal.uri(uri) == uri


def test_what_was_judged_is_what_is_sent() -> None:
    rules = grants('{use: files__*, with: {path: {format: path, pattern: "^/srv/"}}}')
    assert sent(rules, {"path": "/srv/./a", "x": 1}) == {"path": "/srv/a", "x": 1}
    assert sent(rules, {"path": "/srv/../etc/passwd"}) is None
    assert sent(rules, {"path": "srv/a"}) is None
    assert sent(rules, {"path": ["/srv/a"]}) is None
    relative = grants('{use: files__*, with: {path: {format: path, pattern: "^reports/"}}}')
    assert sent(relative, {"path": "./reports//a"}) == {"path": "reports/a"}
    assert sent(relative, {"path": "reports/../../x"}) is None
    listed = grants('{use: files__*, with: {paths: {items: {format: path, pattern: "^/srv/"}}}}')
    assert sent(listed, {"paths": ["/srv//a", "/srv/b"]}) == {"paths": ["/srv/a", "/srv/b"]}
    assert sent(listed, {"paths": ["/srv/a", "/srv/../b"]}) is None
    # Not asked for: the bytes are judged, and sent, as they are.
    plain = grants('{use: files__*, with: {path: {pattern: "^/srv/"}}}')
    assert sent(plain, {"path": "/srv/../b"}) == {"path": "/srv/../b"}


def test_numbers_are_judged_by_all_their_digits() -> None:
    rules = grants("{use: files__*, with: {amount: {maximum: 5}}}")
    budget = Budget(1000, 1000)
    for text, fits in ((b"5.0", True), (b"5", True), (b"5.00000000000000000001", False), (b"5e0", True)):
        value = parse(text, budget)
        given = {"amount": value}
        assert sent(rules, given) == (given if fits else None), text


# Patterns


def test_no_pattern_is_slow() -> None:
    """Threat T25: what backtracks for ages elsewhere takes a moment on a megabyte, and grows with it."""
    rules = grants(
        '{use: files__*, with: {path: {pattern: "^(a+)+$"}, branch: {pattern: "^(.*x){20}(a|a)*y$"}}}'
    )
    took = []
    for size in (100_000, 1_000_000):
        arguments = {"path": "a" * size, "branch": "ax" * (size // 2)}
        start = time.process_time()
        assert sent(rules, arguments) is None
        assert sent(rules, {**arguments, "path": "a" * size + "b"}) is None
        took.append(time.process_time() - start)
    assert took[1] < 3 and took[1] < 50 * took[0] + 1


def test_a_keyword_implies_its_type() -> None:
    rules = grants('{use: files__*, with: {path: {pattern: "^/srv/"}}}')
    for value in (7, None, True, ["/etc"], {"path": "/etc"}):
        assert sent(rules, {"path": value}) is None


# How rules combine


def test_a_broad_rule_never_loosens_a_narrow_one() -> None:
    rules = grants(
        "files__*", '{use: files__write, with: {path: {format: path, pattern: "^/srv/"}}, ask: human}'
    )
    assert [rule.ask for rule in judged(rules, {"path": "/srv/a"}).rules] == [None, "human"]
    assert [rule.ask for rule in judged(rules, {"path": "/tmp/a"}).rules] == [None]
    # Another spelling of the same path is the same call.
    dotted = judged(rules, {"path": "/tmp/../srv/a"})
    assert dotted.params["arguments"] == {"path": "/srv/a"} and len(dotted.rules) == 2


def test_a_refusal_names_the_argument_and_what_it_must_be() -> None:
    rules = grants("{use: files__*, with: {branch: {enum: [dev, test]}}, only: true}")
    for arguments, said in (
        ({"branch": "main"}, 'branch: must be one of "dev", "test"'),
        ({}, 'branch: must be given, as one of "dev", "test"'),
        ({"branch": "dev", "path": "/"}, "path: may not be given"),
    ):
        refusal = judged(rules, arguments).refusal
        assert refusal is not None and refusal.rule is rules.may[0] and refusal.reason == "argument"
        assert refusal.message == f"Not allowed with these arguments; nothing was sent.\n{said}"


def test_what_is_asked_of_a_task_is_not_judged_by_arguments() -> None:
    rules = grants("{use: files__*, with: {branch: {const: dev}}}")
    entry = tool()
    assert judge(decide(rules, entry), entry, "tasks/get", {"taskId": "1"}, at=0.0) == Judged(
        {"taskId": "1"}, ()
    )


def test_an_argument_that_a_rule_restricts_cannot_be_completed() -> None:
    prompt = Entry("prompt", "files", "greet", "files__greet", "files__greet", {}, reads_only=True)
    rules = grants("{use: files__*, with: {branch: {const: dev}}}")
    for name, allowed in (("branch", False), ("path", True)):
        params = {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": name, "value": ""}}
        it = judge(decide(rules, prompt), prompt, "completion/complete", params, at=0.0)
        assert (it.refusal is None) is allowed
        if allowed:
            assert it.params["context"] == {"arguments": {"branch": "dev"}}


def test_a_rule_about_arguments_says_nothing_of_resources() -> None:
    page = Entry("resource", "files", "a://b", "a://b", "files__a://b", {}, reads_only=True)
    assert not decide(grants('{use: "*", with: {path: {pattern: x}}}'), page).allowed
    assert decide(grants('{use: "files__a://*"}'), page).allowed


# Times


@pytest.mark.parametrize(
    ("when", "moment", "held"),
    [
        (When(frozenset({0}), (540, 1020)), "2026-11-16T09:00", True),
        (When(frozenset({0}), (540, 1020)), "2026-11-16T17:00", False),
        (When(frozenset({0}), (540, 1020)), "2026-11-17T12:00", False),
        (When(frozenset({4}), (1320, 360)), "2026-11-20T23:00", True),
        (When(frozenset({4}), (1320, 360)), "2026-11-21T05:59", True),
        (When(frozenset({4}), (1320, 360)), "2026-11-21T06:00", False),
        (When(frozenset({4}), (1320, 360)), "2026-11-20T05:00", False),
        (When(between=(540, 1020), zone="Europe/Prague"), "2026-11-16T08:00", True),
        (When(between=(540, 1020), zone="Europe/Prague"), "2026-07-16T07:00", True),
        (When(between=(540, 1020), zone="Europe/Prague"), "2026-11-16T07:59", False),
        (When(labels={"team": "red"}), "2026-11-16T00:00", False),
    ],
)
def test_a_time_is_local_and_one_over_midnight_belongs_to_its_first_day(
    when: When, moment: str, held: bool
) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    assert holds(when, at) is held
    assert holds(When(labels={"team": "red"}), at, {"team": "red"})


def test_outside_of_its_hours_a_call_is_refused_though_a_broad_rule_matches() -> None:
    rules = grants("files__*", '{use: files__write, when: {days: mon-fri, hours: "09:00-17:00"}}')
    refusal = judged(rules, {"path": "/a"}).refusal  # 1970 began on a Thursday, at midnight.
    assert refusal is not None and (refusal.reason, refusal.rule) == ("when", rules.may[1])
    assert refusal.message.startswith(
        "Not allowed now: only mon, tue, wed, thu, fri from 09:00 to 17:00 (UTC)."
    )


# What an agent sees


def test_a_fixed_value_disappears_an_enum_gets_shorter_and_a_pattern_is_added() -> None:
    rules = grants(
        '{use: "*", with: {branch: {const: dev}, mode: {enum: [r, y]}, path: {pattern: "^/srv/"}}}'
    )
    assert seen(rules) == {
        "type": "object",
        "properties": {
            "path": {"type": "string", "allOf": [{"type": "string", "pattern": "^/srv/"}]},
            "mode": {"enum": ["r"]},
        },
        "required": ["path", "mode"],
    }
    assert sent(rules, {"path": "/srv/a", "mode": "r"}) == {"path": "/srv/a", "mode": "r", "branch": "dev"}


def test_where_a_rule_says_only_the_others_disappear() -> None:
    assert seen(grants('{use: "*", with: {path: {maxLength: 9}}, only: true}')) == {
        "type": "object",
        "properties": {"path": {"type": "string", "allOf": [{"type": "string", "maxLength": 9}]}},
        "required": ["path"],
        "additionalProperties": False,
    }


def test_what_several_rules_allow_is_shown_as_widely_as_they_do() -> None:
    two = grants(
        '{use: "*", with: {mode: {enum: [r]}}}', '{use: "*", with: {mode: {const: w}, branch: {const: x}}}'
    )
    assert seen(two)["properties"]["mode"] == {"enum": ["r", "w"]}
    assert seen(two)["properties"]["branch"] == {"type": "string"}
    entry = tool()
    assert narrowed(entry, decide(grants("files__*", '{use: "*", with: {mode: {const: r}}}'), entry)) is entry


def test_a_schema_that_speaks_of_its_arguments_as_a_whole_keeps_them() -> None:
    whole = {**TOOL, "inputSchema": {**TOOL["inputSchema"], "anyOf": [{"required": ["branch"]}]}}
    schema = seen(grants('{use: "*", with: {branch: {const: dev}}}'), tool(whole))
    assert schema["properties"]["branch"]["enum"] == ["dev"]


# What a server's manifest does to its tools


def test_a_tool_can_be_renamed_fixed_defaulted_and_tagged() -> None:
    entry = tool(name="note", fix={"branch": "main"}, default={"mode": "r"}, tags=("safe",))
    assert (entry.name, entry.own, entry.definition["name"]) == ("files__note", "write", "files__note")
    schema = entry.definition["inputSchema"]
    assert set(schema["properties"]) == {"path", "mode"} and schema["required"] == ["path"]
    assert schema["properties"]["mode"]["default"] == "r"
    for rules in (grants("files__note"), grants("files__write"), grants("{tag: safe}")):
        assert sent(rules, {"path": "a"}, entry) == {"mode": "r", "path": "a", "branch": "main"}
    refusal = judged(grants("{tag: safe}"), {"path": "a", "branch": "dev"}, entry).refusal
    assert refusal is not None and refusal.message.endswith("branch: is set by the hub; leave it out")
    # A deny holds under either name.
    for denied in ("[files__write]", "[files__note]", "[{tag: safe}]"):
        assert not decide(grants("files__*", never=denied), entry).allowed


def test_only_is_about_what_an_agent_gives_not_what_a_manifest_fills_in() -> None:
    entry = tool(fix={"branch": "main"}, default={"mode": "r"})
    rules = grants("{use: files__write, with: {path: {const: a}}, only: true}")
    assert sent(rules, {}, entry) == {"mode": "r", "path": "a", "branch": "main"}
    assert sent(rules, {"mode": "r"}, entry) is None
    assert seen(rules, entry).get("properties", {}) == {}
    rules = grants("{use: files__write, with: {path: {const: a}, mode: {enum: [r]}}}")
    assert sent(rules, {}, entry) == {"mode": "r", "path": "a", "branch": "main"}
    assert "required" not in seen(rules, entry), "what is filled in need not be given"


def test_a_tool_without_the_argument_that_is_to_be_fixed_is_left_out() -> None:
    view = View(overrides=(Override("write", fix={"brunch": "main"}),))
    catalog = Catalog.build([Offer("files", view, {"tool": (TOOL,)})], 1)
    assert catalog.entries["tool"] == ()
    assert catalog.left_out[0].why == "its manifest fixes 'brunch', an argument that it does not have"


# Why, and what would change it


@pytest.mark.parametrize(
    ("rules", "arguments"),
    [
        (["git__*"], {"path": "/etc"}),
        (['{use: files__*, with: {path: {format: path, pattern: "^/srv/"}}}'], {"path": "/etc/x"}),
        (
            ["{use: files__*, with: {mode: {enum: [r]}, branch: {const: dev}}}"],
            {"mode": "w", "branch": "main"},
        ),
        (["{use: files__*, with: {mode: {enum: [r]}}, only: true}"], {"mode": "r", "path": "/a"}),
    ],
)
def test_the_change_that_is_named_would_allow_the_call(rules: list[str], arguments: Json) -> None:
    entry = tool()
    told = explained(grants(*rules), entry, arguments, 0.0)
    assert not told.allowed and told.change is not None
    added = told.change.partition(": - ")[2]
    assert explained(grants(*rules, added), entry, arguments, 0.0).allowed, told.change
