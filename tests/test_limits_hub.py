"""Limits through the whole hub: over HTTP in both eras, over a restart, and when the hub is killed."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from hub.admin.admin import Admin
from hub.model import Json
from hub.settings import Settings
from tests.clocks import noon
from tests.commands import SECONDS
from tests.homes import done, running, token, write
from tests.house import INITIALIZE, headers_of, message, modern
from tests.hub_room import Room, room
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

LEDGER = [sys.executable, str(ROOT / "tests" / "servers" / "ledger.py")]
ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
ANYTHING: Json = {"use": "*"}
PERIOD = "month"
"""The longest, where the clock is the machine's: what was used counts until it ends."""


def ledger(folder: Path, **more: Any) -> Json:
    return {"trust": "annotations", "connect": {"command": [*LEDGER, str(folder)]}, **more}


def receipts(folder: Path) -> list[str]:
    """What really reached the server."""
    file = folder / "receipts"
    return file.read_text().split() if file.exists() else []


async def change(it: Room, agent: str = "me", **manifest: Any) -> None:
    file = it.app.home.manifests / f"{agent}.yaml"
    file.write_text(json.dumps({"agent": agent, "may": [ANYTHING], **manifest}))
    assert await it.app.reload() == []


class Caller:
    """A raw agent, in one era."""

    def __init__(self, url: str, http: httpx.AsyncClient, era: str) -> None:
        self.url = url
        self.http = http
        self.era = era

    async def call(self, key: str, tool: str = "ledger__append") -> Json:
        params = {"name": tool, "arguments": {"key": key}}
        body = (modern if self.era == "modern" else message)("tools/call", params)
        headers = headers_of(body) if self.era == "modern" else {}
        answer = await self.http.post(self.url, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        result: Json = answer.json()["result"]
        return result

    async def at_once(self, count: int) -> list[Json]:
        found: list[Json] = []

        async def one(number: int) -> None:
            found.append(await self.call(str(number)))

        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(one, number)
        return found


@asynccontextmanager
async def caller(url: str, credential: str, era: str) -> AsyncIterator[Caller]:
    headers = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {credential}"}
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False, limits=limits) as http:
        if era == "legacy":
            answer = await http.post(url, json=message("initialize", INITIALIZE))
            http.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            http.headers["mcp-protocol-version"] = "2025-11-25"
        yield Caller(url, http, era)


def refused(results: list[Json]) -> list[Json]:
    return [result for result in results if result.get("isError")]


@ERAS
async def test_of_200_parallel_calls_exactly_as_many_reach_the_server_as_are_allowed(
    tmp_path: Path, era: str
) -> None:
    async with room(tmp_path, {"ledger": ledger(tmp_path)}, env=noon()) as it:
        await change(it, limits={"calls": "120/day"})
        async with caller(it.url, it.tokens["me"], era) as agent:
            results = await agent.at_once(200)
            assert len(receipts(tmp_path)) == 120
            over = refused(results)
            assert len(over) == 80
            said = over[0]["content"][0]["text"]
            assert said.startswith("You may make 120 calls a day and have made 120. Call again in ")
            assert said.endswith("Nothing was sent.")
            told = over[0]["_meta"]["hub/limits"]
            assert (told["reason"], told["limit"], told["used"], told["most"]) == ("limit", "calls", 120, 120)
            assert 0 < told["retry_after_seconds"] <= 86_400
            warned = [
                each["used"]
                for result in results
                if not result.get("isError")
                for each in result.get("_meta", {}).get("hub/limits", [])
            ]
            # Those from the 96th on, and whichever were still under way then.
            assert len(warned) >= 25 and min(warned) >= 96


async def test_the_eras_of_one_agent_share_its_limit_and_other_agents_have_their_own(tmp_path: Path) -> None:
    async with room(tmp_path, {"ledger": ledger(tmp_path)}, env=noon()) as it:
        await change(it, limits={"calls": "10/day"})
        async with (
            caller(it.url, it.tokens["me"], "modern") as new,
            caller(it.url, it.tokens["me"], "legacy") as old,
            caller(it.url, it.tokens["other"], "modern") as other,
        ):
            assert len(refused([*await new.at_once(8), *await old.at_once(8)])) == 6
            assert refused(await other.at_once(12)) == []


async def test_a_changed_limit_counts_for_the_next_call_and_keeps_what_was_used(tmp_path: Path) -> None:
    async with room(tmp_path, {"ledger": ledger(tmp_path)}, env=noon()) as it:
        await change(it, may=[{"use": "*", "limits": {"calls": "5/day"}}])
        async with caller(it.url, it.tokens["me"], "modern") as agent:
            assert len(refused(await agent.at_once(9))) == 4
            await change(it, may=["nothing__*", {"use": "*", "limits": {"calls": "7/day"}}])
            assert len(refused(await agent.at_once(9))) == 7
            await change(it)
            assert refused(await agent.at_once(9)) == []


async def test_what_tools_cost_counts_and_each_server_is_held_to_its_own_limit(tmp_path: Path) -> None:
    priced = {"override": {"app*": {"cost": 0.25}}}
    server = ledger(tmp_path, tools=priced, limits={"calls": "20/hour"})
    async with room(tmp_path, {"ledger": server}, env=noon()) as it:
        await change(it, limits={"cost": "2/day"})
        async with (
            caller(it.url, it.tokens["me"], "modern") as me,
            caller(it.url, it.tokens["other"], "modern") as other,
        ):
            assert len(refused(await me.at_once(12))) == 4
            assert not (await me.call("free", "ledger__look")).get("isError")
            over = refused(await other.at_once(20))
            assert len(over) == 9
            assert over[0]["content"][0]["text"].startswith("Server 'ledger' is busy. Call again in ")
            assert set(over[0]["_meta"]["hub/limits"]) == {"reason", "limit", "retry_after_seconds"}


@ERAS
async def test_a_call_that_is_repeated_in_vain_stops_with_a_sentence(tmp_path: Path, era: str) -> None:
    async with room(tmp_path, {"ledger": ledger(tmp_path)}, env=noon()) as it:
        await change(it, may=[{"use": "*", "repeat": 3}])
        async with caller(it.url, it.tokens["me"], era) as agent:
            results = [await agent.call("again") for _ in range(5)]
        assert len(receipts(tmp_path)) == 3
        assert [bool(result.get("isError")) for result in results] == [False] * 3 + [True] * 2
        assert "this very call 3 times in a row" in results[3]["content"][0]["text"]


async def test_a_refusal_is_recorded_with_its_rule(tmp_path: Path) -> None:
    async with room(tmp_path, {"ledger": ledger(tmp_path)}, env=noon()) as it:
        await change(it, may=[{"use": "*", "limits": {"calls": "1/day"}}])
        async with caller(it.url, it.tokens["me"], "modern") as agent:
            await agent.at_once(2)
        rows = [row._asdict() for row in await it.app.store.read(_calls)]
        assert sorted((row["state"], row["reason"], row["rule"]) for row in rows) == [
            ("done", None, "may[0]"), ("refused", "limit", "may[0]"),
        ]  # fmt: skip


def _calls(connection: Any) -> list[Any]:
    from hub.store.reading import CallFilter, list_calls

    return list_calls(connection, CallFilter())


async def test_limits_hold_over_restarts_and_kills_and_people_see_what_is_left(tmp_path: Path) -> None:
    """Kill -9: never more than the limit, and at worst a fiftieth fewer each time."""
    home = tmp_path / "home"
    write(home, "ledger", server="ledger", **ledger(tmp_path))
    write(home, "me", agent="me", may=["*"], limits={"calls": f"100/{PERIOD}"})
    credential = token(home)

    async def use(count: int, number: signal.Signals) -> int:
        with running(home) as it, anyio.fail_after(SECONDS):
            it.until(r"ledger: (?:ready|starts when it is used, 3 tools)")
            async with caller(it.url, credential, "modern") as agent:
                passed = count - len(refused(await agent.at_once(count)))
            if number is signal.SIGKILL:
                shown = done(home, "agents", "limits", "me", "--json").json[0]
                assert (shown["used"], shown["left"]) == (35, 65)
            it.end(number)
            return passed

    passed = await use(20, signal.SIGTERM)
    assert done(home, "agents", "limits", "me", "--json").json[0]["used"] == passed == 20
    passed += await use(15, signal.SIGKILL)
    passed += await use(80, signal.SIGTERM)
    assert 98 <= passed <= 100
    assert len(receipts(tmp_path)) == passed


async def test_a_call_that_waits_for_a_person_uses_nothing_until_it_is_made(tmp_path: Path) -> None:
    settings = Settings(approval_wait=0.02)
    servers = {"ledger": ledger(tmp_path)}
    async with room(tmp_path / "home", servers, settings=settings, env=noon()) as it:
        most = {"calls": "2/day", "bytes": "1MB/day"}
        await change(it, may=[{"use": "*", "ask": "human", "limits": most}], limits=most)
        async with caller(it.url, it.tokens["me"], "legacy") as agent:

            async def used() -> set[int]:
                rows = await Admin(it.app).agent_limits("me")
                return {row["used"] for row in rows if row["limit"] == "calls"}

            for key in ("k", "k", "k", "other", "k"):
                assert "Pending" in text(await agent.call(key))
            assert await used() == {0}
            for row in await Admin(it.app).approvals():
                await it.app.approvals.decide(row["id"], approve=True, decider="ada", reason=None)
            for key in ("k", "other"):
                assert text(await agent.call(key)) == key
            assert await used() == {2}
            assert "2 calls a day" in text(await agent.call("k")), "who is over asks nobody"
    assert receipts(tmp_path) == ["k", "other"]


def text(answer: Json) -> str:
    said: str = answer["content"][0]["text"]
    return said


def test_the_limits_of_narrower_tokens_are_shown_whether_a_hub_runs_or_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(home, "ledger", server="ledger", **ledger(tmp_path))
    write(home, "me", agent="me", may=["*"], limits={"calls": f"100/{PERIOD}"})
    rule = json.dumps({"use": "ledger__look", "limits": {"calls": f"5/{PERIOD}", "rate": "2/s"}})
    issued = done(home, "agents", "token", "me", "--json", "--may", rule).json
    gone = done(home, "agents", "token", "me", "--json", "--may", rule).json
    done(home, "agents", "token", "me", "--revoke", gone["id"])

    def shown() -> list[Json]:
        rows: list[Json] = done(home, "agents", "limits", "me", "--json").json
        assert [row["of"] for row in rows] == ["me", *[f"token {issued['id']} may[0]"] * 2]
        return rows

    assert shown()[1]["left"] == 5
    with running(home) as it:
        it.until(r"ledger: (?:ready|starts when it is used, 3 tools)")
        body = modern("tools/call", {"name": "ledger__look", "arguments": {"key": "k"}})
        headers = {
            **headers_of(body),
            "authorization": f"Bearer {issued['token']}",
            "accept": "application/json",
        }
        httpx.post(it.url, json=body, headers=headers, trust_env=False, timeout=SECONDS).raise_for_status()
        assert [row["used"] for row in shown()] == [1, 1, None]
    assert [row["used"] for row in shown()] == [1, 1, None]
