"""A message that is one very long text is read in pieces, and comes out as if it had been read at once."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from connectors import jsonrpc, long_text
from connectors.jsonrpc import Budget, Malformed, parse

BUDGET = Budget(1 << 26, 100_000)
SIZE = long_text.LONG_BYTES


def plainly(data: bytes) -> Any:
    try:
        return parse(data, BUDGET)
    except Malformed as error:
        raise ValueError(error.message) from None


def message(text: str, result: Any = None, **how: Any) -> bytes:
    content = [{"type": "text", "text": text}]
    whole = {"jsonrpc": "2.0", "id": 7, "result": result or {"content": content, "isError": False}}
    return json.dumps(whole, **how).encode()


ALPHABETS = {
    "words": "some words and a line\n",
    "quotes": '{"name": "tea", "path": "c:\\\\"}',
    "backslashes": "\\" * 4000 + "/",
    "two bytes": "žluťoučký",
    "pairs": "😀",
    "all": 'a"\\\n\té😀\u2028\x00/',
}


@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "plain"])
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_the_same_comes_of_it(alphabet: str, escaped: bool) -> None:
    chance = random.Random(alphabet)
    of = ALPHABETS[alphabet]
    unit = "".join(chance.choice(of) for _ in range(997)) if alphabet == "all" else of
    text = unit * (SIZE // (len(json.dumps(unit, ensure_ascii=escaped).encode()) - 2) + 1)
    data = message(text, ensure_ascii=escaped)
    read: list[bytes] = []

    def noted(piece: bytes) -> Any:
        read.append(piece)
        return plainly(piece)

    found = long_text.read(data, noted)
    assert found == json.loads(data)
    assert len(read) > 4, "in pieces"
    assert max(map(len, read)) < SIZE // 2


@pytest.mark.parametrize(
    "broken",
    [b"\xff", b"\xc3", b'"', b"\\x", b"\\ud83d", b"\n", b"\\u12"],
    ids=[
        "no UTF-8",
        "half a letter",
        "a quote",
        "no escape",
        "half a pair",
        "a line break",
        "half an escape",
    ],
)
@pytest.mark.parametrize("where", [0.001, 0.5, 0.9999])
def test_what_is_wrong_in_it_is_said_as_of_any_message(broken: bytes, where: float) -> None:
    data = message("x" * SIZE)
    at = int(len(data) * where)
    data = data[:at] + broken + data[at + len(broken) :]
    assert long_text.read(data, plainly) is None
    with pytest.raises(Malformed, match=re.escape("Parse error")):
        parse(data, BUDGET)


def test_other_messages_are_left_to_be_read_at_once() -> None:
    long = "x" * SIZE
    for result in (
        {
            "content": [{"type": "text", "text": "short"}],
            "structuredContent": {"items": ["x" * 100] * (SIZE // 100)},
        },
        {"content": [{"type": "text", "text": long}], "structuredContent": {"items": [1] * 3000}},
        {"content": [{"type": "text", "text": long}, {"type": "text", "text": long}]},
        {"content": [{"type": "text", "text": "long text"}, {"type": "text", "text": long}]},
    ):
        data = message("", result)
        assert plainly(data) == json.loads(data)
    assert long_text.read(b'"' + b"x" * SIZE + b'"', plainly) is None


def test_a_text_like_the_mark_in_its_place_is_no_other() -> None:
    data = message(
        "", {"content": [{"type": "text", "text": "x" * SIZE}], "a": "long text", "b": "long text!"}
    )
    assert long_text.read(data, plainly) == json.loads(data)
    spelt = data.replace(b'"a": "long text"', b'"a": "long te\\u0078t!!"')
    assert plainly(spelt) == json.loads(spelt)


def test_bounds_hold_for_it() -> None:
    data = message("x" * SIZE)
    with pytest.raises(Malformed, match="too large"):
        parse(data, Budget(SIZE, 100_000))
    assert (
        jsonrpc.result_of(
            data.replace(b'"jsonrpc": "2.0", "id": 7, "result": ', b'"jsonrpc":"2.0","id":7,"result":'),
            7,
            BUDGET,
        )
        is None
    )
