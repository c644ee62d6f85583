"""A result keeps the text that its server wrote, and goes out with it; heads of answers that come again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from connectors.jsonrpc import Budget, Malformed, Spelt, encode, keep_spelling, parse, result_of
from hub.model import Agent
from hub.policy import Grants
from hub.server.era import Caller, shaped, text_of
from tests.pools import POST, pool_of
from tests.servers.fault_http import http, saying

BUDGET = Budget(1_000_000, 10_000)
SCALARS = some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.text()
VALUES = some.recursive(SCALARS, lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner))
RESULTS = some.dictionaries(
    some.sampled_from(["content", "_meta", "resultType", "structuredContent", "isError", "x"]), VALUES
)


def body(text: bytes, id: int = 7) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (id, text)


def turned(text: bytes, id: int = 7) -> bytes:
    """As TypeScript's SDK orders the keys."""
    return b'{"result":%b,"jsonrpc":"2.0","id":%d}' % (text, id)


@given(RESULTS, some.booleans(), some.sampled_from([body, turned]), some.sampled_from([0, 100_000]))
def test_the_text_of_a_result_is_what_stood_there(
    result: dict[str, Any], spaced: bool, order: Callable[[bytes], bytes], more: int
) -> None:
    """Ours: spaces, escapes and spelling of numbers included; also of a long one, which is not copied."""
    result["long"] = "x" * more
    written = json.dumps(result, indent=2 if spaced else None).encode()
    found = result_of(order(written), 7, BUDGET)
    assert found is not None
    assert (found, found.text) == (result, written)
    message = parse(order(written), BUDGET)
    keep_spelling(message, order(written))
    assert type(message["result"]) is Spelt and message["result"].text == written


@pytest.mark.parametrize(
    "said",
    [
        b'{"jsonrpc":"2.0","id":8,"result":{}}',
        b'{"jsonrpc":"2.0","id":7.0,"result":{}}',
        b'{"jsonrpc":"2.0","id":"7","result":{}}',
        b'{"jsonrpc":"2.0","result":{},"id":7}',
        b'{"jsonrpc":"2.0","id":7,"result":{},"x":1}',
        b'{"jsonrpc":"2.0","id":7,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","id":7,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":7,"result":[]}',
        b'{"jsonrpc":"2.0","id":7,"error":{}}',
        b'{"jsonrpc":"2.1","id":7,"result":{}}',
        b'{"jsonrpc":"2.0","id":7,"result":{} }',
        b'{"result":{} ,"jsonrpc":"2.0","id":7}',
        b'{"result":{"a":{},"jsonrpc":"2.0","id":7}}',
        b'{"result":{},"jsonrpc":"2.0","id":8}',
        b'{"result":{},"jsonrpc":"2.0","id":7.0}',
        b'{"result":{},"x":{},"jsonrpc":"2.0","id":7}',
        b'{"result":[{}],"jsonrpc":"2.0","id":7}',
    ],
)
def test_any_other_answer_is_looked_at_with_more_care(said: bytes) -> None:
    assert result_of(said, 7, BUDGET) is None
    message = parse(said, BUDGET)
    if message.get("id") == 7 and "result" in message:
        keep_spelling(message, said)
        assert type(message["result"]) is not Spelt


@pytest.mark.parametrize("rest", [b'{},"result":{}}', b"{}}}", b'{"a":1,"a":2}}', b"{}]}", b"{"])
def test_what_only_begins_like_a_result_is_refused(rest: bytes) -> None:
    """T1, T2."""
    said = b'{"jsonrpc":"2.0","id":7,"result":' + rest
    try:
        found = result_of(said, 7, BUDGET)
    except Malformed:
        found = None
    assert found is None


@given(RESULTS, some.booleans(), some.sampled_from(["tools/call", "resources/read", "prompts/get"]))
def test_the_text_that_goes_out_says_what_the_result_in_its_era_is(
    result: dict[str, Any], modern: bool, method: str
) -> None:
    result.pop("resultType", None)
    caller = Caller(Agent("a", Grants("a.yaml")), modern, {}, {})
    spelt = Spelt(result, encode(result))
    text = text_of(spelt, method, caller)
    assert isinstance(text, bytes)
    assert parse(text, BUDGET) == shaped(result, method, caller)
    long = text_of(Spelt(result, memoryview(encode(result))), method, caller)
    assert text == (b"".join(long) if isinstance(long, tuple) else long)


def test_a_changed_result_has_no_text_any_more() -> None:
    spelt = Spelt({"content": []}, b'{"content":[]}')
    assert type({**spelt, "isError": True}) is dict and type(spelt.copy()) is dict


@pytest.mark.anyio
async def test_an_answer_with_a_head_that_came_before_is_itself() -> None:
    """Ours: heads are remembered, bodies are not; of another length, or cut, it is parsed."""
    bodies = [b"one", b"two", b"three", b"six", b"", b"seven"]
    left = iter(bodies)

    async def answer(request: Any, writer: Any) -> None:
        await saying(http(200, next(left)))(request, writer)

    async with pool_of(answer) as (pool, server):
        assert [(await pool.exchange(POST)).body for _ in bodies] == bodies
        assert server.connections == 1


@pytest.mark.anyio
async def test_a_known_head_with_more_behind_it_than_its_body_ends_the_connection() -> None:
    """A second answer in the same bytes must never become the answer to the next request."""
    answers = iter([http(200, b"real"), http(200, b"real") + http(200, b"forged"), http(200, b"last")])

    async def answer(request: Any, writer: Any) -> None:
        await saying(next(answers))(request, writer)

    async with pool_of(answer) as (pool, server):
        assert [(await pool.exchange(POST)).body for _ in range(3)] == [b"real", b"real", b"last"]
        assert server.connections == 2


@pytest.mark.anyio
async def test_an_interim_answer_before_it_is_no_head_to_remember() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nX-A: early\r\n\r\n"
    async with pool_of(saying(early + http(200, b"real"))) as (pool, _):
        for _ in range(3):
            response = await pool.exchange(POST)
            assert (response.status, response.body, response.header(b"x-a")) == (200, b"real", "")
