"""A hub with logins at its servers: which token goes where, and where none ever does."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from hub.env import SystemEnv
from hub.errors import UpstreamDown, UpstreamError
from hub.failure import Failure
from hub.home import Home
from hub.mask import MASKED
from hub.secrets_file import SecretFile, logins_file
from tests.app_room import until
from tests.hub_room import room, text_of
from tests.login_room import furnish, kept, logged_in, put, running, whoami
from tests.oauth_room import Authority, Guarded, guarded
from tests.servers.fault_http import Request, http, serve

pytestmark = pytest.mark.anyio


async def test_t12_no_byte_of_an_agents_token_reaches_a_server_or_its_authorization_server(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    furnish(tmp_path, server)
    await logged_in(Home.at(tmp_path))
    (tmp_path / "manifests" / "tea.yaml").unlink()
    async with room(tmp_path, {"tea": {"connect": {"url": server.url}}}) as hub:
        for agent in ("me", "other"):
            async with hub.http(agent) as it:
                answer = await hub.ask(it, "tools/call", {"name": "tea__whoami", "arguments": {}}, {})
                assert answer["result"]["content"][0]["text"] == "ada"
                # A client may say what it likes in its own words, too.
                meta = {"authorization": it.headers["authorization"]}
                await hub.ask(it, "tools/call", {"name": "tea__whoami", "_meta": {}, "arguments": {}}, meta)
            async with hub.session({}, agent=agent) as old:
                await old.request("tools/call", {"name": "tea__whoami", "arguments": {}})
        by.access.clear()
        async with hub.http() as it:
            await hub.ask(it, "tools/call", {"name": "tea__whoami", "arguments": {}}, {})
        tokens = [*hub.tokens.values()]
    heads = " ".join(
        f"{each.target} {each.headers}" for each in (*server.server.requests, *by.server.requests)
    )
    bodies = b" ".join(each.body for each in by.server.requests)
    assert len(tokens) == 2
    assert not [token for token in tokens if token in heads or token.encode() in bodies]
    assert {each.startswith("Bearer access-token-") for each in server.seen} == {True}


async def test_t12_a_login_goes_to_its_own_server_and_to_no_other(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    """Not along a redirect, not to what its manifest says now, not to a server beside it."""
    by, server = tea
    home = furnish(tmp_path, server)
    await logged_in(home)
    login = kept(home)

    async def move(request: Request, writer: Any) -> None:
        writer.write(http(307, b"", f"Location: {server.url}"))

    async with guarded(by) as beside, serve(move) as moving:
        (tmp_path / "manifests" / "milk.yaml").write_text(
            json.dumps({"server": "milk", "connect": {"url": beside.url}})
        )
        async with running(home) as (app, admin):
            assert await whoami(admin) == "ada"
            await until(app, "milk", "failed")
        assert beside.seen == []
        moved = f"http://127.0.0.1:{moving.port}/mcp"
        (tmp_path / "manifests" / "tea.yaml").write_text(
            json.dumps({"server": "tea", "connect": {"url": moved}})
        )
        (tmp_path / "manifests" / "milk.yaml").unlink()
        async with running(home) as (app, admin):
            upstream = await until(app, "tea", "failed")
            assert "for another address than its manifest has now" in (upstream.reason or "")
        assert moving.requests == []
        # A server that its login is for, and that then redirects.
        put(home, url=moved, access=login.access, ends=None)
        seen = len(server.seen)
        async with running(home) as (app, admin):
            upstream = await until(app, "tea", "failed")
            assert "Redirects are not followed" in (upstream.reason or "")
        assert len(server.seen) == seen


async def test_t27_no_token_of_a_login_is_in_a_log_a_row_or_an_answer(
    tmp_path: Path, tea: tuple[Authority, Guarded], caplog: pytest.LogCaptureFixture
) -> None:
    by, server = tea
    caplog.set_level(logging.DEBUG)
    home = furnish(tmp_path, server)
    await logged_in(home)
    told: list[Any] = []
    async with running(home) as (_, admin):
        await whoami(admin)
        by.access.clear()
        server.leaks = True
        told.append(await admin.tool_call("tea__whoami", "me", lambda sentence: None))
        assert MASKED in json.dumps(told)
        server.leaks = False
        by.access.clear()
        by.refuses = {"refresh_token": "invalid_grant"}
        with pytest.raises(Failure):
            await whoami(admin)
        told += [await admin.server("tea"), await admin.secrets(), await admin.calls()]
    secrets = [*by.spent, *by.refresh, *(each.removeprefix("Bearer ") for each in server.seen)]
    assert len(set(secrets)) >= 4
    files = [path for path in (tmp_path / ".hub").rglob("*") if path.is_file()]
    for secret in secrets:
        assert secret not in caplog.text and secret not in json.dumps(told)
        assert [path.name for path in files if secret.encode() in path.read_bytes()] == []


async def test_agents_with_accounts_of_their_own_share_the_tools_and_nothing_else(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    home = furnish(tmp_path, server)
    for name in ("bob", "cleo"):
        (tmp_path / "manifests" / f"{name}.yaml").write_text(json.dumps({"agent": name, "may": ["*"]}))
        by.user = name
        await logged_in(home, name)
    by.user = "everybody"
    await logged_in(home)
    async with running(home) as (_, admin):
        for _ in range(2):
            assert [await whoami(admin, agent) for agent in ("me", "bob", "cleo")] == [
                "everybody",
                "bob",
                "cleo",
            ]
        assert [tool["name"] for tool in await admin.entries("tool", "bob", "tea")] == ["tea__whoami"]
        # One account that is over costs its own agent only, who does not become somebody else.
        bobs = kept(home, "tea bob")
        by.access.pop(bobs.access)
        by.refresh.pop(bobs.refresh or "")
        with pytest.raises((UpstreamError, Failure), match="hub login tea --agent bob"):
            await whoami(admin, "bob")
        assert [await whoami(admin, agent) for agent in ("me", "cleo")] == ["everybody", "cleo"]
        # Who is called so later is somebody else.
        await admin.agent_remove("cleo")
        await admin.agent_add("cleo", ["*"], [])
        assert await whoami(admin, "cleo") == "everybody"
    assert logins_file(home, SystemEnv()).names() == ["tea", "tea bob"]


async def test_an_account_of_an_agents_own_counts_in_both_eras(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    home = furnish(tmp_path, server)
    for agent in (None, "other"):
        by.user = agent or "everybody"
        if agent is not None:
            (tmp_path / "manifests" / f"{agent}.yaml").write_text(json.dumps({"agent": agent, "may": ["*"]}))
        await logged_in(home, agent)
    (tmp_path / "manifests" / "tea.yaml").unlink()
    async with room(tmp_path, {"tea": {"connect": {"url": server.url}}}) as hub:
        for agent, account in (("me", "everybody"), ("other", "other")):
            params = {"name": "tea__whoami", "arguments": {}}
            async with hub.http(agent) as it:
                assert text_of(await hub.ask(it, "tools/call", params, {})) == account
                assert text_of(await hub.ask(it, "tools/call", params, {"elicitation": {}})) == account
            every: tuple[dict[str, Any], ...] = ({}, {"elicitation": {}, "sampling": {}})
            for asks in every:
                async with hub.session(asks, agent=agent) as old:
                    assert text_of(await old.request("tools/call", params)) == account


async def test_a_machine_that_is_its_own_client_needs_no_login(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    by.client("robot", "long-secret-of-a-robot")
    own = {
        "grant": "client_credentials", "issuer": by.url, "client_id": "robot",
        "client_secret": "${secret:robot}", "scopes": ["tea:read"],
    }  # fmt: skip
    home = furnish(tmp_path, server, oauth=own)
    SecretFile(home, SystemEnv()).set("robot", "long-secret-of-a-robot")
    async with running(home) as (app, admin):
        assert await whoami(admin) == "robot"
        by.access.clear()
    assert {form["grant_type"] for form in by.granted} == {"client_credentials"}
    assert (by.granted[0]["resource"], by.granted[0]["scope"]) == (server.url, "tea:read")
    SecretFile(home, SystemEnv()).set("robot", "another")
    async with running(home) as (app, _):
        upstream = app.fleet.upstreams["tea"]
        with pytest.raises(UpstreamDown):
            await upstream.main.hurry()
        assert "refused: invalid_client. Check `oauth` below `url`" in (upstream.reason or "")
