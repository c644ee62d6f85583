"""Threats T10, T11, T13, T14, T18: who asks is proved by a credential, from outside, and by nothing else."""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest

from hub.env import SystemEnv
from hub.seal import Broken, Seal
from tests.commands import hub
from tests.homes import done
from tests.house import headers_of, message, modern
from tests.issuer_room import RESOURCE, Key
from tests.outside import MODERN, VERSIONS, HttpAgent, Outside, outside, tools_of

KEYS = {"a": Key.make("k1"), "b": Key.make("k1")}
ISSUERS = {name: f"https://{name}.example" for name in KEYS}
USES = ("tools/call", "resources/read")
CAREFUL = {"may": ["w__read", "w__note://public/*", {"use": "w__write", "ask": "human"}]}
VISITS: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}
BITS = 1_000
MARK_SECONDS = 0.1
"""A revoked token counts within this on a busy machine; on an idle one within a tenth of it."""


def known(name: str) -> dict[str, Any]:
    return {
        "identify": {"issuer": ISSUERS[name], "claims": {"sub": "ada"}},
        "may": [f"w__{name}*", "w__read"],
    }


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    base = tmp_path_factory.mktemp("threats")
    (base / "home").mkdir()
    for name, key in KEYS.items():
        (base / "home" / f"{name}.json").write_text(json.dumps({"keys": [key.public()]}))
    issuers = [{"issuer": ISSUERS[name], "jwks": f"{name}.json"} for name in KEYS]
    settings = {"oauth": {"resource": RESOURCE, "issuers": issuers}, "approval_wait": "1s"}
    agents = {"careful": CAREFUL, "other": CAREFUL, "ana": known("a"), "ben": known("b")}
    with outside(base, agents, settings=json.dumps(settings)) as it:
        yield it


@pytest.fixture(autouse=True)
def forgotten(out: Outside) -> None:
    out.forget()


def asked(out: Outside, credential: str | None, version: str = MODERN, **more: str) -> httpx.Response:
    """One call with any `Authorization`, of an agent that knows a tool."""
    body = modern("tools/call", {"name": "w__read", "arguments": {}})
    headers = {"accept": "application/json, text/event-stream", **headers_of(body)}
    if version != MODERN:
        body, headers = message("tools/call", {"name": "w__read"}), {"accept": headers["accept"]}
        headers["mcp-protocol-version"] = version
    if credential is not None:
        headers["authorization"] = credential
    url = out.hub.url + more.pop("query", "")
    return out.http.post(url, json=body, headers={**headers, **more})


def signed(by: str, **claims: Any) -> str:
    now = int(time.time())
    said = {"iss": ISSUERS[by], "aud": RESOURCE, "sub": "ada", "exp": now + 600, "iat": now, **claims}
    return jwt.encode(said, KEYS[by].private, "ES256", {"kid": "k1"})


def test_t10_no_credential_that_proves_nobody_is_anybody_in_any_version_over_any_wire(out: Outside) -> None:
    good, draw = out.token("careful"), random.Random(20261125)
    ended = done(out.home, "agents", "token", "careful", "--json", "--expires", "1s").json["token"]
    wrong: list[str | None] = [
        None, "", "Bearer", "bearer null", "Basic " + base64.b64encode(f"careful:{good}".encode()).decode(),
        good, f"Bearer {good} {good}", f"Bearer {good[:-1]}", f"Bearer {good}=", f"Bearer {good.upper()}",
        f"Token {good}", "Bearer hub_", "Bearer undefined", "Bearer *", "Bearer careful",
    ]  # fmt: skip
    for _ in range(100):
        at = draw.randrange(4, len(good))
        wrong.append(f"Bearer {good[:at]}{draw.choice('abcXYZ019-_')}{good[at + 1 :]}")
    wrong = [each for each in wrong if each != f"Bearer {good}"]
    for version in VERSIONS:
        for credential in wrong if version == MODERN else wrong[:20]:
            assert asked(out, credential, version).status_code == 401, (version, credential)
        for query in (f"?access_token={good}", f"?token={good}", f"?authorization=Bearer%20{good}"):
            assert asked(out, None, version, query=query).status_code == 401
        assert asked(out, None, version, **{"x-api-key": good, "cookie": f"token={good}"}).status_code == 401
    while asked(out, f"Bearer {ended}").status_code != 401:
        time.sleep(0.05)  # it is good for a second
    out.forget()
    # A pipe is its operating system user's; a name that no manifest has is nobody.
    for arguments in (("--agent", "nobody"), ()):
        refused = hub(out.home, "serve", "--stdio", *arguments)
        assert refused.code != 0 and refused.out == "", refused
    assert out.received(*USES) == []
    assert asked(out, f"Bearer {good}").status_code == 200


def test_t11_one_agents_session_state_and_approval_are_nothing_in_anothers_hands(out: Outside) -> None:
    params = {"name": "w__write", "arguments": {"path": "/x"}}
    with (
        out.agent("careful") as mine,
        out.agent("other") as theirs,
        out.agent("careful", version=VERSIONS[1]) as old,
    ):

        def call(agent: Any, **more: Any) -> Any:
            return json.loads(agent.raw(modern("tools/call", {**params, **more}, **VISITS)))

        state = call(mine)["result"]["requestState"]
        (waiting,) = [
            row for row in done(out.home, "approvals", "list", "--json").json if row["agent"] == "careful"
        ]
        answers = {"inputResponses": {"approval": {"action": "accept"}}}
        assert call(theirs, requestState=state, **answers)["error"]["code"] == -32602
        draw = random.Random(20261126)
        flips = [(len(state) - 1, 1 << bit) for bit in range(7)]
        flips += [(draw.randrange(len(state)), 1 << draw.randrange(7)) for _ in range(BITS)]
        for at, bit in flips:
            turned = state[:at] + chr(ord(state[at]) ^ bit) + state[at + 1 :]
            assert call(mine, requestState=turned, **answers)["error"]["code"] == -32602, turned
        done(out.home, "approvals", "approve", waiting["id"])
        named = {"_meta": {**modern("x", **VISITS)["params"]["_meta"], "hub/approval": waiting["id"]}}
        answer = json.loads(theirs.raw({**modern("tools/call"), "params": {**params, **named}}))
        assert "Unknown approval" in json.dumps(answer), answer
        assert "isError" in answer["result"]
        for id in (old.http.headers["mcp-session-id"], "x"):  # type: ignore[attr-defined]
            for method in ("POST", "GET", "DELETE"):
                headers = {"mcp-session-id": id, "mcp-protocol-version": VERSIONS[1]}
                body = None if method != "POST" else message("tools/list")
                there = theirs.http.request(method, theirs.url, json=body, headers=headers)  # type: ignore[attr-defined]
                assert there.status_code == 404, (method, id)
        assert out.received("tools/call") == []
        assert "result" in old.ask("tools/list"), "the session is there all the same"
        assert not call(mine, requestState=state, **answers)["result"].get("isError")
        assert len(out.received("tools/call")) == 1


@pytest.mark.parametrize("length", range(3))
def test_t11_what_is_sealed_has_one_spelling(length: int) -> None:
    seal = Seal(bytes(range(32)), SystemEnv())
    sealed = seal.close("approval", ["x" * length], seconds=60)
    assert seal.open("approval", sealed) == ["x" * length]
    others = [
        sealed[:-1] + last for last in string.ascii_letters + string.digits + "-_" if last != sealed[-1]
    ]
    for other in [
        *others,
        sealed + "=",
        sealed + "A",
        f" {sealed}",
        sealed[:-1],
        sealed.replace("_", "/") + "=",
    ]:
        with pytest.raises(Broken):
            seal.open("approval", other)


def test_t11_a_narrower_token_of_the_same_agent_has_no_part_in_a_session_of_the_whole_one(
    out: Outside,
) -> None:
    narrow = done(out.home, "agents", "token", "careful", "--json", "--may", "w__read").json["token"]
    with out.agent("careful", version=VERSIONS[-2]) as whole:
        headers = {name: whole.http.headers[name] for name in ("mcp-session-id", "mcp-protocol-version")}  # type: ignore[attr-defined]
        child = HttpAgent(out.hub.url, narrow, VERSIONS[-2])
        with child.http as http:
            http.headers.update(headers)
            for method in ("POST", "GET", "DELETE"):
                body = None if method != "POST" else message("tools/list")
                assert http.request(method, child.url, json=body).status_code == 404, method
            for name in headers:
                del http.headers[name]
            child.open()
            assert tools_of(child) == ["w__read"]
            # Nor the other way round.
            theirs = {"mcp-session-id": http.headers["mcp-session-id"]}
            assert whole.http.get(child.url, headers=theirs).status_code == 404  # type: ignore[attr-defined]
        assert "result" in whole.ask("tools/list")


def test_t13_a_token_counts_for_the_issuer_whose_key_signed_it_and_for_this_hub_alone(out: Outside) -> None:
    for by, other in (("a", "b"), ("b", "a")):
        assert asked(out, f"Bearer {signed(by)}").status_code == 200
        mixed = (
            signed(by, iss=ISSUERS[other]), signed(by, iss=f"{ISSUERS[by]}/"),
            signed(by, iss=ISSUERS[by].upper()), signed(by, aud="https://other.example/mcp"),
            signed(by, aud=None), signed(by, aud=ISSUERS[by]), signed(by, aud=RESOURCE + "/"),
            signed(by, sub="bob"), signed(by, exp=None),
        )  # fmt: skip
        for token in mixed:
            assert asked(out, f"Bearer {token}").status_code == 401, jwt.decode(
                token, options={"verify_signature": False}
            )
    rows = done(out.home, "calls", "list", "--json", "--limit", "1000").json
    by_agent = [row["agent"] for row in rows if row["agent"] in ("ana", "ben")]
    assert (by_agent.count("ana"), by_agent.count("ben")) == (1, 1)
    assert len(out.received("tools/call")) == 2


def test_t14_a_foreign_page_reaches_nothing_even_with_a_good_token(out: Outside) -> None:
    good = f"Bearer {out.token('careful')}"
    foreign: dict[str, tuple[str, ...]] = {
        "host": ("evil.example", "127.0.0.1.evil.example", "169.254.169.254", "localhost.evil.example:8420")
    }
    foreign["origin"] = ("https://evil.example", "null", "http://localhost.evil.example", "file://")
    foreign["content-type"] = (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    )
    for header, values in foreign.items():
        for value in values:
            for version in (VERSIONS[0], MODERN):
                answer = asked(out, good, version, **{header: value})
                assert answer.status_code == (415 if header == "content-type" else 403), (
                    header,
                    value,
                    answer.text,
                )
                assert "access-control-allow-origin" not in answer.headers
    for method in ("OPTIONS", "HEAD", "PUT", "PATCH", "TRACE"):
        answer = out.http.request(method, out.hub.url, headers={"origin": "https://evil.example"})
        assert answer.status_code in (400, 403, 405)
    assert out.received(*USES) == []


def test_t18_the_call_after_a_revocation_is_refused_whatever_the_wire(out: Outside) -> None:
    took: list[float] = []
    usual: list[float] = []
    # As often as a busy machine needs to show what the hub takes.
    while len(took) < 20 and min(took, default=1.0) >= MARK_SECONDS:
        made = done(out.home, "agents", "token", "careful", "--json").json
        agent = HttpAgent(out.hub.url, made["token"], VERSIONS[-2])
        with agent.http as http:
            agent.open()
            began = time.monotonic()
            assert "result" in agent.ask("tools/call", {"name": "w__read"})
            usual.append(time.monotonic() - began)
            with http.stream("GET", agent.url) as open_stream:
                assert open_stream.status_code == 200
                done(out.home, "agents", "token", "careful", "--revoke", made["id"])
                began = time.monotonic()
                out.forget()
                assert (
                    http.post(agent.url, json=message("tools/call", {"name": "w__read"})).status_code == 401
                )
                assert not [line for line in open_stream.iter_lines() if line.startswith("data: {")]
                took.append(time.monotonic() - began)
        assert out.received("tools/call") == []
    assert min(took) < MARK_SECONDS + 5 * min(usual)
