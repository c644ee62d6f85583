"""Results that are kept: who may read them, how many there are, and for how long."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.jsonrpc import encode
from hub.commands.session_files import forget
from hub.identity import scopes
from hub.identity.tokens import Terms
from hub.middleware.shorten import Shorten
from hub.model import Call, Result
from hub.results.count import tokens
from hub.results.settings import ResultSettings
from hub.settings import Settings
from hub.store import results as table
from tests.clocks import Clock
from tests.long_room import COUNT, id_of, long_room, names, read, refused, rows, use
from tests.servers import long

pytestmark = pytest.mark.anyio


async def test_another_agent_s_result_does_not_exist_nor_does_one_that_its_token_is_not_good_for(
    tmp_path: Path,
) -> None:
    async with long_room(tmp_path) as it:
        scope = scopes.written(["long__take", "hub__read"])
        it.tokens["child"] = (await it.identities.issue("me", Terms(scope)))[1]
        async with it.client("auto") as client:
            id = id_of(await use(client, "long__rows", count=COUNT))
        for agent in ("other", "child"):
            async with it.client("auto", agent) as client:
                said = await refused(client, "hub__read", id=id)
                unknown = await refused(client, "hub__read", id="0" * 26)
                assert said == unknown.replace("0" * 26, id)
                with pytest.raises(Exception, match="Resource not found"):
                    await client.read_resource(f"hub://results/{id}")
                argument = {"$result": id, "at": "/items/0"}
                said = await refused(client, "long__take", a=argument)
                assert "There is no result" in said and "Nothing was sent" in said
        assert not (tmp_path / "taken").exists()


async def test_a_token_of_less_reads_what_was_got_with_it_and_its_agent_reads_all(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it:
        for name in ("child", "sibling"):
            it.tokens[name] = (await it.identities.issue("me", Terms(scopes.written(["long__rows"]))))[1]
        async with it.client("auto", "child") as client:
            assert names(await client.list_tools()) == {"long__rows", "hub__read"}
            id = id_of(await use(client, "long__rows", count=COUNT))
            assert (await read(client, id, at="/total"))["value"] == COUNT
        async with it.client("auto", "sibling") as client:
            assert "There is no result" in await refused(client, "hub__read", id=id)
        async with it.client("auto") as client:
            assert (await read(client, id, at="/total"))["value"] == COUNT


async def test_a_result_that_was_shared_is_read_by_whom_it_was_shared_with(tmp_path: Path) -> None:
    lends = {"use": "hub__session", "with": {"with": {"type": "string"}}}
    agents = {"me": ("long__*", "hub__session", lends), "other": ("long__*",), "third": ("long__*",)}
    async with long_room(tmp_path, agents=agents) as it:
        async with it.client("auto") as client:
            id = id_of(await use(client, "long__rows", count=COUNT))
            shared = await use(client, "hub__session", action="share", results=[id], **{"with": "other"})
            assert not shared["isError"], shared
        async with it.client("auto", "other") as client:
            assert (await read(client, id, at="/total"))["value"] == COUNT
        async with it.client("auto", "third") as client:
            assert "There is no result" in await refused(client, "hub__read", id=id)


async def test_what_a_task_ends_with_is_shortened_as_well(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it:
        agent = it.identities.local("me")
        session = await it.app.sessions.open(agent, kind="local", version="", client={}, capabilities={})
        made = it.app.hub.new_call(agent, session.id, "tools/call", {"name": "long__rows"})

        async def done(call: Call) -> Result:
            return {"taskId": "1", "status": "completed", "result": long.called("rows", {"count": COUNT})}

        shorten = Shorten(lambda call: 1000, it.app.results.keep)
        result = await shorten(replace(made, method="tasks/get"), done)
        assert (result["taskId"], result["status"]) == ("1", "completed")
        assert tokens(encode(result["result"]).decode()) <= 500


async def test_a_result_that_cannot_be_kept_is_given_whole(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        await it.app.store.write(
            lambda connection: (
                connection.execute(
                    "CREATE TRIGGER full BEFORE INSERT ON result_parts BEGIN SELECT RAISE(ABORT, 'full'); END"
                )
                and None
            )
        )
        result = await use(client, "long__rows", count=COUNT)
        assert json.loads(result["content"][0]["text"]) == rows(COUNT)


async def test_a_result_is_there_after_a_restart_and_goes_with_its_session(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        id = id_of(await use(client, "long__rows", count=COUNT))
    async with long_room(tmp_path) as it, it.client("auto") as client:
        assert (await read(client, id, at="/total"))["value"] == COUNT
        row = await it.app.store.read(lambda connection: table.get_result(connection, id))
        assert row is not None
        await it.app.store.write(lambda connection: forget(connection, row.session, row.created, "test"))
        assert "There is no result" in await refused(client, "hub__read", id=id)


async def test_what_is_old_goes_and_the_oldest_where_an_agent_has_too_much(tmp_path: Path) -> None:
    env = Clock()
    settings = Settings(results=ResultSettings(keep_seconds=3600.0, size_bytes=300_000))
    async with long_room(tmp_path, settings=settings, env=env) as it:
        store = it.app.store
        async with it.client("auto", "other") as client:
            await use(client, "long__rows", count=COUNT)
        async with it.client("auto") as client:
            ids = [id_of(await use(client, "long__rows", count=COUNT + more)) for more in range(4)]
            kept = await store.read(lambda connection: table.list_results(connection, agent="me"))
            assert [row.id for row in kept] == [ids[3], ids[2]]
            others = await store.read(lambda connection: table.list_results(connection, agent="other"))
            assert len(others) == 1
            assert "There is no result" in await refused(client, "hub__read", id=ids[0])
            env.ahead = 3601.0
            id = id_of(await use(client, "long__text", count=9000))
            await it.app.results.sweep()
            kept = await store.read(lambda connection: table.list_results(connection))
            assert [row.id for row in kept] == [id]
            parts = await store.read(
                lambda connection: connection.execute("SELECT DISTINCT result FROM result_parts").fetchall()
            )
            assert parts == [(id,)]


async def test_a_result_whose_writing_was_cut_off_is_not_there_and_goes_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        id = id_of(await use(client, "long__rows", count=COUNT))
        await it.app.store.write(
            lambda connection: connection.execute("UPDATE results SET complete = 0") and None
        )
        assert "There is no result" in await refused(client, "hub__read", id=id)
    async with long_room(tmp_path) as it:
        count = "SELECT (SELECT count(*) FROM results) + (SELECT count(*) FROM result_parts)"
        assert await it.app.store.read(lambda connection: connection.execute(count).fetchone()) == (0,)
