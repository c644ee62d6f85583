"""The limits' middleware alone, over a real store and under clocks that a test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub import chain
from hub.errors import OverLimit
from hub.meters import Meters
from hub.middleware.limit import Limit
from hub.model import Agent, Call, Entry, Handler, Result
from hub.policy import Grants, Rule
from hub.rules.quota import Quota
from hub.store.db import Store
from tests.clocks import SetEnv

HOUR, DAY = 3600.0, 86_400.0
TOOL = Entry("tool", "box", "echo", "box__echo", "box__echo", {}, cost=0.1)
ANY = Rule("may[0]", ("*",), 3)


async def done(call: Call) -> Result:
    await anyio.lowlevel.checkpoint()
    return {"content": []}


@dataclass
class Desk:
    """The middleware alone, over a real store."""

    env: SetEnv
    store: Store
    meters: Meters
    limit: Limit
    server: Handler = done

    async def use(
        self, grants: Grants, *rules: Rule, agent: str = "me", session: str = "s1",
        method: str = "tools/call", entry: Entry = TOOL, **arguments: Any,
    ) -> Result:  # fmt: skip
        params = {"name": entry.name, "arguments": arguments}
        call = Call(
            "id", Agent(agent, grants), session, method, "tool", entry.name, entry, params, rules=rules
        )
        return await chain.build([self.limit], self.server)(call)

    async def uses(self, count: int, grants: Grants, *rules: Rule, **more: Any) -> int:
        """How many of `count` calls, one after another, are let through."""
        passed = 0
        for _ in range(count):
            try:
                await self.use(grants, *rules, **more)
                passed += 1
            except OverLimit:
                pass
        return passed

    async def at_once(self, count: int, grants: Grants, *rules: Rule, **more: Any) -> int:
        """How many of `count` calls that come together are let through."""
        passed = 0

        async def one() -> None:
            nonlocal passed
            through = await self.uses(1, grants, *rules, **more)
            passed += through

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
        return passed

    async def refused(self, grants: Grants, *rules: Rule, **more: Any) -> OverLimit:
        with pytest.raises(OverLimit) as refusal:
            await self.use(grants, *rules, **more)
        return refusal.value


@asynccontextmanager
async def desk(folder: Path, env: SetEnv, *, orderly: bool = True) -> AsyncIterator[Desk]:
    """Until it ends, in order or as if it were killed: then nothing more is written."""
    with anyio.fail_after(60):
        async with Store.open(folder / "hub.db", env) as store:
            meters = Meters(store, env)
            await meters.load()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(meters.run)
                yield Desk(env, store, meters, Limit(meters, env))
                tasks.cancel_scope.cancel()
            if orderly:
                meters.settle()


def limited(**quota: Any) -> Grants:
    return Grants("me.yaml", (ANY,), limits=Quota(**quota))


def ruled(**quota: Any) -> tuple[Grants, Rule]:
    rule = replace(ANY, limits=Quota(**quota))
    return Grants("me.yaml", (rule,)), rule
