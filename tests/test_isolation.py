"""No byte of one agent reaches another, whatever both do: random operations on a hub of two agents.

Each agent's own values hold a word that is its alone. What an agent is answered never holds the other's,
but for what the other has shared with it. `HUB_TEST_OPERATIONS=10000` runs as many; the default is short.
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from connectors.jsonrpc import encode
from hub.model import Json
from tests.builtin_room import LENDS, NAMED, SHARED, Agent, agents
from tests.hub_room import room
from tests.servers import long
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

OPERATIONS: Final = int(os.environ.get("HUB_TEST_OPERATIONS", "600"))
GRANTS: Final[Any] = {"ann": ("hub__*", "good__*"), "bob": ("hub__*", "good__*")}
GOOD: Final[Json] = {
    "connect": {"command": [sys.executable, str(ROOT / "tests" / "servers" / "worker.py")]},
    "results": 1000,
}
LONG: Final = 5000
"""Characters of a result that is kept."""
LENDING: Final[Any] = {"ann": ("hub__*", SHARED, LENDS), "bob": ("hub__*", SHARED, LENDS)}
WORDS: Final = {"ann": "aubergine", "bob": "blackcurrant"}
NAMES: Final = ("one", "two", "three")
KEYS: Final = ("plan", "state", "next")


class Two:
    """Both agents, what they have been told that names something, and chance."""

    def __init__(self, both: dict[str, Agent], seed: int, legacy: list[str]) -> None:
        """
        Args:
            legacy: Ids of the older era's sessions, of both.
        """
        self.both = both
        self._legacy = legacy
        self.chance = random.Random(seed)
        self.seen: list[str] = ["nothing", "x" * 26]
        """Ids of anybody's sessions, calls and results: an agent may have heard of them."""
        self.operations = 0

    async def step(self) -> tuple[str, bytes]:
        """One operation of one agent: who, and all that it was answered."""
        self.operations += 1
        name = self.chance.choice(["ann", "bob"])
        agent, pick = self.both[name], self.chance.choice
        agent.meta = {}
        if self.chance.random() < 0.4:
            agent.meta[NAMED] = pick([*NAMES, *self.seen])
        if self.chance.random() < 0.2:
            agent.meta["hub/idempotency-key"] = pick(NAMES)
        tool, arguments = self._operation(WORDS[name], WORDS["bob" if name == "ann" else "ann"])
        if tool == "resource":
            answer = await agent.ask("resources/read", {"uri": f"hub://results/{pick(self.seen)}"})
        elif tool == "older":
            answer = await agent.ask_older(pick([*self._legacy, *self.seen]), arguments)
        elif tool == "echo":
            answer = await agent.ask("tools/call", {"name": "good__echo", "arguments": arguments})
        else:
            answer = await agent.ask("tools/call", {"name": f"hub__{tool}", "arguments": arguments})
        self._remember(answer)
        return name, encode(answer)

    def _operation(self, mine: str, theirs: str) -> tuple[str, Json]:
        pick = self.chance.choice
        secret = f"{mine} {self.operations}"
        scope = pick(["session", "agent"])
        of: Json = {"of": pick(["ann", "bob"])} if self.chance.random() < 0.2 else {}
        return pick(
            [
                (
                    "memory",
                    {"action": "put", "key": pick(KEYS), "value": {"it": secret}, "scope": scope, **of},
                ),
                ("memory", {"action": "get", "key": pick(KEYS), "scope": scope, **of}),
                # What an agent asks with, it may be answered: the first letters are enough to find it.
                ("memory", {"action": "search", "query": pick([theirs[:4], mine, "it"]), "limit": 100}),
                ("memory", {"action": "search"}),
                ("memory", {"action": "forget", "key": pick(KEYS), "scope": scope, **of}),
                ("memory", {"action": "lease", "key": pick(KEYS), "scope": scope, "ttl": "1s", **of}),
                ("session", {"action": "open", "name": pick(NAMES), "goal": secret}),
                ("session", {"action": "resume", "name": pick([*NAMES, *self.seen])}),
                ("session", {"action": "note", "text": secret}),
                ("session", {"action": "note", "pin": pick(self.seen)}),
                ("session", {"action": "close", "name": pick([*NAMES, *self.seen])}),
                ("session", {"action": "share", "with": pick(["ann", "bob"]), "keys": [pick(KEYS)]}),
                ("session", {"action": "share", "with": pick(["ann", "bob"]), "results": [pick(self.seen)]}),
                ("context", {"tokens": pick([1, 50, 400, 4000])}),
                ("context", {"query": theirs[:4]}),
                ("read", {"id": pick(self.seen)}),
                ("read", {"id": pick(self.seen), "search": pick([mine[:4], theirs[:4]])}),
                ("resource", {}),
                ("older", {"name": "hub__context", "arguments": {}}),
                ("older", {"name": "good__echo", "arguments": {"text": secret}}),
                ("echo", {"text": secret}),
                ("echo", {"text": f"{secret} ".ljust(LONG, "x")}),
                ("echo", {"text": {"$result": pick(self.seen), "at": ""}}),
            ]
        )

    def _remember(self, answer: Any) -> None:
        for word in encode(answer).decode().replace('"', " ").replace("(", " ").replace(")", " ").split():
            plain = word.strip(".,;:\\n")
            if len(plain) == 26 and plain.isalnum() and plain not in self.seen:
                self.seen.append(plain)
        del self.seen[2:-60]


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_byte_of_an_agent_reaches_another_that_it_shares_nothing_with(
    tmp_path: Path, seed: int, record_property: Any
) -> None:
    """Neither what it kept, noted or named as its goal; nor whether there is such a thing."""
    if OPERATIONS < 10_000:
        record_property("shortened", f"{OPERATIONS} operations; HUB_TEST_OPERATIONS=10000 is all of it")
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(room(tmp_path, {"good": GOOD}, agents=GRANTS, seconds=3600))
        ann, bob = [Agent(it, await stack.enter_async_context(it.http(name))) for name in GRANTS]
        two = Two({"ann": ann, "bob": bob}, seed, [await each.open_older() for each in (ann, bob)])
        told = {"ann": 0, "bob": 0}
        for _ in range(OPERATIONS // 2):
            name, answer = await two.step()
            theirs = WORDS["bob" if name == "ann" else "ann"]
            assert theirs.encode() not in answer, f"operation {two.operations} of {name}"
            told[name] += WORDS[name].encode() in answer
        assert min(told.values()) > OPERATIONS // 100, "they do read what is their own"


async def test_what_is_shared_is_all_that_is_seen(tmp_path: Path) -> None:
    async with agents(tmp_path, "ann", "bob", grants=LENDING) as (_, ann, bob):
        await ann.done("memory", action="put", key="plan", value="aubergine 1")
        await ann.done("memory", action="put", key="state", value="aubergine 2")
        before = await bob.refused("memory", action="get", key="plan", of="ann")
        assert before == (await bob.refused("memory", action="get", key="plan", of="nobody")).replace(
            "nobody", "ann"
        )
        assert "no key 'none'" in await ann.refused(
            "session", action="share", with_="bob", keys=["plan", "none"]
        )
        assert "shared with you" in await bob.refused("memory", action="get", key="plan", of="ann")
        await ann.done("session", action="share", with_="bob", keys=["plan"])
        assert (await bob.done("memory", action="get", key="plan", of="ann")).startswith("aubergine 1")
        assert "shared with you" in await bob.refused("memory", action="get", key="state", of="ann")
        for action in ("put", "forget", "lease"):
            more = {"value": 1} if action == "put" else {}
            assert "not change it" in await bob.refused("memory", action=action, key="plan", of="ann", **more)
        await ann.done("session", action="share", with_="bob", keys=["plan"], write=True)
        await bob.done("memory", action="put", key="plan", value="changed", of="ann")
        got = (await ann.use("memory", action="get", key="plan"))["structuredContent"]
        assert (got["value"], got["agent"]) == ("changed", "bob")
        await ann.done("session", action="share", with_="bob")
        assert "shared with you" in await bob.refused("memory", action="get", key="plan", of="ann")


async def test_a_result_is_read_by_whom_it_was_shared_with_and_by_nobody_else(tmp_path: Path) -> None:
    server: Json = {"connect": {"command": [sys.executable, long.__file__, str(tmp_path / "taken")]}}
    grants: Any = {"ann": ("hub__*", "long__*", LENDS), "bob": ("hub__*",), "carl": ("hub__*",)}
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(room(tmp_path / "home", {"long": server}, agents=grants))
        ann, bob, carl = [Agent(it, await stack.enter_async_context(it.http(name))) for name in grants]
        answer = await ann.ask("tools/call", {"name": "long__rows", "arguments": {"count": 900}})
        id = answer["result"]["_meta"]["hub/result"]["id"]
        at: Json = {"id": id, "at": "/items/7/name"}
        assert "row 7" in await ann.done("read", **at)
        assert "no result" in await bob.refused("read", **at)
        assert "Unknown result" in await ann.refused(
            "session", action="share", with_="bob", results=["x" * 26]
        )
        await ann.done("session", action="share", with_="bob", results=[id])
        assert "row 7" in await bob.done("read", **at)
        assert "no result" in await carl.refused("read", **at)
        await bob.done("session", action="note", pin=id)
        await ann.done("session", action="note", pin=id)
        for each in (ann, bob):
            assert f"- {id}: long__rows" in await each.done("context")
        assert "long__rows" not in await carl.done("context")
        await ann.done("session", action="share", with_="bob")
        assert "no result" in await bob.refused("read", **at)
        assert f"- {id}: there is nothing of this id" in await bob.done("context")


async def test_sharing_needs_a_rule_about_whom_with(tmp_path: Path) -> None:
    async with agents(tmp_path, "ann", "bob", grants=GRANTS) as (_, ann, _bob):
        await ann.done("memory", action="put", key="plan", value=1)
        assert "not granted" in await ann.refused("session", action="share", with_="bob", keys=["plan"])
    only: Any = {**LENDS, "with": {"with": {"const": "carl"}}}
    async with agents(tmp_path, "ann", grants={"ann": ("hub__memory", only)}) as (_, ann):
        await ann.done("memory", action="put", key="plan", value=1)
        refused = await ann.refused("session", action="share", with_="bob", keys=["plan"])
        assert "carl" in refused or "with" in refused
        assert "carl sees plan" in await ann.done("session", action="share", with_="carl", keys=["plan"])


async def test_a_lease_keeps_two_agents_from_changing_a_key_at_once(tmp_path: Path) -> None:
    async with agents(tmp_path, "ann", "bob", grants=LENDING) as (_, ann, bob):
        shared: Any = {"key": "turn", "scope": "shared"}
        first = (await ann.use("memory", action="lease", ttl="1h", **shared))["structuredContent"]["fence"]
        assert "leased to ann" in await bob.refused("memory", action="lease", **shared)
        assert "leased to ann" in await bob.refused("memory", action="put", value=1, **shared)
        assert "leased to ann" in await ann.refused("memory", action="put", value=1, **shared)
        await ann.done("memory", action="put", value=1, fence=first, **shared)
        assert "does not count" in await bob.refused("memory", action="put", value=1, fence=first, **shared)
        longer = await ann.use("memory", action="lease", ttl="2h", fence=first, **shared)
        assert longer["structuredContent"]["fence"] == first
        await ann.done("memory", action="release", fence=first, **shared)
        second = (await bob.use("memory", action="lease", **shared))["structuredContent"]["fence"]
        assert second > first
        assert "does not count" in await ann.refused("memory", action="put", value=2, fence=first, **shared)
        assert "does not count" in await ann.refused("memory", action="forget", fence=first, **shared)
        await bob.done("memory", action="forget", fence=second, **shared)
        assert "not leased to you" in await ann.refused("memory", action="release", fence=second, **shared)
