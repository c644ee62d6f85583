"""A hub with logins at its servers: when a token is made anew, and what it is when that fails."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from connectors.base import ConfigError, LinkError, LoginNeeded
from hub.env import SystemEnv
from hub.errors import UpstreamDown
from hub.failure import Failure, failure_of
from hub.kept_logins import Login
from tests.app_room import until
from tests.login_room import access_of, asked_for_tokens, furnish, kept, logged_in, put, running, whoami
from tests.oauth_room import Authority, Guarded

pytestmark = pytest.mark.anyio


async def test_a_server_that_wants_a_login_says_so_until_somebody_has_logged_in(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    _, server = tea
    home = furnish(tmp_path, server)
    async with running(home) as (app, admin):
        upstream = await until(app, "tea", "failed")
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
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
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
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    by.seconds = 2
    home = furnish(tmp_path, server)
    await logged_in(home)
    first = kept(home).access
    async with running(home) as (_, admin):
        assert await whoami(admin) == "ada"
        await by.server.until(
            lambda: len([f for f in by.granted if f["grant_type"] == "refresh_token"]) or None
        )
        while server.seen[-1] == f"Bearer {first}":
            assert await whoami(admin) == "ada"
    assert kept(home).access != first and kept(home).access in by.access


async def test_however_many_calls_are_refused_there_is_one_renewal(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
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
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
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
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
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
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    """The old refresh token is worth nothing by then."""
    by, server = tea
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
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
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
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    home = furnish(tmp_path, server)
    await logged_in(home)
    access = access_of(home, server.url)
    first = await access.current()
    second = await access.renewed(first.token)
    assert second.token != first.token
    with pytest.raises(LoginNeeded, match="although that was just renewed"):
        await access.renewed(second.token)
    assert len(by.granted) == 2


def test_what_is_kept_by_another_version_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="log in anew"):
        Login.read('{"url": "x"}')
