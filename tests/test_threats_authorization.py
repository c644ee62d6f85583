"""Threats T9, T16, T17, T19, T24: what an agent may not do reaches no server, whatever it speaks."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hub.policy import Grants, Rule, decide, named
from tests.house import headers_of, message, modern
from tests.outside import MODERN, VERSIONS, WIRES, Agent, Outside, outside, tools_of

CLERK = {
    "may": [
        {
            "use": "w__write",
            "with": {"path": {"format": "path", "pattern": "^/srv/in/"}, "count": {"maximum": 9}},
        },
        {"use": "w__commit", "with": {"path": {"enum": ["/a", "/b"]}}, "only": True},
        "w__read",
        "w__greet",
        "w__note://public/*",
    ],
    "never": ["w__wipe", "w__note://public/private*"],
}  # fmt: skip
USES = (
    "tools/call",
    "resources/read",
    "prompts/get",
    "completion/complete",
    "resources/subscribe",
    "tasks/get",
)


def tool(name: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    return "tools/call", {"name": name, "arguments": arguments}


def uri(uri: str) -> tuple[str, dict[str, Any]]:
    return "resources/read", {"uri": uri}


# Each with what has to arrive at the server, or `None`.
CASES: list[tuple[tuple[str, dict[str, Any]], Any]] = [
    (tool("w__read"), {}),
    (tool("w__read", path="/etc", any="é"), {"path": "/etc", "any": "é"}),
    (tool("w__wipe"), None),
    (tool("w__nothing"), None),
    (tool("wipe"), None),
    (tool("W__read"), None),
    (tool("w__read "), None),
    (tool("w__write", path="/srv/in/a", count=3), {"path": "/srv/in/a", "count": 3}),
    (tool("w__write", path="/srv/in/./b//c", count=9), {"path": "/srv/in/b/c", "count": 9}),
    (tool("w__write", path="/srv/in/../out", count=3), None),
    (tool("w__write", path="/srv/in/%2e%2e/out", count=3), {"path": "/srv/in/%2e%2e/out", "count": 3}),
    (tool("w__write", path="/srv/in\\..\\out", count=3), None),
    (tool("w__write", path="/srv/in/a\0.txt", count=3), None),
    (tool("w__write", path="/srv/inside", count=3), None),
    (tool("w__write", path=["/srv/in/a"], count=3), None),
    (tool("w__write", path="/srv/in/a", count=10), None),
    (tool("w__write", path="/srv/in/a", count=9.000000001), None),
    (tool("w__write", path="/srv/in/a", count=10**18), None),
    (tool("w__write", path="/srv/in/a", count="3"), None),
    (tool("w__write", path="/srv/in/a", count=True), None),
    (tool("w__write", path="/srv/in/a"), None),
    (tool("w__commit", path="/a"), {"path": "/a"}),
    (tool("w__commit", path="/A"), None),
    (tool("w__commit", path="/a", force=True), None),
    (tool("w__commit"), None),
    (("prompts/get", {"name": "w__greet"}), {"name": "greet"}),
    (("prompts/get", {"name": "w__hidden"}), None),
    (uri("note://public/a"), {"uri": "note://public/a"}),
    (uri("note://public/deep/er%20"), {"uri": "note://public/deep/er%20"}),
    (uri("note://secret/b"), None),
]
SPELLINGS = (
    "note://public/../secret/b", "note://public/..", "note://public/./../secret/b", "note://public/%2e%2e/secret/b",
    "note://public/%2E./secret/b", "note://public/.%2e/secret/b", "note://public%2f..%2fsecret%2fb",
    "note://public/%252e%252e/secret/b", "note://public/%25252e%25252e/secret/b", "note://public/a\0",
    "note://public/a%00", "note://public/..\\secret", "note://public/..%5csecret", "note://public/%0a",
    "note:/public/a", "NOTE://public/a", "note://public/../../../etc/passwd", "file:///etc/passwd", "file://note://public/a",
    "note://publicity", "note://user@public/a", "http://127.0.0.1/note://public/", "note://public/private/x",
    "note://public/%70rivate/x", "note://public/privat%65", "hub+w:note://public/../secret/b", "hub+w:note://secret/b",
    " note://public/a", "", "note://public//private", "note://public///private/x", "note://public/%2fprivate",
    "note://public/%2570rivate", f"note://public/{'a' * 9000}",
)  # fmt: skip
COMPLETIONS = [
    ({"type": "ref/prompt", "name": "w__greet"}, True),
    ({"type": "ref/prompt", "name": "w__hidden"}, False),
    ({"type": "ref/resource", "uri": "note://secret/b"}, False),
    ({"type": "ref/resource", "uri": "note://public/../secret/b"}, False),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("threats"), {"clerk": CLERK, "other": {"may": ["w__read"]}}) as it:
        yield it


def arrived(out: Outside) -> Any:
    """The one thing that reached the server since it was last looked at."""
    found = out.received(*USES)
    out.forget()
    assert len(found) <= 1
    if not found:
        return None
    params = {key: value for key, value in found[0]["params"].items() if key != "_meta"}
    return params["arguments"] if found[0]["method"] == "tools/call" else params


def said(answer: dict[str, Any]) -> Any:
    """What an answer decides, without what only its era says."""
    if "error" in answer:
        return answer["error"]["message"]
    result = answer["result"]
    if result.get("isError"):
        return result["content"][0]["text"]
    return "allowed"


@pytest.mark.parametrize("wire", WIRES)
def test_t9_t16_t19_every_version_over_every_wire_decides_alike_and_what_is_refused_arrives_nowhere(
    out: Outside, wire: str
) -> None:
    decided: dict[str, list[Any]] = {}
    for version in VERSIONS:
        with out.agent("clerk", wire, version) as agent:
            out.forget()
            decided[version] = []
            for (method, params), wanted in CASES:
                answer = said(agent.ask(method, params))
                assert arrived(out) == wanted, (version, method, params, answer)
                assert (answer == "allowed") is (wanted is not None), (version, method, params, answer)
                decided[version].append(answer)
            for reference, allowed in COMPLETIONS:
                argument = {"name": "x", "value": ""}
                said(agent.ask("completion/complete", {"ref": reference, "argument": argument}))
                assert (arrived(out) is not None) is allowed, (version, reference)
    assert all(each == decided[MODERN] for each in decided.values())


def test_t9_a_request_that_says_two_versions_or_two_names_is_refused_before_it_is_judged(
    out: Outside,
) -> None:
    with out.agent("clerk") as agent:
        out.forget()
        body = modern("tools/call", {"name": "w__read", "arguments": {}})
        right = headers_of(body)
        wrong: list[dict[str, str | None]] = [{"mcp-protocol-version": version} for version in VERSIONS[:-1]]
        wrong += [{"mcp-protocol-version": None}, {"mcp-protocol-version": "2099-01-01"}]
        wrong += [
            {"mcp-method": "tools/list"},
            {"mcp-method": None},
            {"mcp-name": "w__wipe"},
            {"mcp-name": None},
        ]
        for change in wrong:
            headers = {name: value for name, value in {**right, **change}.items() if value is not None}
            answer = agent.http.post(agent.url, json=body, headers=headers)  # type: ignore[attr-defined]
            assert answer.status_code == 400, (change, answer.text)
            assert answer.json()["error"]["code"] in (-32020, -32022), change
        # An older body under a new header, and an older version without a session.
        old = message("tools/call", {"name": "w__read", "arguments": {}})
        for headers in (right, {"mcp-protocol-version": VERSIONS[0]}, {}):
            assert agent.http.post(agent.url, json=old, headers=headers).status_code == 400  # type: ignore[attr-defined]
        assert arrived(out) is None


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("version", [VERSIONS[0], MODERN])
def test_t24_no_spelling_of_a_uri_reads_watches_or_completes_what_is_not_granted(
    out: Outside, wire: str, version: str
) -> None:
    with out.agent("clerk", wire, version) as agent:
        out.forget()
        for spelling in SPELLINGS:
            assert said(agent.ask(*uri(spelling))) == "Resource not found", spelling
            if version != MODERN:
                assert "error" in agent.ask("resources/subscribe", {"uri": spelling}), spelling
            reference = {"type": "ref/resource", "uri": spelling}
            agent.ask("completion/complete", {"ref": reference, "argument": {"name": "x", "value": ""}})
        assert out.received(*USES, "subscriptions/listen") == []
        listed = agent.ask("resources/list")["result"]["resources"]
        assert [each["uri"] for each in listed] == ["note://public/a"]


def test_t24_what_never_says_of_a_uri_counts_for_all_that_its_server_may_read_as_that() -> None:
    never = Rule("never[0]", ("f__file:///a/.env", "f__https://in.example/*"), 1)
    grants = Grants("x.yaml", (Rule("may[0]", ("f__*",), 1),), (never,))
    narrower = Grants("token", (Rule("may[0]", ("*",), 1),), within=grants)
    for uri in (
        "file:///a/.env", "file:////a/.env", "file:///a//.env", "file:///a/.env/", "file:///a/.env?", "file:///a/.env#x",
        "file://localhost/a/.env", "FILE:///a/.env", "file:///a/%2eenv", "file:///a/%252eenv", "file:///a%2f/.env?x=1",
        "https://IN.example/", "https://in.example//x", "HTTPS://in.example/x?y",
    ):  # fmt: skip
        assert not decide(grants, named("resource", "f", uri)).allowed, uri
        assert not decide(narrower, named("resource", "f", uri)).allowed, uri
    for uri in ("file:///a/.environment", "file:///A/.env", "file:///a/b?.env", "https://in.example.org/"):
        assert decide(grants, named("resource", "f", uri)).allowed, uri


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-2], MODERN])
def test_t17_what_is_not_listed_is_answered_byte_for_byte_as_what_there_is_not(
    out: Outside, wire: str, version: str
) -> None:
    pairs: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("tools/call", {"name": "w__wipe"}, {"name": "w__wype"}),
        ("prompts/get", {"name": "w__hidden"}, {"name": "w__hydden"}),
        ("resources/read", {"uri": "note://secret/b"}, {"uri": "note://sycret/b"}),
        ("completion/complete", completed("w__hidden"), completed("w__hydden")),
    ]
    with out.agent("clerk", wire, version) as agent:
        out.forget()
        assert set(tools_of(agent)) == {"w__read", "w__write", "w__commit"}
        assert [each["name"] for each in agent.ask("prompts/list")["result"]["prompts"]] == ["w__greet"]
        for method, hidden, absent in pairs:
            answers = [raw(agent, method, params) for params in (hidden, absent)]
            assert b'"error"' in answers[0]
            for before, after in ((b"hidden", b"hydden"), (b"wipe", b"wype"), (b"secret", b"sycret")):
                answers[0] = answers[0].replace(before, after)
            assert answers[0] == answers[1], (method, answers)
        assert arrived(out) is None


def completed(prompt: str) -> dict[str, Any]:
    return {"ref": {"type": "ref/prompt", "name": prompt}, "argument": {"name": "x", "value": ""}}


def raw(agent: Agent, method: str, params: dict[str, Any]) -> bytes:
    return agent.raw(modern(method, params) if agent.version == MODERN else message(method, params))


def test_t17_how_long_a_refusal_takes_does_not_tell_whether_there_is_such_a_tool(out: Outside) -> None:
    with out.agent("other") as agent:
        took: dict[str, list[float]] = {"w__wipe": [], "w__wype": []}
        for _ in range(200):
            for name, times in took.items():
                began = time.perf_counter()
                raw(agent, "tools/call", {"name": name, "arguments": {}})
                times.append(time.perf_counter() - began)
        one, other = (statistics.median(times) for times in took.values())
        assert max(one, other) < 1.5 * min(one, other) + 0.0005, took


def test_t16_a_narrower_token_reaches_nothing_that_it_is_not_for(out: Outside) -> None:
    from tests.homes import done
    from tests.outside import HttpAgent

    scoped = ("agents", "token", "clerk", "--json", "--may")
    narrow = done(out.home, *scoped, "w__greet", "--may", "w__note://public/a").json["token"]
    agent = HttpAgent(out.hub.url, narrow, MODERN)
    with agent.http:
        out.forget()
        for (method, params), wanted in CASES:
            allowed = wanted is not None and (method, params) in (
                ("prompts/get", {"name": "w__greet"}),
                uri("note://public/a"),
            )
            assert (said(agent.ask(method, params)) == "allowed") is allowed, (method, params)
            assert arrived(out) == (wanted if allowed else None)
    rows = done(out.home, "calls", "list", "--errors", "--limit", "1000", "--json").json
    assert all(row["state"] == "refused" for row in rows), json.dumps(rows[:3])
