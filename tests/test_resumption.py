"""A legacy client that loses its connection gets the rest of that stream, and never waits for nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp_types import TextContent

from hub.model import Json
from tests.conformance import running_everything
from tests.house import TOOLS, House, error_of, house, message, modern, post, tool
from tests.hub_room import room
from tests.pipes import pipe

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


POLLED = {"name": "box__polled", "arguments": {"let_go": True}}
STAYING = {"name": "box__polled", "arguments": {}}


@asynccontextmanager
async def house_at(path: Path) -> AsyncIterator[House]:
    async with house(path, tools=[*TOOLS, tool("polled")]) as it:
        yield it


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as it:
        yield it


@dataclass
class Event:
    id: str = ""
    data: str = ""
    retry: int | None = None

    @property
    def message(self) -> Json:
        found: Json = json.loads(self.data)
        return found


async def events(answer: httpx.Response) -> AsyncIterator[Event]:
    """All of a stream, the priming events too."""
    assert answer.status_code == 200, await answer.aread()
    event = Event()
    async for line in answer.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "id":
            event.id = value
        elif field == "data":
            event.data = value
        elif field == "retry":
            event.retry = int(value)
        elif not line:
            if event != Event():
                yield event
            event = Event()


async def all_of(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]


@asynccontextmanager
async def calling(
    hub: House, http: httpx.AsyncClient, session: dict[str, str], params: Json, id: int | str = 1
) -> AsyncIterator[AsyncIterator[Event]]:
    async with http.stream(
        "POST", hub.url, json=message("tools/call", params, id), headers=session
    ) as answer:
        yield events(answer)


@asynccontextmanager
async def resuming(
    hub: House, http: httpx.AsyncClient, session: dict[str, str], last: str
) -> AsyncIterator[AsyncIterator[Event]]:
    headers = {**session, "accept": "text/event-stream", **({"last-event-id": last} if last else {})}
    async with http.stream("GET", hub.url, headers=headers) as answer:
        yield events(answer)


def logged(event: Event) -> Any:
    return event.message["params"]["data"]


async def test_a_stream_begins_with_an_id_to_come_back_with(hub: House, http: httpx.AsyncClient) -> None:
    """2025-11-25, Sending Messages: an event with an id and empty data, and how long to wait."""
    hub.server.gate.set()
    session = await hub.session(http)
    async with calling(hub, http, session, STAYING) as stream:
        found = await all_of(stream)
    assert (found[0].data, found[0].retry) == ("", 1000)
    assert [logged(event) for event in found[1:-1]] == ["before", "after"]
    assert found[-1].message["id"] == 1
    assert all(event.id for event in found)
    async with resuming(hub, http, session, "") as own:
        other = await anext(own)
    assert len({event.id for event in [*found, other]}) == len(found) + 1


async def test_clients_of_older_versions_get_ids_but_no_event_without_data(
    hub: House, http: httpx.AsyncClient
) -> None:
    hub.server.gate.set()
    parameters = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "old"}}
    opened = await http.post(hub.url, json=message("initialize", parameters))
    session = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}
    for params in (STAYING, POLLED):
        async with calling(hub, http, session, params) as stream:
            found = await all_of(stream)
        assert all(event.id and event.data for event in found)
        assert found[-1].message["id"] == 1


@pytest.mark.parametrize("answered", ["before", "after"])
async def test_who_comes_back_gets_what_was_said_since_and_the_answer(
    hub: House, http: httpx.AsyncClient, answered: str
) -> None:
    session = await hub.session(http)
    async with hub.http() as lost, calling(hub, lost, session, STAYING, "seven") as stream:
        await anext(stream)
        last = await anext(stream)
        assert logged(last) == "before"
    if answered == "before":
        hub.server.gate.set()
        await hub.server.until(running=0)
    async with resuming(hub, http, session, last.id) as stream:
        hub.server.gate.set()
        rest = await all_of(stream)
    assert [logged(rest[0]), rest[1].message["id"]] == ["after", "seven"]
    assert hub.server.cancelled == []
    async with resuming(hub, http, session, rest[0].id) as stream:
        assert await all_of(stream) == rest[1:]


async def test_each_stream_is_resumed_for_itself(hub: House, http: httpx.AsyncClient) -> None:
    """2025-11-25, Resumability: MUST NOT replay what would have been delivered on a different stream."""
    session = await hub.session(http)
    last: list[str] = []
    async with hub.http() as lost:
        for id in (1, 2):
            async with calling(hub, lost, session, STAYING, id) as stream:
                last.append((await anext(stream)).id)
    hub.server.gate.set()
    await hub.server.until(running=0)
    for number, id in enumerate((1, 2)):
        async with resuming(hub, http, session, last[number]) as stream:
            found = await all_of(stream)
        assert [logged(event) for event in found[:-1]] == ["before", "after"]
        assert found[-1].message["id"] == id


async def test_a_later_connection_takes_the_stream_over(hub: House, http: httpx.AsyncClient) -> None:
    session = await hub.session(http)
    async with calling(hub, http, session, STAYING) as first:
        last = await anext(first)
        assert logged(await anext(first)) == "before"
        async with (
            resuming(hub, http, session, last.id) as second,
            resuming(hub, http, session, last.id) as third,
        ):
            assert logged(await anext(second)) == "before"
            assert logged(await anext(third)) == "before"
            assert await all_of(second) == []
            hub.server.gate.set()
            assert (await all_of(third))[-1].message["id"] == 1
        assert await all_of(first) == []


async def test_where_the_server_lets_its_client_go_the_hub_does(hub: House, http: httpx.AsyncClient) -> None:
    """2025-11-25, Sending Messages: it may close the connection, with `retry` before, and be polled."""
    session = await hub.session(http)
    async with calling(hub, http, session, POLLED) as stream:
        found = await all_of(stream)
    assert [event.retry for event in found] == [1000, None, 20]
    assert hub.server.running == 1
    async with resuming(hub, http, session, found[-1].id) as stream:
        hub.server.gate.set()
        rest = await all_of(stream)
    assert [logged(rest[0]), rest[1].message["id"]] == ["after", 1]


async def test_other_agents_are_not_let_go(hub: House, http: httpx.AsyncClient, tmp_path: Path) -> None:
    hub.server.gate.set()
    level = {"io.modelcontextprotocol/logLevel": "info"}
    answer = await post(hub, http, modern("tools/call", POLLED, **level))
    assert [logged(event) for event in (await all_of(events(answer)))[:-1]] == ["before", "after"]
    async with pipe(hub, tmp_path) as client:
        await client.initialize()
        told = await client.ask(message("tools/call", POLLED, 7))
        assert told["params"]["data"] == "before"
        assert (await client.receive())["params"]["data"] == "after"
        assert (await client.receive())["id"] == 7


@pytest.mark.parametrize("how", ["cancelled", "revoked", "deleted"])
async def test_a_call_that_is_ended_while_its_client_is_away_ends_its_stream(
    hub: House, http: httpx.AsyncClient, how: str
) -> None:
    session = await hub.session(http)
    _, second = await hub.identities.issue("me")
    async with hub.http() as other:
        other.headers["authorization"] = f"Bearer {second}"
        async with calling(hub, http, session, POLLED) as stream:
            last = (await all_of(stream))[-1].id
        if how == "cancelled":
            params = {"requestId": 1}
            body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            await http.post(hub.url, json=body, headers=session)
        elif how == "revoked":
            await hub.identities.revoke(hub.ids["me"])
        else:
            await http.delete(hub.url, headers=session)
            assert len(hub.front.lines) == 0
            return
        await hub.server.until(cancelled=1)
        async with resuming(hub, other, session, last) as stream:
            assert await all_of(stream) == []


async def test_a_sessions_own_stream_goes_on_where_it_broke(hub: House, http: httpx.AsyncClient) -> None:
    session = await hub.session(http)
    async with hub.http() as lost, resuming(hub, lost, session, "") as stream:
        first = await anext(stream)
        hub.offer(tool("a"))
        second = await anext(stream)
    hub.offer(tool("b"), resources=[])
    methods = ["tools", "tools", "resources"]
    async with resuming(hub, http, session, first.id) as stream:
        again = [await anext(stream) for _ in methods]
        assert again[0] == second
        assert [event.message["method"] for event in again] == [
            f"notifications/{kind}/list_changed" for kind in methods
        ]
    async with resuming(hub, http, session, again[1].id) as stream:
        assert (await anext(stream)).data == again[2].data


async def test_an_event_that_is_not_kept_never_makes_a_client_wait(
    hub: House, http: httpx.AsyncClient
) -> None:
    mine, second = await hub.session(http), await hub.session(http)
    async with calling(hub, http, mine, POLLED, "of-mine") as stream:
        last = (await all_of(stream))[-1].id
    # Another session's, as one that was never there: the answer is lost, whatever it was.
    for id in (last, last.replace(last[:16], "0" * 16)):
        async with resuming(hub, http, second, id) as stream:
            (lost,) = await all_of(stream)
        assert lost.message["id"] == "of-mine"
        assert lost.message["error"]["data"] == {"reason": "answer_lost"}
    for wrong in ("1", "x" * 3000, last.replace(".", "!"), f"{'0' * 16}.####-1", f"{'0' * 16}.W10-1"):
        headers = {**mine, "accept": "text/event-stream", "last-event-id": wrong}
        assert error_of(await http.get(hub.url, headers=headers)) == (400, -32600)
    async with hub.http("other") as other:
        headers = {**mine, "accept": "text/event-stream", "last-event-id": last}
        assert (await other.get(hub.url, headers=headers)).status_code == 404
    async with resuming(hub, http, mine, last) as stream:
        hub.server.gate.set()
        assert (await all_of(stream))[-1].message["id"] == "of-mine"


async def test_after_a_restart_of_the_hub_a_client_is_told_what_it_lost(tmp_path: Path) -> None:
    async with house_at(tmp_path) as hub, hub.http() as http:
        session = await hub.session(http)
        async with calling(hub, http, session, POLLED, 5) as stream:
            of_call = (await all_of(stream))[-1].id
        async with resuming(hub, http, session, "") as stream:
            of_session = (await anext(stream)).id
        hub.server.gate.set()
    async with house_at(tmp_path) as hub, hub.http() as http:
        async with resuming(hub, http, session, of_call) as stream:
            (lost,) = await all_of(stream)
        assert (lost.message["id"], lost.message["error"]["code"]) == (5, -32603)
        async with resuming(hub, http, session, of_session) as stream:
            # The session goes on; what changed meanwhile is not known, so everything may have.
            assert (await anext(stream)).data == ""
            assert {(await anext(stream)).message["method"] for _ in range(3)} == {
                f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")
            }


async def test_who_names_the_stream_first_gets_one(hub: House, http: httpx.AsyncClient) -> None:
    """2025-11-25 and 2026-07-28: the server may answer either way."""
    session = await hub.session(http)
    for accept, kind in (
        ("text/event-stream, application/json", "text/event-stream"),
        ("application/json, text/event-stream", "application/json"),
        ("*/*", "application/json"),
    ):
        legacy = await http.post(hub.url, json=message("tools/list"), headers={**session, "accept": accept})
        new = await post(hub, http, modern("tools/list"), accept=accept)
        for answer in (legacy, new):
            assert answer.headers["content-type"] == kind
            if kind == "text/event-stream":
                assert len((await all_of(events(answer)))[-1].message["result"]["tools"]) > 5


async def test_an_sdk_client_is_let_go_by_a_real_server_and_comes_back(tmp_path: Path) -> None:
    """The SDK's server ends the connection in the middle of the call, and its client polls the hub."""
    async with (
        running_everything() as url,
        room(tmp_path, {"all": {"connect": {"url": url}}}) as it,
        it.client("legacy") as client,
    ):
        result = await client.call_tool("all__test_reconnection")
    assert result.content == [TextContent(text="The answer comes on the stream that you came back on.")]
