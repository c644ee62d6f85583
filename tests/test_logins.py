"""A hub with logins at its servers: which token goes where, and when it is made anew."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.base import ConfigError, LinkError, LoginNeeded
from connectors.http import Http
from connectors.oauth_metadata import Sites
from hub.admin import Admin
from hub.app import App, open_app
from hub.env import SystemEnv
from hub.errors import UpstreamDown, UpstreamError
from hub.failure import Failure, failure_of
from hub.home import Home
from hub.logins import Login, Logins
from hub.mask import MASKED
from hub.secrets_file import SecretFile, logins_file
from hub.settings import Settings
from tests.hub_room import room, text_of
from tests.oauth_room import Authority, Guarded, authority, guarded
from tests.servers.fault_http import Request, http, serve
from tests.test_login import furnish, kept, logged_in

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def them() -> AsyncIterator[tuple[Authority, Guarded]]:
    with anyio.fail_after(20):
        async with authority() as by, guarded(by) as server:
            yield by, server


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[tuple[App, Admin]]:
    async with open_app(home, Settings()) as app:
        yield app, Admin(app)


async def whoami(admin: Admin, agent: str = "me") -> str:
    answer = await admin.tool_call("tea__whoami", agent, lambda sentence: None)
    said: str = answer["result"]["content"][0]["text"]
    return said


def access_of(home: Home, url: str, key: str = "tea") -> Any:
    """What a link gets its token from, without a hub."""
    learnt: list[str] = []
    logins = Logins(logins_file(home, SystemEnv()), SystemEnv(), learnt.extend)
    server, _, agent = key.partition(" ")
    return logins.access(server, Http(url=url), agent or None, Sites(url), str)


async def asked_for_tokens(by: Authority, times: int) -> None:
    """Return once that has been done so often; it may not be answered yet."""
    await by.server.until(
        lambda: sum(each.target == "/token" for each in by.server.requests) == times or None
    )


def put(home: Home, **changes: Any) -> Login:
    """Change what is kept, as time does."""
    login = replace(kept(home), **changes)
    logins_file(home, SystemEnv()).set("tea", login.text())
    return login


async def test_a_server_that_wants_a_login_says_so_until_somebody_has_logged_in(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    _, server = them
    home = furnish(tmp_path, server)
    async with running(home) as (app, admin):
        upstream = app.fleet.upstreams["tea"]
        while upstream.state != "failed":
            await upstream.moved()
        shown = await admin.server("tea")
        assert (shown["status"], shown["state"]) == ("needs login", "failed")
        assert shown["note"] == "HTTP 401 Unauthorized: it wants a login. Log in: `hub login tea`."
        with pytest.raises(UpstreamDown, match="wants whoever runs the hub to log in: `hub login tea`"):
            await upstream.main.ready()
        await logged_in(home)
        assert (await admin.login_changed("tea"))["servers"] == ["tea"]
        assert await whoami(admin) == "ada"
        assert (await admin.server("tea"))["status"] == "ready"


async def test_a_token_is_made_anew_before_it_is_over_and_what_is_new_is_kept(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
    home = furnish(tmp_path, server)
    await logged_in(home)
    before = put(home, ends=int(SystemEnv().now()) + 30)
    async with running(home) as (_, admin):
        assert await whoami(admin) == "ada"
    after = kept(home)
    assert [form["grant_type"] for form in by.granted] == ["authorization_code", "refresh_token"]
    assert by.granted[1]["refresh_token"] == before.refresh and by.granted[1]["resource"] == server.url
    assert after.refresh in by.refresh and after.access in by.access
    assert before.access not in " ".join(server.seen)
    async with running(home) as (_, admin):
        assert await whoami(admin) == "ada"
    assert len(by.granted) == 2


async def test_a_link_that_stays_open_sends_the_new_token_without_being_refused_first(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
    by.seconds = 2
    home = furnish(tmp_path, server)
    await logged_in(home)
    async with running(home) as (_, admin):
        assert await whoami(admin) == "ada"
        await by.server.until(
            lambda: len([f for f in by.granted if f["grant_type"] == "refresh_token"]) or None
        )
        latest = [*by.access][-1]
        while server.seen[-1] != f"Bearer {latest}":
            assert await whoami(admin) == "ada"
    assert kept(home).access == latest


async def test_however_many_calls_are_refused_there_is_one_renewal(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
    home = furnish(tmp_path, server)
    await logged_in(home)
    async with running(home) as (_, admin):
        assert await whoami(admin) == "ada"
        by.access.clear()
        said: list[str] = []

        async def ask() -> None:
            said.append(await whoami(admin))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask)
        assert said == ["ada"] * 50
    assert [form["grant_type"] for form in by.granted] == ["authorization_code", "refresh_token"]


async def test_a_login_that_is_over_makes_the_server_need_one_and_nobody_is_asked_again(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
    home = furnish(tmp_path, server)
    await logged_in(home)
    async with running(home) as (_, admin):
        assert await whoami(admin) == "ada"
        by.access.clear()
        by.refresh.clear()
        for _ in range(3):
            with pytest.raises(Failure, match=r"hub login tea"):
                await whoami(admin)
        shown = await admin.server("tea")
        assert shown["status"] == "needs login"
        assert "its login is over: the authorization server" in shown["note"]
        assert "refused: invalid_grant. Log in: `hub login tea`." in shown["note"]
        asked = len(by.granted)
        assert asked == 2
        with pytest.raises(Exception) as failed:  # in a group, or by itself
            await admin.server_check("tea", lambda sentence: None)
        assert "its login is over" in str(failure_of(failed.value))
        await logged_in(home)
        await admin.login_changed("tea")
        assert await whoami(admin) == "ada"


async def test_while_the_authorization_server_is_down_a_token_that_still_counts_is_sent(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
    home = furnish(tmp_path, server)
    await logged_in(home)
    by.broken = True
    login = put(home, ends=int(SystemEnv().now()) + 30)
    assert (await access_of(home, server.url).current()).token == login.access
    put(home, ends=int(SystemEnv().now()) - 1)
    with pytest.raises(LinkError, match=r"could not be renewed: .* answered HTTP 500") as failed:
        await access_of(home, server.url).current()
    assert not isinstance(failed.value, LoginNeeded)
    by.broken = False
    assert (await access_of(home, server.url).current()).token in by.access


async def test_a_renewal_whose_caller_gives_up_is_kept(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    """The old refresh token is worth nothing by then."""
    by, server = them
    home = furnish(tmp_path, server)
    await logged_in(home)
    put(home, ends=1)
    by.hold = anyio.Event()
    access = access_of(home, server.url)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(access.current)
        await asked_for_tokens(by, 2)
        tasks.cancel_scope.cancel()
        by.hold.set()
    assert kept(home).refresh in by.refresh


async def test_a_new_login_counts_over_a_renewal_that_was_under_way(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
    home = furnish(tmp_path, server)
    await logged_in(home)
    put(home, ends=1)
    access = access_of(home, server.url)
    async with anyio.create_task_group() as tasks:
        by.hold = anyio.Event()
        tasks.start_soon(access.current)
        await asked_for_tokens(by, 2)
        login = put(home, access="of-the-new-login", ends=None, lasts=None)
        by.hold.set()
    assert kept(home) == login
    assert (await access.current()).token == "of-the-new-login"


async def test_a_server_that_refuses_every_token_is_not_a_reason_to_make_more(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
    home = furnish(tmp_path, server)
    await logged_in(home)
    access = access_of(home, server.url)
    first = await access.current()
    second = await access.renewed(first.token)
    assert second.token != first.token
    with pytest.raises(LoginNeeded, match="although that was just renewed"):
        await access.renewed(second.token)
    assert len(by.granted) == 2


async def test_t12_no_byte_of_an_agents_token_reaches_a_server_or_its_authorization_server(
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
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
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    """Not along a redirect, not to what its manifest says now, not to a server beside it."""
    by, server = them
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
            while app.fleet.upstreams["milk"].state != "failed":
                await app.fleet.upstreams["milk"].moved()
        assert beside.seen == []
        moved = f"http://127.0.0.1:{moving.port}/mcp"
        (tmp_path / "manifests" / "tea.yaml").write_text(
            json.dumps({"server": "tea", "connect": {"url": moved}})
        )
        (tmp_path / "manifests" / "milk.yaml").unlink()
        async with running(home) as (app, admin):
            upstream = app.fleet.upstreams["tea"]
            while upstream.state != "failed":
                await upstream.moved()
            assert "for another address than its manifest has now" in (upstream.reason or "")
        assert moving.requests == []
        # A server that its login is for, and that then redirects.
        put(home, url=moved, access=login.access, ends=None)
        seen = len(server.seen)
        async with running(home) as (app, admin):
            upstream = app.fleet.upstreams["tea"]
            while upstream.state != "failed":
                await upstream.moved()
            assert "Redirects are not followed" in (upstream.reason or "")
        assert len(server.seen) == seen


async def test_t27_no_token_of_a_login_is_in_a_log_a_row_or_an_answer(
    tmp_path: Path, them: tuple[Authority, Guarded], caplog: pytest.LogCaptureFixture
) -> None:
    by, server = them
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
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
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
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
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
    tmp_path: Path, them: tuple[Authority, Guarded]
) -> None:
    by, server = them
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


def test_what_is_kept_by_another_version_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="log in anew"):
        Login.read('{"url": "x"}')
