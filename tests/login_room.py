"""A server that wants a login, a person who logs in, and a hub that goes on with what is kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from connectors.http import Http
from connectors.oauth_metadata import Sites
from hub.admin.admin import Admin
from hub.app import App, open_app
from hub.commands.login import Ask, log_in
from hub.env import SystemEnv
from hub.home import Home
from hub.kept_logins import Login, Logins
from hub.secrets_file import logins_file
from hub.settings import Settings
from tests.oauth_room import Authority, Guarded, browse


def furnish(home: Path, server: Guarded, **more: Any) -> Home:
    (home / "manifests").mkdir(exist_ok=True)
    connect = {"url": server.url, **more}
    (home / "manifests" / "tea.yaml").write_text(json.dumps({"server": "tea", "connect": connect}))
    (home / "manifests" / "me.yaml").write_text('agent: me\nmay: ["*"]\n')
    return Home.at(home)


def kept(home: Home, key: str = "tea") -> Login:
    text = logins_file(home, SystemEnv()).get(key)
    assert text is not None
    return Login.read(text)


def started(tasks: TaskGroup, browser: Callable[[str], Coroutine[Any, Any, Any]]) -> Callable[[str], None]:
    """What takes an address to a browser, and goes on."""

    def show(url: str) -> None:
        tasks.start_soon(browser, url)

    return show


async def logged_in(home: Home, agent: str | None = None, **more: Any) -> dict[str, Any]:
    """Log in as a person would, with a browser."""
    async with anyio.create_task_group() as tasks:
        ask = Ask(started(tasks, browse), seconds=20)
        return await log_in(home, "tea", agent, ask, SystemEnv(), **more)
    raise AssertionError


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
