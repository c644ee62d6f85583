"""Sessions that agents name: by header, `_meta`, tool or command line; and what belongs to which."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client

from hub.admin.admin import Admin
from hub.errors import InvalidParams
from hub.failure import Failure
from hub.model import Json
from hub.store import reading
from tests.builtin_room import NAMED, Agent, agents
from tests.commands import hub as hub_command
from tests.homes import eventually, over_http, running, stdio, token, write
from tests.house import CALL, headers_of, house, message, modern, post
from tests.hub_room import Room, text_of
from tests.ledger_room import started
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

MOODY = ROOT / "tests" / "servers" / "moody.py"


async def session_of(it: Room, call: str) -> str:
    row = await it.app.store.read(lambda connection: reading.get_call(connection, call))
    assert row is not None
    return row.session


async def where(agent: Agent) -> str:
    """The session that a call of this agent belongs to."""
    await agent.done("memory", action="put", key="here", value=1)
    found = (await agent.use("memory", action="get", key="here"))["structuredContent"]
    session: str = found["session"]
    return session


async def test_calls_that_name_no_session_are_in_the_agents_current_one(tmp_path: Path) -> None:
    async with agents(tmp_path, "me", "me", "other") as (_, me, again, other):
        # A connection for each call, as some frameworks have it.
        assert await where(me) == await where(again)
        assert await where(other) != await where(me)


async def test_what_an_agent_opens_is_where_its_calls_belong_to_from_then_on(tmp_path: Path) -> None:
    async with agents(tmp_path, "me", "me") as (_it, me, again):
        before = await where(me)
        opened = await me.use("session", action="open", name="release", goal="Ship it")
        release = opened["structuredContent"]["session"]
        assert before != release == await where(me) == await where(again)
        assert "Goal: Ship it" in await me.done("session", action="resume", name="release")
        assert (await me.use("session", action="open", name="release"))["structuredContent"][
            "session"
        ] == release
        await me.done("session", action="resume", name=before)
        assert await where(me) == before
        await me.done("session", action="resume", name="release")
    async with agents(tmp_path, "me") as (_, me):
        assert await where(me) == release, "after a restart of the hub"
        await me.done("session", action="close")
        assert await where(me) == before
        assert "Unknown session" in await me.refused("session", action="resume", name="release")


async def test_a_request_names_its_session_by_header_and_in_meta(tmp_path: Path) -> None:
    async with agents(tmp_path, "me", "me") as (_it, me, named):
        current = await where(me)
        await me.done("session", action="open", name="a")
        await me.done("session", action="resume", name=current)
        a = await me.use("session", action="resume", name="a")
        await me.done("session", action="resume", name=current)
        id = a["structuredContent"]["session"]
        for meta, header in (("a", None), (None, "a"), ("a", "a"), (id, None), (None, id)):
            named.meta = {} if meta is None else {NAMED: meta}
            named._http.headers.pop("hub-session", None)
            if header is not None:
                named._http.headers["hub-session"] = header
            assert await where(named) == id
            assert "name their session" in await named.done("session", action="open", name="b")
            assert await where(named) == id
        assert await where(me) == current
        named.meta = {NAMED: "b"}
        answer = await named.ask("tools/call", {"name": "hub__memory", "arguments": {"action": "search"}})
        assert "different sessions" in answer["error"]["message"]


async def test_an_unknown_session_and_another_agents_are_refused_with_the_same_bytes(tmp_path: Path) -> None:
    async with agents(tmp_path, "me", "other") as (_it, me, other):
        opened = await other.use("session", action="open", name="theirs")
        theirs = opened["structuredContent"]["session"]
        call = {"name": "hub__memory", "arguments": {"action": "search"}}
        answers = []
        for name in ("theirs", "nobodys", theirs, "x" * 26, "x" * 300):
            me.meta = {NAMED: name}
            answer = await me.ask("tools/call", call)
            assert answer["error"]["code"] == -32602
            answers.append(str(answer).replace(name[:256], "N"))
        assert len(set(answers)) == 1
        assert "hub__session" in answers[0]
        me.meta = {}
        refused = [await me.refused("session", action="resume", name=name) for name in (theirs, "x" * 26)]
        assert refused[0].replace(theirs, "") == refused[1].replace("x" * 26, "")


async def test_a_legacy_connection_goes_on_in_the_session_that_it_opened(tmp_path: Path) -> None:
    async with agents(tmp_path, "me") as (it, me):
        async with it.session({}) as old:
            id = old.id
            answer = await old.request(
                "tools/call", {"name": "hub__session", "arguments": {"action": "open", "name": "work"}}
            )
            work = answer["result"]["structuredContent"]["session"]
            put = {"name": "hub__memory", "arguments": {"action": "put", "key": "k", "value": "v"}}
            await old.request("tools/call", put)
        me.meta = {NAMED: "work"}
        assert (await me.use("memory", action="get", key="k"))["structuredContent"]["session"] == work
    async with agents(tmp_path, "me") as (it, me), it.http() as http:
        headers = {"mcp-session-id": id, "mcp-protocol-version": "2025-11-25"}
        get = {"name": "hub__memory", "arguments": {"action": "get", "key": "k"}}
        answer = await http.post(it.url, json=message("tools/call", get), headers=headers)
        assert answer.json()["result"]["structuredContent"]["session"] == work, "after a restart"
        headers["hub-session"] = "nobodys"
        answer = await http.post(it.url, json=message("tools/call", get), headers=headers)
        assert answer.json()["error"]["code"] == -32602


async def test_legacy_connections_one_after_the_other_are_one_session(tmp_path: Path) -> None:
    """As of frameworks that open one for each call."""
    put = {"name": "hub__memory", "arguments": {"action": "put", "key": "k", "value": 1}}
    get = {"name": "hub__memory", "arguments": {"action": "get", "key": "k"}}
    async with agents(tmp_path, "me") as (it, _):
        found = set()
        for _ in range(3):
            async with it.session({}) as old:
                await old.request("tools/call", put)
                answer = await old.request("tools/call", get)
                found.add(answer["result"]["structuredContent"]["session"])
                ended = old.id
                await old.end()
        assert len(found) == 1
        async with it.session({}) as old, it.session({}) as beside:
            assert (await old.request("tools/call", get))["result"]["structuredContent"]["session"] in found
            assert "no 'k'" in text_of(await beside.request("tools/call", get))
            beside.resume(ended)
            assert (await beside.post(message("ping"))).status_code == 404, "what a client ended stays ended"
            close = {"name": "hub__session", "arguments": {"action": "close"}}
            assert "ends by itself" in text_of(await old.request("tools/call", close))
            assert (await old.post(message("ping"))).status_code == 200
            await old.end()


async def test_sessions_of_a_narrower_token_are_its_own(tmp_path: Path) -> None:
    async with agents(tmp_path, "me") as (it, me):
        await me.done("session", action="open", name="wide")
        from hub.identity import scopes
        from hub.identity.tokens import Terms

        _, token = await it.identities.issue("me", Terms(scopes.written(["hub__*"], ())))
        async with it.http() as http:
            http.headers["authorization"] = f"Bearer {token}"
            narrow = Agent(it, http)
            assert await where(narrow) != await where(me)
            assert "Unknown session" in await narrow.refused("session", action="resume", name="wide")


async def test_labels_that_a_person_gives_a_session_decide_at_the_next_call(tmp_path: Path) -> None:
    rule = {"use": "hub__memory", "when": {"labels": {"customer": "acme"}}}
    async with agents(tmp_path, "me", grants={"me": ("hub__session", rule)}) as (it, me):
        admin = Admin(it.app)
        opened = await me.use("session", action="open", name="work")
        id = opened["structuredContent"]["session"]
        said = await me.refused("memory", action="search")
        assert "sessions labelled customer=acme" in said
        assert await admin.session_label(id, ["customer=acme", "a/b=c"], peer="pat") == {
            "session": id, "labels": {"customer": "acme", "a/b": "c"},
        }  # fmt: skip
        assert await me.done("memory", action="search") == "Nothing found."
        shown = next(each for each in await admin.sessions() if each["id"] == id)
        assert (shown["name"], shown["labels"]) == ("work", {"customer": "acme", "a/b": "c"})
    async with agents(tmp_path, "me", grants={"me": ("hub__session", rule)}) as (it, me):
        admin = Admin(it.app)
        assert await me.done("memory", action="search") == "Nothing found.", "after a restart"
        await admin.session_label(id, ["customer="], peer="pat")
        assert "only in sessions labelled" in await me.refused("memory", action="search")
        with pytest.raises(InvalidParams, match="KEY=VALUE"):
            await admin.session_label(id, ["customer"], peer="pat")
        with pytest.raises(Failure, match="no session"):
            await admin.session_label("x" * 26, ["a=b"], peer="pat")
        seen = await it.app.store.read(
            lambda db: db.execute("SELECT body FROM audit WHERE kind = 'session.labels'").fetchall()
        )
        assert len(seen) == 2 and "pat" in seen[0][0]
    # Where no hub runs, a command does it.
    labelled = hub_command(tmp_path, "sessions", "label", id, "customer=acme", "--json")
    assert labelled.json == {"session": id, "labels": {"a/b": "c", "customer": "acme"}}
    assert hub_command(tmp_path, "sessions", "label", "x" * 26, "a=b").code != 0
    async with agents(tmp_path, "me", grants={"me": ("hub__session", rule)}) as (_, me):
        assert await me.done("memory", action="search") == "Nothing found."


async def test_stdio_names_its_session_on_the_command_line(tmp_path: Path) -> None:
    """As the hub itself, and beside one that runs."""
    home = tmp_path / "home"
    write(home, "me", agent="me", may=["hub__*"])
    put: Json = {"action": "put", "key": "k", "value": "kept"}
    parameters = stdio(home)
    parameters.args = [*parameters.args, "--session", "desk"]
    with anyio.fail_after(60):
        async with Client(parameters, mode="auto") as client:
            kept = await client.call_tool("hub__memory", put)
            assert not kept.is_error
        with running(home) as hub:
            async with Client(parameters, mode="legacy") as client:
                got = await client.call_tool("hub__memory", {"action": "get", "key": "k"})
                assert not got.is_error and got.structured_content is not None
                session = got.structured_content["session"]
            async with over_http(hub.url, token(home), "auto") as client:
                resumed = await client.call_tool("hub__session", {"action": "resume", "name": "desk"})
                assert resumed.structured_content is not None
                assert resumed.structured_content["session"] == session
        wrong = hub_command(home, "serve", "--stdio", "--session", "no name")
        assert wrong.code != 0 and "session's name" in wrong.err


async def test_what_names_a_session_or_a_repetition_reaches_no_server(tmp_path: Path) -> None:
    async with house(tmp_path) as hub, hub.http() as http:
        agent = hub.identities.local("me")
        await hub.sessions.open_named(agent, "work", version="2026-07-28", client={})
        body = modern("tools/call", CALL, id=1, **{NAMED: "work", "vendor/key": "v"})
        assert (await post(hub, http, body)).status_code == 200
        assert hub.server.calls[-1].params["_meta"] == {"vendor/key": "v"}
        work = await hub.sessions.named("work", agent)
        assert work is not None and work.id == hub.server.calls[-1].session


async def test_what_was_under_way_when_the_hub_was_killed_is_told_as_unknown(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(home, "me", agent="me", may=["*"])
    write(
        home, "it", server="it", connect={"command": [sys.executable, str(MOODY), str(tmp_path / "starts")]}
    )
    meta = {NAMED: "work"}

    async def call(url: str, credential: str, tool: str, arguments: Json, meta: Json) -> Any:
        headers = {"authorization": f"Bearer {credential}", "accept": "application/json, text/event-stream"}
        body = modern("tools/call", {"name": tool, "arguments": arguments}, **meta)
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            answer = await http.post(url, json=body, headers=headers_of(body))
        return answer.json()["result"]

    async def hang(url: str, credential: str) -> None:
        with contextlib.suppress(httpx.TransportError):
            await call(url, credential, "it__hang", {"for": "ever"}, meta)

    with anyio.fail_after(60):
        with started(home) as hub:
            hub.until("it: ready")
            credential = token(home)
            await call(hub.url, credential, "hub__session", {"action": "open", "name": "work"}, {})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hang, hub.url, credential)
                await eventually(lambda: under_way(home) == ["intended"])
                hub.end(signal.SIGKILL)
        with started(home) as hub:
            resume = {"action": "resume", "name": "work"}
            told = await call(hub.url, credential, "hub__session", resume, {})
            assert "look before you repeat them" in told["content"][0]["text"]
            assert len(told["structuredContent"]["unknown"]) == 1
            brief = (await call(hub.url, credential, "hub__context", {}, meta))["content"][0]["text"]
            assert "## Not known whether they did" in brief
            assert '- it__hang {"for":"ever"}: unknown (crash)' in brief


def under_way(home: Path) -> list[str]:
    listed = hub_command(home, "calls", "list", "--json").json
    return [call["state"] for call in listed if call["tool"] == "it__hang"]
