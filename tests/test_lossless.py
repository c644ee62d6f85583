"""What goes in comes out: JSON of every shape, in params and results, through the whole hub.

A thousand cases a run: four crossings of the eras, over HTTP and over pipes, both directions in each case.
What may differ is the envelope only: the entry's name, the protocol's own keys in `_meta`, the progress
token, `resultType`, and for reads how long they may be kept. Compared are key order, the digits of each
number and the characters of each string; not the white space, nor how a character was escaped.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.raw_agents import STAMP, Era
from tests.raw_room import ERAS, WIRES, RawRoom, raw_room
from tests.spelled import (
    CONTENT,
    META,
    SOME,
    TEXT,
    UNKNOWN,
    VALUES,
    Pairs,
    Spelled,
    compact,
    get,
    objects,
    read,
    replaced,
    spell,
    without,
)

pytestmark = pytest.mark.anyio


CASES = 125
SECONDS = 30


@dataclass(frozen=True, repr=False)
class Method:
    method: str
    key: str
    """Where the name of what is used stands."""
    own: str
    """That name at the server, `SERVER` in place of the server's name."""
    params: dict[str, st.SearchStrategy[Any]]
    result: dict[str, st.SearchStrategy[Any]]

    def __repr__(self) -> str:
        return self.method

    def named(self, name: str) -> Any:
        return {"type": "ref/prompt", "name": name} if self.key == "ref" else name


METHODS = (
    Method(
        "tools/call", "name", "echo",
        {"arguments": objects(VALUES)},
        {"content": CONTENT, "structuredContent": VALUES, "isError": st.booleans()},
    ),
    Method("prompts/get", "name", "greet", {"arguments": objects(TEXT)}, {"messages": SOME}),
    Method("resources/read", "uri", "SERVER://one", {}, {"contents": st.lists(objects(VALUES, UNKNOWN))}),
    Method(
        "completion/complete", "ref", "greet",
        {"argument": objects(TEXT), "context": objects(VALUES)},
        {"completion": objects(VALUES)},
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    method: Method
    params: Pairs
    """Without the name, which stands before `before` of them."""
    before: int
    answer: Any
    fails: bool


@st.composite
def cases(draw: st.DrawFn) -> Case:
    method = draw(st.sampled_from(METHODS))
    params = Pairs(draw(objects(VALUES, UNKNOWN)))
    result = Pairs(draw(objects(VALUES, UNKNOWN)))
    for pairs, known in (
        (params, {**method.params, "_meta": META}),
        (result, {**method.result, "_meta": META}),
    ):
        for key, strategy in known.items():
            if draw(st.booleans()):
                pairs.insert(draw(st.integers(0, len(pairs))), (key, draw(strategy)))
    fails = draw(st.integers(0, 9)) == 0
    # In JSON-RPC, `data` that is null says no more than none.
    data = draw(VALUES.filter(lambda value: value is not None))
    error = Pairs([("code", Spelled("-31999")), ("message", draw(TEXT)), ("data", data)])
    return Case(method, params, draw(st.integers(0, len(params))), error if fails else result, fails)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: its hub lives as long."""
    return "asyncio"


@pytest.fixture(scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RawRoom]:
    async with raw_room(tmp_path_factory.mktemp("lossless")) as room:
        yield room


PROTOCOL = frozenset(
    f"io.modelcontextprotocol/{key}"
    for key in (
        "protocolVersion",
        "clientInfo",
        "clientCapabilities",
        "logLevel",
        "serverInfo",
        "subscriptionId",
    )
)


def plain_meta(pairs: Any) -> Pairs:
    """Without the protocol's own keys in `_meta`; an empty `_meta` is none."""
    meta = get(pairs, "_meta")
    if not isinstance(meta, Pairs):
        return Pairs(pairs)
    kept = without(meta, *PROTOCOL)
    return replaced(pairs, "_meta", kept) if kept else without(pairs, "_meta")


def expected_result(case: Case, agent: Era) -> Pairs:
    result = plain_meta(read(spell(case.answer)))
    structured = get(result, "structuredContent")
    if agent == "legacy" and case.method.method == "tools/call" and not isinstance(structured, Pairs):
        # What that protocol cannot say; where nothing else says it, it comes as text.
        shown, content = without(result, "structuredContent"), get(result, "content")
        if structured is None or ("content" in dict(result) and not isinstance(content, list)):
            return shown
        if any(isinstance(block, Pairs) and get(block, "type") == "text" for block in content or ()):
            return shown
        said = Pairs([("type", "text"), ("text", compact(structured))])
        if content is None:
            return Pairs([*shown, ("content", [said])])
        return replaced(shown, "content", [*content, said])
    return result


def got_result(case: Case, message: Any) -> Pairs:
    result = plain_meta(get(message, "result"))
    assert get(result, "resultType") in (None, "complete")
    added = ("ttlMs", "cacheScope") if case.method.method == "resources/read" else ()
    return without(result, "resultType", *added)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("server_era", ERAS)
@pytest.mark.parametrize("agent_era", ERAS)
@settings(max_examples=CASES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(case=cases())
async def test_params_and_results_of_every_shape_pass_unchanged(
    room: RawRoom, agent_era: Era, server_era: Era, wire: str, case: Case
) -> None:
    """Ours: raw in the middle. What is unknown passes; numbers keep their digits, objects their order."""
    server, agent = room.servers[server_era, wire], room.agents[agent_era, wire]
    method = case.method
    own = method.own.replace("SERVER", server.name)
    name = own if method.key == "uri" else f"{server.name}__{own}"
    server.tell(f'"{"error" if case.fails else "result"}":{spell(case.answer)}')
    named = Pairs(
        [*case.params[: case.before], (method.key, method.named(name)), *case.params[case.before :]]
    )
    sent = named
    if agent_era == "modern":
        meta = Pairs([*(get(named, "_meta") or []), *STAMP.items()])
        sent = (
            replaced(named, "_meta", meta)
            if get(named, "_meta") is not None
            else Pairs([*named, ("_meta", meta)])
        )

    message = read(await agent.ask(method.method, name, spell(sent)))

    arrived = get(read(server.asked()), "params")
    expected = replaced(
        named, method.key, Pairs([("type", "ref/prompt"), ("name", own)]) if method.key == "ref" else own
    )
    assert plain_meta(arrived) == plain_meta(read(spell(expected)))
    if case.fails:
        assert get(message, "error") == read(spell(case.answer))
    else:
        assert got_result(case, message) == expected_result(case, agent_era)


NAMES = st.text("abcdefgh", min_size=1, max_size=6)
SCHEMAS = objects(VALUES, UNKNOWN).map(lambda more: Pairs([("type", "object"), *more]))
OUTPUTS = st.tuples(objects(VALUES, UNKNOWN), st.sampled_from(["object", "array", ["object", "null"]])).map(
    lambda two: Pairs([*two[0], ("type", two[1])])
)
DEFINITIONS = st.lists(
    st.tuples(NAMES, objects(VALUES, UNKNOWN), SCHEMAS, st.one_of(st.none(), OUTPUTS)),
    min_size=1, max_size=4, unique_by=lambda four: four[0],
)  # fmt: skip


@pytest.mark.parametrize("server_era", ERAS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(four=DEFINITIONS)
async def test_definitions_of_every_shape_are_listed_unchanged(
    room: RawRoom, server_era: Era, four: list[tuple[str, Pairs, Pairs, Any]]
) -> None:
    """Ours: a list is the servers' own words, but for the names; a legacy agent is spared what breaks it."""
    name = f"{server_era}-lists"
    definitions = []
    for own, more, schema, output in four:
        definition = Pairs([*more[:2], ("name", own), ("inputSchema", schema), *more[2:]])
        definitions.append(definition if output is None else Pairs([*definition, ("outputSchema", output)]))
    room.offering[server_era].lists["tools/list"] = f'"result":{{"tools":{spell(definitions)}}}'
    with anyio.fail_after(SECONDS):
        await room.app.fleet.upstreams[name].check()
    for agent_era in ERAS:
        for wire in WIRES:
            params = Pairs([("_meta", Pairs(STAMP.items()))] if agent_era == "modern" else [])
            message = read(await room.agents[agent_era, wire].ask("tools/list", "", spell(params)))
            listed = [
                replaced(tool, "name", get(tool, "name").removeprefix(f"{name}__"))
                for tool in get(get(message, "result"), "tools")
                if get(tool, "name").startswith(f"{name}__")
            ]
            assert listed == [adapted(tool, agent_era) for tool in read(spell(definitions))]


def adapted(tool: Pairs, agent: Era) -> Pairs:
    output = get(tool, "outputSchema")
    sayable = isinstance(output, Pairs) and get(output, "type") == "object"
    return tool if agent == "modern" or sayable else without(tool, "outputSchema")


QUESTIONS = st.dictionaries(NAMES, objects(VALUES, UNKNOWN), min_size=1, max_size=3)


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(questions=QUESTIONS, answers=QUESTIONS)
async def test_questions_and_answers_of_every_shape_pass_unchanged(
    room: RawRoom, wire: str, questions: dict[str, Pairs], answers: dict[str, Pairs]
) -> None:
    """Ours: a question is a result, an answer a param; only the state is the hub's, until it is back."""
    server, agent = room.servers["modern", wire], room.agents["modern", wire]
    asked = Pairs(
        (key, Pairs([("method", "elicitation/create"), ("params", params)]))
        for key, params in questions.items()
    )
    answer = Pairs([("resultType", "input_required"), ("inputRequests", asked), ("requestState", "mine")])
    server.tell(f'"result":{spell(answer)}')
    stamp = {**STAMP, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    name = f"{server.name}__echo"
    call = {"name": name, "arguments": {}, "_meta": stamp}
    result = get(read(await agent.ask("tools/call", name, spell(call))), "result")
    assert get(result, "inputRequests") == read(spell(asked))

    server.tell('"result":{"content":[]}')
    state = get(result, "requestState")
    again = {**call, "inputResponses": Pairs(answers.items()), "requestState": state}
    message = read(await agent.ask("tools/call", name, spell(again)))
    assert get(get(message, "result"), "content") == []
    arrived = get(read(server.asked()), "params")
    assert get(arrived, "inputResponses") == read(spell(Pairs(answers.items())))
    assert get(arrived, "requestState") == "mine"


CELLS = pytest.mark.parametrize(
    ("agent_era", "server_era", "wire"),
    [(agent, server, wire) for agent in ERAS for server in ERAS for wire in WIRES],
)


async def exchange(
    room: RawRoom, agent_era: Era, server_era: Era, wire: str, params: dict[str, Any], answer: str
) -> tuple[Any, Any]:
    """Call a tool: its params as they arrived, and the result as it came back, both plain JSON."""
    server = room.servers[server_era, wire]
    server.tell(f'"result":{answer}')
    name = f"{server.name}__echo"
    meta = {**params.get("_meta", {}), **(STAMP if agent_era == "modern" else {})}
    asked = json.dumps({**params, "name": name, "_meta": meta})
    message = json.loads(await room.agents[agent_era, wire].ask("tools/call", name, asked))
    return json.loads(server.asked())["params"], message["result"]


@CELLS
async def test_what_nobody_knows_passes(room: RawRoom, agent_era: Era, server_era: Era, wire: str) -> None:
    params = {"arguments": {"x": {"y": None}}, "somethingNew": [1]}
    answer = '{"content":[{"type":"hologram","depth":3}],"somethingNewer":{"a":[]}}'
    arrived, result = await exchange(room, agent_era, server_era, wire, params, answer)
    assert (arrived["somethingNew"], arrived["arguments"]) == ([1], {"x": {"y": None}})
    assert (result["content"], result["somethingNewer"]) == ([{"type": "hologram", "depth": 3}], {"a": []})


@CELLS
async def test_a_vendors_meta_and_the_trace_pass(
    room: RawRoom, agent_era: Era, server_era: Era, wire: str
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    meta = {"com.example/key": {"deep": 1}, "traceparent": trace, "tracestate": "a=1"}
    arrived, result = await exchange(
        room, agent_era, server_era, wire, {"_meta": meta}, '{"content":[],"_meta":{"com.example/back":true}}'
    )
    assert {key: arrived["_meta"].get(key) for key in meta} == meta
    assert result["_meta"]["com.example/back"] is True


@CELLS
async def test_a_null_structured_content_reaches_those_whose_protocol_can_say_it(
    room: RawRoom, agent_era: Era, server_era: Era, wire: str
) -> None:
    for content in ("null", "[1,null]", '"text"', "7"):
        answer = f'{{"content":[{{"type":"text","text":"it"}}],"structuredContent":{content}}}'
        _, result = await exchange(room, agent_era, server_era, wire, {}, answer)
        assert result["content"] == [{"type": "text", "text": "it"}]
        if agent_era == "modern":
            assert result["structuredContent"] == json.loads(content)
        else:
            assert "structuredContent" not in result


@CELLS
async def test_large_integers_pass_to_the_digit(
    room: RawRoom, agent_era: Era, server_era: Era, wire: str
) -> None:
    large = [2**53 + 1, 2**64, -(2**63) - 1, 10**40]
    arrived, result = await exchange(
        room, agent_era, server_era, wire, {"arguments": {"n": large}},
        f'{{"content":[],"structuredContent":{{"n":{json.dumps(large)}}}}}',
    )  # fmt: skip
    assert arrived["arguments"]["n"] == large
    assert result["structuredContent"]["n"] == large


@pytest.mark.parametrize("wire", WIRES)
async def test_that_an_agents_folders_changed_is_not_passed_on(room: RawRoom, wire: str) -> None:
    """A known gap: what the server would ask then, outside of a call, could be put to nobody."""
    await room.agents["legacy", wire].tell("notifications/roots/list_changed")
    for era in ERAS:
        await exchange(room, "legacy", era, "http", {}, '{"content":[]}')
        heard = room.over_http[era].heard
        assert heard[-1] == "tools/call"
        assert "notifications/roots/list_changed" not in heard
