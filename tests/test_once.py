"""A call with an idempotency key is made once, whatever becomes of the hub or its client."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from connectors.base import RemoteError
from hub import chain
from hub.catalog import Catalog, Offer
from hub.env import SystemEnv
from hub.errors import Denied, InvalidParams, Unapproved, UpstreamFailed
from hub.middleware.once import KEY, REPEATED, Once
from hub.middleware.record import Record
from hub.model import Agent, Call, Json, Middleware, Result
from hub.policy import Grants, Rule
from hub.seal import Seal
from hub.sessions import Sessions
from hub.store.calls import Calls
from hub.store.db import Store
from tests.commands import SECONDS
from tests.homes import token
from tests.house import CLIENT, INITIALIZE, headers_of, message, modern
from tests.ledger_room import STREAMS, furnish, lines, started

pytestmark = pytest.mark.anyio

ROUNDS = int(os.environ.get("HUB_TEST_KILLS", "2"))
"""How often the hub is killed; `HUB_TEST_KILLS=200` takes some minutes."""
AT_ONCE = 6
DAY = 24 * 3600.0

ME = Agent("me", Grants("me.yaml", may=(Rule("may[0]", ("*",), 1),)))
NARROW = Agent(
    "me", Grants("token", may=(Rule("may[0]", ("box__*",), 1),), within=ME.grants), token="t", counted=False
)
OTHER = Agent("other", Grants("other.yaml", may=(Rule("may[0]", ("*",), 1),)))
BARRED = Agent("me", Grants("me.yaml"))


class Box:
    """A hub of one tool, whose server does what a test says, and counts."""

    def __init__(self, store: Store, wait_seconds: float = 5.0, env: SystemEnv | None = None) -> None:
        env = env or SystemEnv()
        self.env, self.store, self.sessions = env, store, Sessions(store, env)
        self.made = 0
        self.result: Any = {"content": [{"type": "text", "text": "done"}]}
        self.gate: anyio.Event | None = None
        self.entered = anyio.Event()
        definition = {"name": "do", "inputSchema": {"type": "object"}}
        catalog = Catalog.build([Offer("box", definitions={"tool": (definition,)})], 1)
        self.entry = catalog.find("tool", "box__do")
        middlewares: list[Middleware] = [
            Once(store, env, Seal(bytes(32), env), wait_seconds=wait_seconds),
            Record(Calls(store), env, 65536),
        ]
        self._handler = chain.build(middlewares, self._serve)
        self.seen: list[Call] = []

    async def _serve(self, call: Call) -> Result:
        self.made += 1
        self.seen.append(call)
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.result, Exception):
            raise self.result
        found: Result = self.result
        return found

    async def call(self, key: Any, agent: Agent = ME, arguments: Json | None = None, **more: Any) -> Result:
        session = await self.sessions.current(agent, CLIENT)
        entry = self.entry if agent is not BARRED else None
        params = {"name": "box__do", "arguments": arguments or {}, "_meta": {KEY: key, "vendor": 1}, **more}
        call = Call(self.env.new_id(), agent, session.id, "tools/call", "tool", "box__do", entry, params)
        return await self._handler(call)


def about(result: Result) -> Json | None:
    found: Json | None = result.get("_meta", {}).get(REPEATED)
    return found


async def test_a_repeated_call_is_answered_with_what_came_of_the_first(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store)
        first = await box.call("k", arguments={"a": 1, "b": [2.50]})
        assert about(first) is None
        again = await box.call("k", arguments={"b": [2.50], "a": 1})
        assert box.made == 1
        told = about(again)
        assert told is not None and told["call"] == box.seen[0].id
        assert {key: value for key, value in again.items() if key != "_meta"} == first
        assert box.seen[0].params["_meta"] == {"vendor": 1}, "the server is not told"
        await box.call("another")
        assert box.made == 2


class Jumping(SystemEnv):
    """Its wall clock is set anew by somebody; the other one goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.off = 0.0

    def now(self) -> float:
        return super().now() + self.off


@pytest.mark.parametrize("jump", [DAY + 3600, -DAY - 3600])
async def test_a_clock_that_jumps_lets_no_call_be_made_twice(tmp_path: Path, jump: float) -> None:
    env = Jumping()
    async with Store.open(tmp_path / "hub.db", env) as store:
        box = Box(store, env=env)
        await box.call("before")
        env.off = jump
        await box.call("within")
        assert about(await box.call("before")) is not None
        env.off = 0.0
        for key in ("before", "within"):
            assert about(await box.call(key)) is not None
        assert box.made == 2


async def test_a_key_is_its_agents_alone_and_good_for_one_call(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store)
        await box.call("k")
        for agent in (OTHER, NARROW):
            assert about(await box.call("k", agent)) is None
        assert box.made == 3
        with pytest.raises(Denied, match="other arguments"):
            await box.call("k", arguments={"a": 1})
        for wrong in (1, "", None, "x" * 257):
            with pytest.raises(InvalidParams):
                await box.call(wrong)
        assert box.made == 3


async def test_what_is_not_granted_any_longer_is_not_answered_from_the_record(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store)
        await box.call("k")
        box.result = {"content": []}
        assert await box.call("k", BARRED) == {"content": []}, "it goes the way of every call"


async def test_failures_of_the_tool_and_of_its_server_are_answered_again(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store)
        box.result = {"content": [], "isError": True}
        for _ in range(2):
            assert (await box.call("failed"))["isError"] is True
        box.result = RemoteError(-31000, "no", {"why": 1})
        for _ in range(2):
            with pytest.raises(RemoteError) as error:
                await box.call("error")
            assert (error.value.code, error.value.message, error.value.data) == (-31000, "no", {"why": 1})
        assert box.made == 2


async def test_what_was_not_made_may_be_made_with_its_key(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store)
        for error in (Unapproved("not yet"), UpstreamFailed("gone", sent=False)):
            box.result = error
            with pytest.raises(type(error)):
                await box.call("k")
        box.result = {"content": []}
        assert about(await box.call("k")) is None
        assert about(await box.call("k")) is not None
        assert box.made == 3


async def test_a_call_of_which_nobody_knows_what_it_did_is_refused_as_that(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store)
        box.result = UpstreamFailed("gone", sent=True)
        with pytest.raises(UpstreamFailed):
            await box.call("sent")
        box.gate, box.entered = anyio.Event(), anyio.Event()
        with anyio.move_on_after(10) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(box.call, "cancelled")
                await box.entered.wait()
                scope.cancel()
        box.gate = None
        for key in ("sent", "cancelled"):
            with pytest.raises(Denied, match="nobody knows") as refused:
                await box.call(key)
            assert refused.value.reason == "unknown"


async def test_repetitions_at_once_wait_for_the_first(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box, answers = Box(store), []
        box.gate = anyio.Event()

        async def call() -> None:
            answers.append(await box.call("k"))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(call)
                await box.entered.wait()
                with pytest.raises(Denied, match="other arguments"):
                    await box.call("k", arguments={"a": 1})
                box.gate.set()
        assert box.made == 1
        assert len(answers) == 8
        assert sum(about(answer) is None for answer in answers) == 1


async def test_a_repetition_waits_only_so_long(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store, wait_seconds=0.01)
        box.gate = anyio.Event()
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(box.call, "k")
                await box.entered.wait()
                with pytest.raises(Denied, match="under way"):
                    await box.call("k")
                box.gate.set()
        assert box.made == 1


async def test_the_rounds_of_a_call_that_asks_go_on_and_its_end_is_kept(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store)
        box.result = {"resultType": "input_required", "requestState": "1", "inputRequests": {}}
        await box.call("k")
        asked = await box.call("k")
        assert (asked["requestState"], box.made) == ("1", 1)
        box.result = {"content": []}
        await box.call("k", requestState="1", inputResponses={})
        assert box.made == 2
        again = await box.call("k", requestState="1", inputResponses={})
        told = about(again)
        assert told is not None and told["call"] == box.seen[1].id
        assert about(await box.call("k")) == told
        assert box.made == 2


async def test_a_result_that_only_the_calls_row_has_is_answered_where_that_has_all_of_it(
    tmp_path: Path,
) -> None:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        box = Box(store)
        await box.call("short")
        box.result = {"content": [{"type": "text", "text": "x" * 100_000}]}
        await box.call("long")
        # As if the hub had ended between the two.
        await store.write(
            lambda connection: connection.execute("UPDATE repeatable SET result = NULL").rowcount
        )
        assert (await box.call("short"))["content"][0]["text"] == "done"
        with pytest.raises(Denied, match=r"went well.*was not kept whole"):
            await box.call("long")
        assert box.made == 2


class Load:
    """How many answers there are still to be in this round."""

    def __init__(self) -> None:
        self.left = 0
        self.enough = anyio.Event()

    def begin(self, answers: int) -> None:
        self.left, self.enough = answers, anyio.Event()

    def answered(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.enough.set()


class Repeater:
    """An agent that goes on with the calls that it has not got an answer of, whatever happens to the hub."""

    def __init__(self, credential: str, era: str, name: str, load: Load) -> None:
        self.headers = {**STREAMS, "authorization": f"Bearer {credential}"}
        self.era, self.name, self.load = era, name, load
        self.step = 0
        self.answers: dict[str, str] = {}
        self.unknown: set[str] = set()
        self.legacy: dict[str, str] = {}

    async def run(self, url: str) -> None:
        async with httpx.AsyncClient(headers=self.headers, timeout=SECONDS, trust_env=False) as http:
            while not self.load.enough.is_set():
                key = f"{self.name}-{self.step}"
                try:
                    result = await self._append(http, url, key)
                except httpx.TransportError:
                    return
                text = result["content"][0]["text"]
                if result.get("isError"):
                    assert "nobody knows" in text, text
                    self.unknown.add(key)
                else:
                    assert text == key
                    self.answers[key] = text
                self.step += 1
                self.load.answered()

    async def _append(self, http: httpx.AsyncClient, url: str, key: str) -> Json:
        params = {"name": "ledger__append", "arguments": {"key": key}}
        if self.era == "modern":
            body = modern("tools/call", params, **{KEY: key, "hub/session": self.name})
            answer = await http.post(url, json=body, headers=headers_of(body))
        else:
            if not self.legacy:
                opened = await http.post(url, json=message("initialize", INITIALIZE))
                id = opened.headers["mcp-session-id"]
                self.legacy = {"mcp-session-id": id, "mcp-protocol-version": "2025-11-25"}
            body = message("tools/call", {**params, "_meta": {KEY: key}})
            answer = await http.post(url, json=body, headers=self.legacy)
        found: Json = answer.json()
        assert "result" in found, found
        result: Json = found["result"]
        return result


async def open_session(url: str, credential: str, name: str) -> None:
    headers = {**STREAMS, "authorization": f"Bearer {credential}"}
    async with httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False) as http:
        body = modern("tools/call", {"name": "hub__session", "arguments": {"action": "open", "name": name}})
        answer = await http.post(url, json=body, headers=headers_of(body))
        assert not answer.json()["result"].get("isError"), answer.text


async def test_no_effect_happens_twice_however_often_the_hub_is_killed(
    tmp_path: Path, record_property: Any
) -> None:
    """Ours: kill -9 at any moment, both eras; each agent repeats what it got no answer of, with its key."""
    if ROUNDS < 200:
        record_property("shortened", f"{ROUNDS} kills; HUB_TEST_KILLS=200 is all of it")
    home, chance = furnish(tmp_path), random.Random(20261121)
    agents: list[Repeater] = []
    load = Load()
    receipts: list[str] = []
    for round in range(ROUNDS + 1):
        with started(home) as hub, anyio.fail_after(SECONDS):
            url = hub.url
            hub.until("ledger: (ready|starts)")
            if not agents:
                credential = token(home)
                for number in range(AT_ONCE):
                    agent = Repeater(credential, ("modern", "legacy")[number % 2], f"a{number}", load)
                    agents.append(agent)
                    if agent.era == "modern":
                        await open_session(url, credential, agent.name)
            load.begin(chance.randrange(1, 60))
            async with anyio.create_task_group() as tasks:
                for agent in agents:
                    tasks.start_soon(agent.run, url)
                await load.enough.wait()
                if round < ROUNDS:
                    os.kill(hub.pid, signal.SIGKILL)
        receipts = lines(tmp_path / "receipts")
        assert len(receipts) == len(set(receipts)), "an effect twice"
        acknowledged = {key for agent in agents for key in agent.answers}
        assert acknowledged <= set(receipts), "acknowledged and lost"
    unknown = {key for agent in agents for key in agent.unknown}
    assert set(receipts) <= acknowledged | unknown | {f"{agent.name}-{agent.step}" for agent in agents}
    assert len(acknowledged) >= ROUNDS
