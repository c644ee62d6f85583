"""Arguments are judged by the tool's own schema, and no schema makes that take long."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hub.catalog import Catalog, Offer
from hub.middleware.check import Check
from hub.model import Agent, Call, Json, Result
from hub.policy import Grants

pytestmark = pytest.mark.anyio

SLOW = "((a{140}){140})"
"""Takes seconds for a hundred thousand characters."""
SCHEMA: Json = {
    "type": "object",
    "properties": {
        "word": {"type": "string", "pattern": "^[a-z]+$"},
        "slow": {"type": "string", "pattern": SLOW},
        "pattern": {"type": "integer"},
        "number": {"type": "integer"},
    },
    "patternProperties": {"^x-": {"type": "string"}},
    "additionalProperties": False,
}


def judged_by(schema: Json) -> Any:
    """`(arguments)` -> what a call with them is answered."""
    offer = Offer("box", definitions={"tool": ({"name": "do", "inputSchema": schema},)})
    entry = Catalog.build([offer], 1).find("tool", "box__do")
    check = Check(lambda server: True)

    async def serve(call: Call) -> Result:
        return {"content": [{"type": "text", "text": "done"}]}

    async def use(**arguments: Any) -> str:
        params = {"name": "box__do", "arguments": arguments}
        call = Call("id", Agent("me", Grants("me")), "s", "tools/call", "tool", "box__do", entry, params)
        text: str = (await check(call, serve))["content"][0]["text"]
        return text

    return use


async def test_what_does_not_fit_is_named_and_not_sent() -> None:
    use = judged_by(SCHEMA)
    assert await use(word="tea", **{"x-more": "y"}) == "done"
    for wrong in ({"word": "Tea!"}, {"number": "3"}, {"pattern": "3"}, {"other": 1}, {"x-more": 3}):
        assert "do not fit; nothing was sent" in await use(**wrong)


async def test_long_arguments_are_judged_by_all_but_patterns_and_soon() -> None:
    use, long = judged_by(SCHEMA), "a" * 100_000
    began = time.process_time()
    assert await use(slow=long + "!", word=long + "!") == "done"
    assert await use(word=long, **{"x-more": "y"}) == "done"
    for wrong in ({"number": "3"}, {"pattern": "3"}, {"word": 3}):
        assert "do not fit; nothing was sent" in await use(slow=long, **wrong)
    assert time.process_time() - began < 3


async def test_short_arguments_are_judged_by_the_slowest_patterns_too_and_soon() -> None:
    use = judged_by(SCHEMA)
    began = time.process_time()
    assert "slow" in await use(slow="a" * 4000)
    assert time.process_time() - began < 3
