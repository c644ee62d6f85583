"""The same call with the same result, again and again: stopped before it is sent once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from connectors.base import RemoteError
from hub.errors import Repeated
from hub.model import Call, Json, Result
from hub.policy import Grants
from tests.clocks import SetEnv
from tests.limit_desk import ANY, desk

pytestmark = pytest.mark.anyio


async def test_the_same_call_with_the_same_result_stops_before_it_is_sent_again(tmp_path: Path) -> None:
    sent: list[Json] = []
    env = SetEnv()

    async def same(call: Call) -> Result:
        sent.append(call.params["arguments"])
        return {"content": [{"type": "text", "text": "not found"}], "_meta": {"at": len(sent)}}

    async with desk(tmp_path, env) as it:
        it.server = same
        rule = replace(ANY, repeat=3)
        grants = Grants("me.yaml", (rule,))
        # The same whatever the order of its keys.
        await it.use(grants, rule, a=1, b=2)
        await it.use(grants, rule, b=2, a=1)
        await it.use(grants, rule, a=1, b=2)
        refusal = await it.refused(grants, rule, a=1, b=2)
        assert isinstance(refusal, Repeated) and refusal.rule == "may[0]"
        assert str(refusal).startswith(
            "You have made this very call 3 times in a row and got the same result each time."
        )
        assert len(sent) == 3
        # In another session, with other arguments, or after those, it goes on.
        await it.use(grants, rule, session="s2", a=1, b=2)
        await it.use(grants, rule, a=2)
        await it.use(grants, rule, a=1, b=2)
        assert len(sent) == 6
        # And after the pause that it is told.
        await it.uses(2, grants, rule, a=1, b=2)
        env.seconds += (await it.refused(grants, rule, a=1, b=2)).retry_seconds
        assert await it.uses(9, grants, rule, a=1, b=2) == 3


async def test_another_result_begins_the_row_anew(tmp_path: Path) -> None:
    answers = iter("aabbccc")

    async def changing(call: Call) -> Result:
        return {"content": [{"type": "text", "text": next(answers)}]}

    async with desk(tmp_path, SetEnv()) as it:
        it.server = changing
        rule = replace(ANY, repeat=3)
        assert await it.uses(9, Grants("me.yaml", (rule,)), rule) == 7


async def test_the_same_error_is_the_same_result(tmp_path: Path) -> None:
    async def fails(call: Call) -> Result:
        raise RemoteError(-31000, "no")

    async with desk(tmp_path, SetEnv()) as it:
        it.server = fails
        rule = replace(ANY, repeat=2)
        for _ in range(2):
            with pytest.raises(RemoteError):
                await it.use(Grants("me.yaml", (rule,)), rule)
        assert isinstance(await it.refused(Grants("me.yaml", (rule,)), rule), Repeated)
