"""A session is its agent's alone, outlives the hub, and ends when it is closed."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from hub.model import Agent
from hub.policy import Grants
from hub.sessions import Session, Sessions
from hub.store.db import Store
from hub.store.sessions import get_session, list_sessions
from tests.clocks import SetEnv

pytestmark = pytest.mark.anyio

ME, OTHER = Agent("me", Grants("me.yaml")), Agent("other", Grants("other.yaml"))
T = TypeVar("T")
CLIENT = {"name": "test", "version": "1.0"}


@pytest.fixture
def env() -> SetEnv:
    return SetEnv()


@pytest.fixture
async def store(tmp_path: Path, env: SetEnv) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "hub.db", env) as store:
        yield store


async def opened(sessions: Sessions, agent: Agent = ME) -> Session:
    return await sessions.open(
        agent, kind="legacy", version="2025-11-25", client=CLIENT, capabilities={"roots": {}}
    )


async def test_a_legacy_session_goes_on_after_a_restart(store: Store, env: SetEnv) -> None:
    session = await opened(Sessions(store, env))
    assert len(session.id) == 32
    assert session.id.isalnum()
    assert session.id.isascii()
    again = await Sessions(store, env).get(session.id, ME)
    assert again == session
    assert again is not None
    assert (again.client, again.capabilities) == (CLIENT, {"roots": {}})


async def test_a_session_of_another_agent_does_not_exist(store: Store, env: SetEnv) -> None:
    sessions = Sessions(store, env)
    session = await opened(sessions)
    for each in (sessions, Sessions(store, env)):
        assert await each.get(session.id, OTHER) is None
        assert await each.get("0" * 32, OTHER) is None
        assert await each.get(session.id, ME) is not None


async def test_a_closed_session_does_not_exist(store: Store, env: SetEnv) -> None:
    sessions = Sessions(store, env)
    session, stays = await opened(sessions), await opened(sessions)
    await sessions.close(session)
    for each in (sessions, Sessions(store, env)):
        assert await each.get(session.id, ME) is None
        assert await each.get(stays.id, ME) is not None


async def test_a_session_that_is_read_while_it_is_closed_stays_closed(store: Store, env: SetEnv) -> None:
    for _ in range(20):
        session, sessions = await opened(Sessions(store, env)), Sessions(store, env)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sessions.get, session.id, ME)
            tasks.start_soon(sessions.close, session)
            tasks.start_soon(sessions.get, session.id, ME)
        assert await sessions.get(session.id, ME) is None


class LateStore(Store):
    """A store whose answers arrive only once the gate is open."""

    answered: anyio.Event
    gate: anyio.Event

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        value = await super().read(work)
        self.answered.set()
        await self.gate.wait()
        return value


async def test_a_session_whose_row_was_read_before_it_was_closed_stays_closed(
    tmp_path: Path, env: SetEnv
) -> None:
    found: list[Session | None] = []
    async with LateStore.open(tmp_path / "hub.db", env) as store:
        assert isinstance(store, LateStore)
        store.answered, store.gate = anyio.Event(), anyio.Event()
        session, sessions = await opened(Sessions(store, env)), Sessions(store, env)

        async def get() -> None:
            found.append(await sessions.get(session.id, ME))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(get)
                await store.answered.wait()
                await sessions.close(session)
                store.gate.set()
    assert found == [None]


async def test_calls_of_a_modern_agent_share_a_session_until_a_pause(store: Store, env: SetEnv) -> None:
    sessions = Sessions(store, env, idle_seconds=600)
    first = await sessions.current(ME, CLIENT)
    assert (first.kind, first.version, first.agent) == ("modern", "2026-07-28", "me")
    assert (await sessions.current(OTHER, CLIENT)).id != first.id
    for _ in range(3):
        env.seconds += 599
        assert (await sessions.current(ME, CLIENT)).id == first.id
    env.seconds += 599
    assert (await Sessions(store, env, idle_seconds=2500).current(ME, CLIENT)).id == first.id, (
        "after a restart"
    )
    env.seconds += 601
    second = await sessions.current(ME, CLIENT)
    assert second.id != first.id
    assert await sessions.get(first.id, ME) is None
    row = await store.read(partial(get_session, id=first.id))
    assert row is not None
    assert row.closed == second.opened


async def test_first_calls_at_once_open_one_session(store: Store, env: SetEnv) -> None:
    sessions, ids = Sessions(store, env), set()

    async def call() -> None:
        ids.add((await sessions.current(ME, CLIENT)).id)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(call)
    assert len(ids) == 1


async def test_a_closed_modern_session_is_followed_by_a_new_one(store: Store, env: SetEnv) -> None:
    sessions = Sessions(store, env)
    first = await sessions.current(ME, CLIENT)
    await sessions.close(first)
    second = await sessions.current(ME, CLIENT)
    assert second.id != first.id
    await sessions.close_all("me")
    assert await sessions.get(second.id, ME) is None
    assert await store.read(partial(list_sessions, open_only=True)) == []
    assert len(await store.read(partial(list_sessions, agent="me"))) == 2


async def test_when_a_session_was_last_used_is_written_once_a_minute(store: Store, env: SetEnv) -> None:
    sessions = Sessions(store, env)
    session = await opened(sessions)

    async def seen_after(seconds: float) -> int:
        env.seconds += seconds
        await sessions.get(session.id, ME)
        await store.write(lambda connection: None)
        row = await store.read(partial(get_session, id=session.id))
        assert row is not None
        return row.seen - session.opened

    assert await seen_after(30) == 0
    assert await seen_after(30) == 60_000
    assert await seen_after(30) == 60_000
    sessions.flush()
    assert await seen_after(0) == 90_000
